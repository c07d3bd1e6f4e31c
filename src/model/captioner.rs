//! The captioner: vision tower and decoder together, in the forms that training and generation need.

use super::config::CaptionerConfig;
use super::decoder::{Decoding, Place, cross_keys, decoder, step};
use super::layers::Training;
use super::vision::vision;
use crate::error::Result;
use crate::graph::{Builder, StateKind, Value};
use crate::ops::advance::advance;
use crate::ops::beam_step::{BeamStep, Search, beam_step};
use crate::ops::log_softmax::log_softmax;
use crate::ops::reshape::reshape;
use crate::ops::top_k::top_k;
use crate::tensor::{Tensor, TensorType};

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

/// Where a search's trellis is read after a run, and its scores and status: see [`crate::ops::beam_step`].
pub const SEARCHED: [&str; 3] = ["trellis", "scores", "status"];

/// The names of the state that holds the same.
pub fn search_state(decoding: &Decoding, search: &BeamStep) -> [String; 3] {
    SEARCHED.map(|which| decoding.search(&format!("{}.{which}", search.steps)))
}

/// Builds one decoding step on the state of [`Place`]. With a search its step follows, which says what is decoded next, and the place moves on: all that
/// the host has to do between two tokens is to run it again. Results are those of [`SEARCHED`]. Without, `log_probs` [rows, vocabulary].
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn decode_step(b: &mut Builder, config: &CaptionerConfig, decoding: &Decoding, search: Option<BeamStep>) -> Result<()> {
    b.scoped("captioner", |b| {
        let vocabulary = config.text_config.vocab_size;
        let place = Place::new(b, decoding)?;
        let logits = step(b, &config.text_config, decoding, place)?;
        let logits = reshape(b, logits, [decoding.rows(), vocabulary])?;
        let log_probs = log_softmax(b, logits)?;
        let Some(search) = search else {
            b.output("log_probs", log_probs);
            return Ok(());
        };
        let (values, tokens) = top_k(b, log_probs, search.width().min(vocabulary))?;
        let (names, types) = (search_state(decoding, &search), search.types(decoding.images));
        let mut state = |i: usize| b.global_state(&names[i], types[i], StateKind::Control);
        let [trellis, scores, status] = [state(0)?, state(1)?, state(2)?];
        beam_step(b, search, values, tokens, Search { trellis, scores, status, ids: place.ids, parents: place.parents })?;
        SEARCHED.into_iter().zip([trellis, scores, status]).for_each(|(name, value)| b.output(name, value));
        let one = b.constant(Tensor::from_i32([1], vec![1])?);
        advance(b, place.position, one)?;
        advance(b, place.length, one)
    })
}

fn image(b: &mut Builder, config: &CaptionerConfig, batch: usize) -> Result<Value> {
    let side = config.vision_config.image_size;
    b.input("caption_image", TensorType::f32([batch, side, side, 3]))
}
