//! What must hold between the numbers of a configuration. Whatever passes has a manifest whose sizes fit memory's addresses.

use super::{CaptionerConfig, EscnetConfig, FusionConfig, LossConfig, TextDecoderConfig, TextEncoderConfig, VisionConfig};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;
use std::path::Path;

/// Limits no model comes near, but beyond which products would overflow or a file of a few bytes would ask for all memory.
const WIDTHS: RangeInclusive<usize> = 1..=1 << 16;
const LAYERS: RangeInclusive<usize> = 1..=1 << 10;
const SIDES: RangeInclusive<usize> = 1..=1 << 13;
const VOCABULARY: RangeInclusive<usize> = 2..=1 << 22;

impl EscnetConfig {
    /// Whether the numbers fit together; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Config`] for the first that does not.
    pub fn check(&self, path: &Path) -> Result<()> {
        let at = Section { path, name: "" };
        at.within("classes", self.classes.len(), 2..=1 << 16)?;
        for (i, class) in self.classes.iter().enumerate() {
            at.that(!class.trim().is_empty(), format!("classes[{i}]"), "a name", "nothing")?;
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self.classes.iter().find(|&c| !seen.insert(c)) {
            at.that(false, "classes", "distinct names", format!("{twice:?} twice"))?;
        }
        at.within("image_size", self.image_size, SIDES)?;
        at.that(self.image_size.is_multiple_of(32), "image_size", "a multiple of 32", self.image_size)?;
        for (i, &n) in self.backbone.layers.iter().enumerate() {
            at.within(&format!("backbone.layers[{i}]"), n, LAYERS)?;
        }
        at.within("backbone.width", self.backbone.width, 1..=1 << 12)?;
        self.captioner.check(path, "captioner.")?;
        self.text_encoder.check(path, "text_encoder.")?;
        at.id("cls_token_id", self.cls_token_id, self.text_encoder.vocab_size)?;
        self.fusion.check(&Section { path, name: "fusion." })?;
        self.loss.check(&Section { path, name: "loss." }, self.classes.len())
    }
}

impl CaptionerConfig {
    /// Whether the numbers fit together; `path` and `section` are only for messages.
    pub(super) fn check(&self, path: &Path, section: &str) -> Result<()> {
        self.vision_config.check(&Section { path, name: &format!("{section}vision_config.") })?;
        let text = Section { path, name: &format!("{section}text_config.") };
        let (width, same) = (self.text_config.encoder_hidden_size, self.vision_config.hidden_size);
        text.that(width == same, "encoder_hidden_size", format!("the vision transformer's {same}"), width)?;
        self.text_config.check(&text)
    }
}

impl VisionConfig {
    fn check(&self, at: &Section) -> Result<()> {
        at.transformer(self.hidden_size, self.num_attention_heads, self.intermediate_size, self.num_hidden_layers, self.layer_norm_eps)?;
        at.within("image_size", self.image_size, SIDES)?;
        at.within("patch_size", self.patch_size, 1..=1 << 10)?;
        at.that(
            self.image_size.is_multiple_of(self.patch_size),
            "patch_size",
            format!("a divisor of image_size {}", self.image_size),
            self.patch_size,
        )?;
        at.dropout("attention_dropout", self.attention_dropout)
    }
}

impl TextDecoderConfig {
    fn check(&self, at: &Section) -> Result<()> {
        at.transformer(self.hidden_size, self.num_attention_heads, self.intermediate_size, self.num_hidden_layers, self.layer_norm_eps)?;
        at.within("vocab_size", self.vocab_size, VOCABULARY)?;
        at.within("max_position_embeddings", self.max_position_embeddings, 2..=1 << 16)?;
        at.id("bos_token_id", self.bos_token_id, self.vocab_size)?;
        at.id("pad_token_id", self.pad_token_id, self.vocab_size)?;
        at.id("eos_token_id", self.eos_token_id, self.vocab_size)?;
        at.id("sep_token_id", self.sep_token_id, self.vocab_size)?;
        at.dropout("hidden_dropout_prob", self.hidden_dropout_prob)?;
        at.dropout("attention_probs_dropout_prob", self.attention_probs_dropout_prob)?;
        at.share("label_smoothing", self.label_smoothing)
    }
}

impl TextEncoderConfig {
    /// Whether the numbers fit together; `path` and `section` are only for messages.
    pub(super) fn check(&self, path: &Path, section: &str) -> Result<()> {
        let at = Section { path, name: section };
        at.transformer(self.hidden_size, self.num_attention_heads, self.intermediate_size, self.num_hidden_layers, self.layer_norm_eps)?;
        at.within("vocab_size", self.vocab_size, VOCABULARY)?;
        at.within("max_position_embeddings", self.max_position_embeddings, 2..=1 << 16)?;
        at.within("type_vocab_size", self.type_vocab_size, WIDTHS)?;
        at.id("pad_token_id", self.pad_token_id, self.vocab_size)?;
        at.dropout("hidden_dropout_prob", self.hidden_dropout_prob)?;
        at.dropout("attention_probs_dropout_prob", self.attention_probs_dropout_prob)
    }
}

impl FusionConfig {
    fn check(&self, at: &Section) -> Result<()> {
        at.heads(self.hidden_size, self.num_attention_heads)?;
        at.within("mlp_ratio", self.mlp_ratio, 1..=64)?;
        at.within("depth", self.depth, 0..=*LAYERS.end())?;
        at.dropout("dropout", self.dropout)
    }
}

impl LossConfig {
    fn check(&self, at: &Section, classes: usize) -> Result<()> {
        let sound = |x: f64| x.is_finite() && x >= 0.0;
        at.that(sound(self.lambda), "lambda", "0 or more", self.lambda)?;
        at.that(sound(self.gamma), "gamma", "0 or more", self.gamma)?;
        at.share("label_smoothing", self.label_smoothing)?;
        let Some(weights) = &self.class_weights else { return Ok(()) };
        at.that(weights.len() == classes, "class_weights", format!("one for each of {classes} classes"), weights.len())?;
        for (i, &weight) in weights.iter().enumerate() {
            at.that(sound(weight), format!("class_weights[{i}]"), "0 or more", weight)?;
        }
        Ok(())
    }
}

/// A part of the file, for messages: the file and the dotted path that leads to the part.
struct Section<'a> {
    path: &'a Path,
    name: &'a str,
}

