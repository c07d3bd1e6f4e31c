//! What a model costs: parameters, operations, bytes and planned memory, counted on its graphs without running or loading anything.

use super::Generation;
use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Plan, Segment, StateKind, prepare};
use crate::model::captioner::{decode_step, encode};
use crate::model::config::EscnetConfig;
use crate::model::decoder::Decoding;
use crate::model::escnet::classifier;
use crate::op::Cost;
use crate::ops::rules;
use crate::ops::softmax::softmax;
use crate::tensor::{DType, TensorType};
use crate::weights::{Part, manifest};
use serde::Serialize;
use std::collections::BTreeMap;

/// A graph that runs in inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Backbone, text encoder and fusion, once a picture.
    Classify,
    /// The captioner's vision tower and the keys and values of its cross-attention, once a picture.
    CaptionEncode,
    /// One decoding step of the captioner, once a token.
    CaptionStep,
}

impl Stage {
    /// All of them, in the order in which a reader asks for them.
    pub const ALL: [Stage; 3] = [Stage::Classify, Stage::CaptionEncode, Stage::CaptionStep];
}

/// How a graph is built to be counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Pictures at once.
    pub batch: usize,
    /// What is computed in.
    pub dtype: DType,
    /// Threads that want scratch memory.
    pub threads: usize,
    /// Beams and the longest caption.
    pub generation: Generation,
}

/// One part's weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weights {
    /// The part, as `config.json` calls it.
    pub part: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Trained numbers.
    pub parameters: u64,
    /// Running statistics of batch norm.
    pub statistics: u64,
    /// Bytes in f32.
    pub bytes: u64,
}

/// The weights of each part of a model.
///
/// # Errors
/// [`Error::Config`] where the configuration does not hold together.
pub fn weights(config: &EscnetConfig) -> Result<Vec<Weights>> {
    let all = manifest(config)?;
    let of = |part: Part| {
        let own: Vec<_> = all.iter().filter(|wanted| wanted.part == part).collect();
        let count = |statistic: bool| own.iter().filter(|w| w.is_statistic() == statistic).map(|w| w.shape.len() as u64).sum::<u64>();
        let (parameters, statistics) = (count(false), count(true));
        Weights { part: part.name(), tensors: own.len(), parameters, statistics, bytes: 4 * (parameters + statistics) }
    };
    Ok(Part::ALL.into_iter().map(of).collect())
}

/// Executions and what they cost together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The part of the model, or the operator.
    pub name: String,
    /// Executions.
    pub nodes: usize,
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes read and written, each once.
    pub bytes: u64,
}

/// One execution of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Execution {
    /// Where it stands in the model.
    pub scope: String,
    /// What is computed.
    pub op: String,
    /// The types of its inputs.
    pub inputs: Vec<String>,
    /// The types of its results.
    pub outputs: Vec<String>,
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes read and written, each once.
    pub bytes: u64,
}

/// What one run of a graph costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Which graph.
    pub stage: Stage,
    /// Nodes as the model is written, views left out.
    pub nodes_before: usize,
    /// Nodes that run after fusion, views left out.
    pub nodes_after: usize,
    /// Nodes that run only once, when weights are loaded.
    pub nodes_prepared: usize,
    /// Floating-point operations of a run.
    pub flops: u64,
    /// Bytes read and written in a run, each once.
    pub bytes: u64,
    /// Bytes that are planned for all tensors of a run.
    pub peak_bytes: u64,
    /// Bytes that they would take without reuse.
    pub total_bytes: u64,
    /// Bytes of the caches that are kept between runs.
    pub cache_bytes: u64,
    /// By part of the model, in the order in which they run.
    pub parts: Vec<Share>,
    /// By operator, the costliest first.
    pub ops: Vec<Share>,
    /// One by one, in the order in which they run.
    pub nodes: Vec<Execution>,
}

