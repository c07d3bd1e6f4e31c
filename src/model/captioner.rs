//! The captioner: vision tower and decoder together, in the forms that training and generation need.

use super::config::CaptionerConfig;
use super::decoder::{Decoding, cross_keys, decoder, step};
use super::layers::Training;
use super::vision::vision;
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::ops::log_softmax::log_softmax;
use crate::ops::reshape::reshape;
use crate::ops::top_k::top_k;
use crate::tensor::TensorType;

/// A whole forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Captioned {
    /// The vision tokens, [B, N, hidden].
    pub vision: Value,
    /// [B, L, vocabulary]
    pub logits: Value,
}

/// Builds vision tower and decoder over whole captions on the inputs `caption_image` [B, S, S, 3], `lm_ids` and `lm_mask` [B, L].
/// In training each of the two of which nothing is trained runs as in inference.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn captioner(b: &mut Builder, config: &CaptionerConfig, batch: usize, length: usize, training: Option<&Training>) -> Result<Captioned> {
    let image = image(b, config, batch)?;
    let ids = b.input("lm_ids", TensorType::i32([batch, length]))?;
    let mask = b.input("lm_mask", TensorType::i32([batch, length]))?;
    b.scoped("captioner", |b| {
        let vision = vision(b, &config.vision_config, image, training.filter(|t| t.trains("captioner.vision_model.")))?;
        let logits = decoder(b, &config.text_config, ids, mask, vision, training.filter(|t| t.trains("captioner.text_decoder.")))?;
        Ok(Captioned { vision, logits })
    })
}

/// Builds what is computed once per image, on the input `caption_image`: the cross-attention keys and values, left in their caches.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn encode(b: &mut Builder, config: &CaptionerConfig, decoding: &Decoding) -> Result<()> {
    let image = image(b, config, decoding.images)?;
    b.scoped("captioner", |b| {
        let tokens = vision(b, &config.vision_config, image, None)?;
        cross_keys(b, &config.text_config, decoding, tokens)
    })
}

/// Builds one decoding step on the inputs `ids` [rows, 1] and `parents` \[rows\]. Results: `top.log_probs` and `top.ids` [rows, k], the k
/// most probable next tokens, falling; with `whole`, also `log_probs` [rows, vocabulary].
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn decode_step(b: &mut Builder, config: &CaptionerConfig, decoding: &Decoding, k: usize, whole: bool) -> Result<()> {
    b.scoped("captioner", |b| {
        let vocabulary = config.text_config.vocab_size;
        let logits = step(b, &config.text_config, decoding)?;
        let logits = reshape(b, logits, [decoding.rows(), vocabulary])?;
        let log_probs = log_softmax(b, logits)?;
        let (values, ids) = top_k(b, log_probs, k.min(vocabulary))?;
        b.output("top.log_probs", values);
        b.output("top.ids", ids);
        if whole {
            b.output("log_probs", log_probs);
        }
        Ok(())
    })
}

fn image(b: &mut Builder, config: &CaptionerConfig, batch: usize) -> Result<Value> {
    let side = config.vision_config.image_size;
    b.input("caption_image", TensorType::f32([batch, side, side, 3]))
}