impl Section<'_> {
    fn that(&self, holds: bool, field: impl Display, expected: impl ToString, got: impl ToString) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::config(self.path, format!("{}{field}", self.name), expected, got)) }
    }

    fn within<N: PartialOrd + Display + Debug + Copy>(&self, field: &str, got: N, range: RangeInclusive<N>) -> Result<()> {
        self.that(range.contains(&got), field, format!("{} to {}", range.start(), range.end()), got)
    }

    fn id(&self, field: &str, got: usize, vocabulary: usize) -> Result<()> {
        self.that(got < vocabulary, field, format!("an id below the vocabulary's {vocabulary}"), got)
    }

    fn share(&self, field: &str, got: f64) -> Result<()> {
        self.within(field, got, 0.0..=1.0)
    }

    fn dropout(&self, field: &str, got: f64) -> Result<()> {
        self.that((0.0..1.0).contains(&got), field, "at least 0 and below 1", got)
    }

    fn heads(&self, hidden: usize, heads: usize) -> Result<()> {
        self.within("hidden_size", hidden, WIDTHS)?;
        self.within("num_attention_heads", heads, WIDTHS)?;
        self.that(hidden.is_multiple_of(heads), "num_attention_heads", format!("a divisor of hidden_size {hidden}"), heads)
    }

    fn transformer(&self, hidden: usize, heads: usize, intermediate: usize, layers: usize, eps: f64) -> Result<()> {
        self.heads(hidden, heads)?;
        self.within("intermediate_size", intermediate, 1..=1 << 18)?;
        self.within("num_hidden_layers", layers, LAYERS)?;
        self.that(eps > 0.0 && eps < 1.0, "layer_norm_eps", "above 0 and below 1", eps)
    }
}