/// Counts one graph.
///
/// # Errors
/// [`Error::Argument`] where the setting does not fit the model; those of [`Builder::apply`] and [`prepare`].
pub fn inspect(config: &EscnetConfig, stage: Stage, setting: &Setting) -> Result<Inspection> {
    let written = build(config, stage, setting)?;
    let fused = prepare(written.clone(), &rules(), setting.dtype)?;
    let plan = Plan::new(&fused, setting.threads);
    let running = |graph: &Graph, segment| graph.nodes().iter().filter(|n| n.segment == segment && !n.op.is_view()).count();
    let caches = fused.states().filter(|(_, _, kind)| *kind == StateKind::Cache);
    let nodes = executions(&fused);
    let ops = {
        let mut ops = shares(&nodes, |node| node.op.clone());
        ops.sort_by_key(|share| std::cmp::Reverse((share.flops, share.bytes)));
        ops
    };
    Ok(Inspection {
        stage,
        nodes_before: running(&written, Segment::Run),
        nodes_after: nodes.len(),
        nodes_prepared: running(&fused, Segment::Prepare),
        flops: nodes.iter().map(|n| n.flops).sum(),
        bytes: nodes.iter().map(|n| n.bytes).sum(),
        peak_bytes: plan.peak_bytes as u64,
        total_bytes: plan.total_bytes as u64,
        cache_bytes: caches.map(|(_, info, _)| info.ty.bytes() as u64).sum(),
        parts: shares(&nodes, |node| part_of(&node.scope)),
        ops,
        nodes,
    })
}

/// The graph as the model is written: not fused, not in half precision.
///
/// # Errors
/// [`Error::Argument`] where the setting does not fit the model; those of [`Builder::apply`].
pub fn build(config: &EscnetConfig, stage: Stage, setting: &Setting) -> Result<Graph> {
    let Setting { batch: images, generation, .. } = setting;
    let longest = config.captioner.text_config.max_position_embeddings.min(config.text_encoder.max_position_embeddings);
    let (beams, max_length) = (generation.beams, generation.max_length.min(longest));
    if *images == 0 || beams == 0 || max_length < 2 {
        let got = format!("{images} pictures, {beams} beams, {max_length} tokens");
        return Err(Error::Argument { name: "setting", expected: "at least a picture, a beam and two tokens".to_owned(), got });
    }
    let decoding = Decoding { images: *images, beams, max_length, vision_tokens: config.captioner.vision_config.tokens() };
    let mut b = Builder::new();
    match stage {
        Stage::Classify => {
            let built = classifier(&mut b, config, *images, max_length, None)?.fused;
            let probabilities = softmax(&mut b, built.logits)?;
            b.output("probs", probabilities);
            built.gate.into_iter().for_each(|gate| b.output("gate", gate));
            built.attention.into_iter().for_each(|attention| b.output("attention", attention));
        }
        Stage::CaptionEncode => encode(&mut b, &config.captioner, &decoding)?,
        Stage::CaptionStep => {
            let search = Generation { max_length, ..generation.clone() }.search(&config.captioner.text_config);
            decode_step(&mut b, &config.captioner, &decoding, generation.sampling.is_none().then_some(search))?;
        }
    }
    Ok(b.finish())
}

/// What runs at each replay. A view costs nothing and is not executed.
fn executions(graph: &Graph) -> Vec<Execution> {
    let types = |values: &[crate::graph::Value]| values.iter().map(|&v| graph.ty(v)).map(|ty: TensorType| ty.to_string()).collect();
    let running = graph.nodes().iter().filter(|node| node.segment == Segment::Run && !node.op.is_view());
    let one = |node: &crate::graph::Node| {
        let Cost { flops, bytes } = graph.cost(node);
        Execution { scope: node.scope.clone(), op: node.op.label(), inputs: types(&node.inputs), outputs: types(&node.outputs), flops, bytes }
    };
    running.map(one).collect()
}

/// Sums by a name, in the order in which the names first come.
fn shares(nodes: &[Execution], name: impl Fn(&Execution) -> String) -> Vec<Share> {
    let mut sums: Vec<Share> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        let at = *places.entry(name(node)).or_insert_with_key(|name| {
            sums.push(Share { name: name.clone(), nodes: 0, flops: 0, bytes: 0 });
            sums.len() - 1
        });
        if let Some(sum) = sums.get_mut(at) {
            *sum = Share { nodes: sum.nodes + 1, flops: sum.flops + node.flops, bytes: sum.bytes + node.bytes, name: std::mem::take(&mut sum.name) };
        }
    }
    sums
}

/// The part of the model that a scope lies in; of the captioner, which of its two.
pub fn part_of(scope: &str) -> String {
    let mut steps = scope.split('.');
    match (steps.next(), steps.next()) {
        (Some("captioner"), Some(half @ ("vision_model" | "text_decoder"))) => format!("captioner.{half}"),
        (Some(""), _) | (None, _) => "result".to_owned(),
        (Some(part), _) => part.to_owned(),
    }
}
