//! The classifier: backbone, text encoder and fusion in one graph.

use super::backbone::{Features, backbone};
use super::config::{EscnetConfig, Highlight};
use super::fusion::{Fused, Streams, fusion};
use super::layers::Training;
use super::text::text_encoder;
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::tensor::TensorType;

/// A whole forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Classified {
    /// The backbone's feature maps.
    pub features: Features,
    /// The text encoder's tokens, [B, L, hidden].
    pub text: Value,
    /// The fusion's results.
    pub fused: Fused,
}

/// Which parts of the classifier are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trained {
    /// The ResNet, its statistics included.
    pub backbone: bool,
    /// The BERT.
    pub text_encoder: bool,
    /// The rest.
    pub fusion: bool,
}

impl Trained {
    /// All three.
    pub const ALL: Trained = Trained { backbone: true, text_encoder: true, fusion: true };

    /// True for the parameters of these parts.
    pub fn contains(&self, parameter: &str) -> bool {
        let parts = [(self.backbone, "backbone."), (self.text_encoder, "text_encoder."), (self.fusion, "fusion.")];
        parts.into_iter().any(|(trained, prefix)| trained && parameter.starts_with(prefix))
    }
}

/// Builds the classifier on the inputs `image` [B, S, S, 3], `caption_ids` and `caption_mask` [B, L] and, for the lexicon highlight,
/// `word_affect` [B, L]. In training each part of which nothing is trained runs as in inference.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn classifier(b: &mut Builder, config: &EscnetConfig, batch: usize, words: usize, mut training: Option<&mut Training>) -> Result<Classified> {
    let image = b.input("image", TensorType::f32([batch, config.image_size, config.image_size, 3]))?;
    let ids = b.input("caption_ids", TensorType::i32([batch, words]))?;
    let mask = b.input("caption_mask", TensorType::i32([batch, words]))?;
    let affect = match config.fusion.highlight {
        Highlight::Lexicon => Some(b.input("word_affect", TensorType::f32([batch, words]))?),
        Highlight::Learned | Highlight::None => None,
    };
    let features = backbone(b, &config.backbone, image, training.as_deref_mut().filter(|t| t.trains("backbone.")))?;
    let training = training.as_deref();
    let text = text_encoder(b, &config.text_encoder, ids, mask, training.filter(|t| t.trains("text_encoder.")))?;
    let streams = Streams { features: features.layers[3], text, mask, affect };
    let fused = fusion(b, config, streams, training.filter(|t| t.trains("fusion.")))?;
    Ok(Classified { features, text, fused })
}
