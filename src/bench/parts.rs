//! The graphs of a model that are measured, whole or operator by operator.

use crate::error::Result;
use crate::graph::{Builder, Graph, Value};
use crate::infer::Generation;
use crate::infer::inspect::{self, Setting};
use crate::model::backbone::backbone;
use crate::model::config::{EscnetConfig, Highlight};
use crate::model::escnet::Trained;
use crate::model::fusion::{Streams, fusion};
use crate::model::text::text_encoder;
use crate::tensor::{DType, TensorType};
use crate::train::{self, StepOptions};
use std::path::Path;

/// What is known of the models whose shapes come with the program.
pub const KNOWN: [(&str, &str); 2] =
    [("escnet-base", include_str!("parts/escnet-base.json")), ("escnet-tiny", include_str!("parts/escnet-tiny.json"))];

/// A graph of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A graph of inference.
    Inference(inspect::Stage),
    /// The classifier's ResNet alone.
    Backbone,
    /// Its BERT alone.
    TextEncode,
    /// What joins the two.
    Fusion,
    /// A training step of the captioner: forward, backward and update.
    TrainCaption,
    /// A training step of the classifier.
    TrainClassify,
}

impl Part {
    /// Those in which every operator of the model is met.
    pub const ALL: [Part; 5] = [
        Part::Inference(inspect::Stage::Classify),
        Part::Inference(inspect::Stage::CaptionEncode),
        Part::Inference(inspect::Stage::CaptionStep),
        Part::TrainCaption,
        Part::TrainClassify,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Part::Inference(inspect::Stage::Classify) => "classify",
            Part::Inference(inspect::Stage::CaptionEncode) => "caption-encode",
            Part::Inference(inspect::Stage::CaptionStep) => "caption-step",
            Part::Backbone => "backbone",
            Part::TextEncode => "text-encode",
            Part::Fusion => "fusion",
            Part::TrainCaption => "train-caption",
            Part::TrainClassify => "train-classify",
        }
    }
}

/// The model of this name, or of this folder or `config.json`.
///
/// # Errors
/// Those of [`EscnetConfig::open`].
pub fn model(name: &str) -> Result<EscnetConfig> {
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((known, text)) => EscnetConfig::parse(text, Path::new(known)),
        None => EscnetConfig::open(name),
    }
}

/// The graph for so many pictures, as it is written: not fused, in f32. Captions are as long as they are by default.
///
/// # Errors
/// Those of the model's builders.
pub(super) fn build(config: &EscnetConfig, part: Part, batch: usize) -> Result<Graph> {
    let words =
        Generation::default().max_length.min(config.captioner.text_config.max_position_embeddings).min(config.text_encoder.max_position_embeddings);
    let stage = match part {
        Part::Inference(stage) => {
            let setting = Setting { batch, dtype: DType::F32, threads: 1, generation: Generation::default() };
            return inspect::build(config, stage, &setting);
        }
        Part::Backbone | Part::TextEncode | Part::Fusion => return build_alone(config, part, batch, words),
        Part::TrainCaption => train::Stage::Caption { batch, length: words - 1 },
        Part::TrainClassify => train::Stage::Classify { batch, words, trained: Trained::ALL },
    };
    Ok(train::build(config, stage, &StepOptions::default())?.graph)
}

/// A third of the classifier, on inputs of its own.
fn build_alone(config: &EscnetConfig, part: Part, batch: usize, words: usize) -> Result<Graph> {
    let mut b = Builder::new();
    let mask = |b: &mut Builder| b.input("caption_mask", TensorType::i32([batch, words]));
    let result: Value = match part {
        Part::Backbone => {
            let image = b.input("image", TensorType::f32([batch, config.image_size, config.image_size, 3]))?;
            backbone(&mut b, &config.backbone, image, None)?.layers[3]
        }
        Part::TextEncode => {
            let (ids, mask) = (b.input("caption_ids", TensorType::i32([batch, words]))?, mask(&mut b)?);
            text_encoder(&mut b, &config.text_encoder, ids, mask, None)?
        }
        _ => {
            let features = b.input("features", TensorType::f32([batch, config.grid(), config.grid(), config.backbone.channels()]))?;
            let text = b.input("text", TensorType::f32([batch, words, config.text_encoder.hidden_size]))?;
            let affect = match config.fusion.highlight {
                Highlight::Lexicon => Some(b.input("word_affect", TensorType::f32([batch, words]))?),
                Highlight::Learned | Highlight::None => None,
            };
            let mask = mask(&mut b)?;
            fusion(&mut b, config, Streams { features, text, mask, affect }, None)?.logits
        }
    };
    b.output("result", result);
    Ok(b.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirds_of_the_classifier_are_its_whole() -> Result<()> {
        let config = model("escnet-tiny")?;
        let flops = |part: Part| -> Result<u64> {
            let graph = build(&config, part, 2)?;
            Ok(graph.nodes().iter().map(|node| graph.cost(node).flops).sum())
        };
        let whole = flops(Part::Inference(inspect::Stage::Classify))?;
        let thirds = flops(Part::Backbone)? + flops(Part::TextEncode)? + flops(Part::Fusion)?;
        assert!(thirds <= whole && whole - thirds < whole / 1000, "{thirds} of {whole}");
        Ok(())
    }

    #[test]
    fn an_unknown_model_is_an_error() {
        assert!(model("escnet-huge").is_err());
    }
}
