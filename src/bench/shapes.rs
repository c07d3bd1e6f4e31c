//! Which operators are measured, on which tensors: those that a model's own graphs run, after fusion, each once.

use crate::error::Result;
use crate::graph::{Graph, Node, Segment, Source, StateKind, Value, prepare};
use crate::infer::Generation;
use crate::infer::inspect::{self, Setting};
use crate::model::config::EscnetConfig;
use crate::model::escnet::Trained;
use crate::op::{Cost, Op};
use crate::ops::rules;
use crate::tensor::{DType, Tensor, TensorType};
use crate::train::{self, StepOptions};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// What is known of the models whose shapes come with the program.
pub const KNOWN: [(&str, &str); 2] =
    [("escnet-base", include_str!("shapes/escnet-base.json")), ("escnet-tiny", include_str!("shapes/escnet-tiny.json"))];

/// A graph of the model whose operators are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A graph of inference.
    Inference(inspect::Stage),
    /// A training step of the captioner: forward, backward and update.
    TrainCaption,
    /// A training step of the classifier.
    TrainClassify,
}

impl Part {
    /// All of them.
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
            Part::TrainCaption => "train-caption",
            Part::TrainClassify => "train-classify",
        }
    }
}

/// What an operator's input is to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Computed before, or written by the host.
    Given,
    /// Does not change between runs, so that a device may keep it in a form that it likes better.
    Weight,
    /// State that the operator updates.
    Updated,
    /// These numbers.
    Fixed(Tensor),
}

/// An operator on tensors of certain types.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What is computed.
    pub op: Arc<dyn Op>,
    /// From these.
    pub inputs: Vec<(TensorType, Role)>,
    /// Giving these; which of them anybody wants.
    pub outputs: Vec<(TensorType, bool)>,
    /// The work of one execution.
    pub cost: Cost,
    /// In which graph it was met first.
    pub part: &'static str,
    /// How often it runs there.
    pub uses: usize,
}

impl Subject {
    /// The types of its inputs in short, the larger ones: what a row is called.
    pub fn shape(&self) -> String {
        const SHOWN: usize = 3;
        let sizes = |ty: &TensorType| match &ty.shape[..] {
            [] => "1".to_owned(),
            shape => shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
        };
        let shown: Vec<String> = self.inputs.iter().take(SHOWN).map(|(ty, _)| sizes(ty)).collect();
        let more = self.inputs.len().saturating_sub(SHOWN);
        let rest = if more > SHOWN { format!(" +{more}") } else { self.inputs.iter().skip(SHOWN).map(|(ty, _)| format!(" {}", sizes(ty))).collect() };
        shown.join(" ") + &rest
    }

    /// What tells it from others: operator with attributes, types and roles. Keys of random numbers do not count.
    fn key(&self) -> String {
        // A key is 64 bits, mostly of nineteen digits; nothing else that describes an operator is a number of ten.
        let attributes = format!("{:?}", self.op);
        let is_key = |word: &&str| word.len() >= 10 && word.bytes().all(|b| b.is_ascii_digit());
        let keyless: Vec<&str> = attributes.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !is_key(word)).collect();
        let inputs: Vec<String> = self.inputs.iter().map(|(ty, role)| format!("{ty} {}", role_name(role))).collect();
        format!("{keyless:?} {inputs:?} {:?}", self.outputs.iter().map(|(_, wanted)| wanted).collect::<Vec<_>>())
    }
}

fn role_name(role: &Role) -> &'static str {
    match role {
        Role::Given => "given",
        Role::Weight => "weight",
        Role::Updated => "updated",
        Role::Fixed(_) => "fixed",
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

/// Everything that these parts of a model run for `batch` pictures, computing in `dtype`: each operator once for the same types, views left out.
///
/// # Errors
/// Those of the model's builders.
pub fn subjects(config: &EscnetConfig, parts: &[Part], batch: usize, dtype: DType) -> Result<Vec<Subject>> {
    let mut found: Vec<Subject> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for &part in parts {
        let graph = prepare(build(config, part, batch)?, &rules(), dtype)?;
        let (uses, updated) = (graph.uses(), graph.updated());
        for node in graph.nodes().iter().filter(|n| n.segment != Segment::Prepare && !n.op.is_view()) {
            let subject = subject(&graph, node, part, &uses, &updated);
            let place = *places.entry(subject.key()).or_insert(found.len());
            match found.get_mut(place) {
                Some(known) => known.uses += usize::from(known.part == part.name()),
                None => found.push(subject),
            }
        }
    }
    Ok(found)
}

fn subject(graph: &Graph, node: &Node, part: Part, uses: &[usize], updated: &[bool]) -> Subject {
    let role = |v: &Value| match &graph.info(*v).source {
        Source::Constant(tensor) => Role::Fixed(tensor.clone()),
        Source::State(kind) if (kind.is_weight() || *kind == StateKind::Derived) && !updated[v.index()] => Role::Weight,
        _ => Role::Given,
    };
    let inputs = node.inputs.iter().enumerate();
    let inputs = inputs.map(|(i, v)| (graph.ty(*v), if node.op.updates().contains(&i) { Role::Updated } else { role(v) })).collect();
    let outputs = node.outputs.iter().map(|v| (graph.ty(*v), uses[v.index()] > 0)).collect();
    Subject { op: node.op.clone(), inputs, outputs, cost: graph.cost(node), part: part.name(), uses: 1 }
}

pub(super) fn build(config: &EscnetConfig, part: Part, batch: usize) -> Result<Graph> {
    // As captions are by default; training reads as many words.
    let words =
        Generation::default().max_length.min(config.captioner.text_config.max_position_embeddings).min(config.text_encoder.max_position_embeddings);
    let options = StepOptions::default();
    let stage = match part {
        Part::Inference(stage) => {
            let setting = Setting { batch, dtype: DType::F32, threads: 1, generation: Generation::default() };
            return inspect::build(config, stage, &setting);
        }
        Part::TrainCaption => train::Stage::Caption { batch, length: words - 1 },
        Part::TrainClassify => train::Stage::Classify { batch, words, trained: Trained::ALL },
    };
    Ok(train::build(config, stage, &options)?.graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_s_operators_are_met_once() -> Result<()> {
        let config = model("escnet-tiny")?;
        let all = subjects(&config, &Part::ALL, 2, DType::F32)?;
        let mut keys: Vec<String> = all.iter().map(Subject::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
        let stems: std::collections::BTreeSet<&str> = all.iter().map(|s| s.op.stem()).collect();
        for stem in ["adamw", "attention", "batchnorm", "conv2d", "cross_entropy", "kv_cache", "layernorm", "linear", "variable_weight_loss"] {
            assert!(stems.contains(stem), "{stem} of {stems:?}");
        }
        assert!(all.iter().any(|s| s.uses > 1) && all.iter().any(|s| s.op.pass() == "backward_input"));
        Ok(())
    }

    #[test]
    fn keys_of_random_numbers_make_no_difference() -> Result<()> {
        let dropouts = |of: &str| -> Result<usize> {
            Ok(subjects(&model(of)?, &[Part::TrainClassify], 1, DType::F32)?.iter().filter(|s| s.op.stem() == "dropout").count())
        };
        assert_eq!(dropouts("escnet-tiny")?, 0);
        assert!((1..10).contains(&dropouts("escnet-base")?), "{}", dropouts("escnet-base")?);
        Ok(())
    }

    #[test]
    fn an_unknown_model_is_an_error() {
        assert!(model("escnet-huge").is_err());
    }
}
