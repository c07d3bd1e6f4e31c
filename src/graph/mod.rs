//! The graph: values, nodes and state, and what is done to them before they run.
//!
//! `builder` -> `backward` -> `precision` -> `fuse` -> `plan` -> `run`: a file each, each a function of the last one's result.
//! Nodes stand in the order in which they run. State is updated in place at its node: what stands before reads the old content, what
//! stands after reads the new.

mod backward;
mod builder;
mod fuse;
mod packs;
mod plan;
mod precision;
mod replay;
mod run;
mod store;
mod times;

pub use backward::{Backward, gradients};
pub use builder::Builder;
pub use fuse::{Rewriter, fuse, prepare};
pub use plan::Plan;
pub use precision::{Precision, lower_precision};
pub use run::{Options, Session};
pub use store::{Store, WeightSource};
pub use times::{Clocked, NodeTime};

use crate::error::{Error, Result};
use crate::op::{Cost, Op};
use crate::tensor::{DType, Tensor, TensorType};
use std::sync::Arc;

/// A handle on one value of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which part of a run a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Once, whenever parameters were written: folded filters, casts of weights.
    Prepare,
    /// Every replay: the forward pass, and in training the backward pass and the sum of gradients over micro-steps (*accumulate*).
    Run,
    /// Once per optimizer step: norm, clip, update, moving averages, commit of statistics (*apply*).
    Apply,
}

/// What a piece of state is for. It decides what a checkpoint saves and what counts as constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// A trained tensor. Constant in a graph that does not update it.
    Parameter,
    /// Running statistics, saved with the parameters. Constant in a graph that does not update it.
    Statistic,
    /// A summed gradient.
    Gradient,
    /// An optimizer's moment, or a moving average of a parameter: what training owns.
    Moment,
    /// Keys and values kept between decoding steps.
    Cache,
    /// Small values that change between replays: step, learning rate, seed, position.
    Control,
    /// Computed by [`Segment::Prepare`] from constants.
    Derived,
}

impl StateKind {
    /// True for what does not change unless a node, or the host, writes it on purpose.
    pub fn is_weight(self) -> bool {
        matches!(self, StateKind::Parameter | StateKind::Statistic)
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Written by the host before a run.
    Input,
    /// Named and persistent.
    State(StateKind),
    /// Fixed numbers.
    Constant(Tensor),
    /// Computed by a node.
    Node,
}

/// Everything known of a value.
#[derive(Debug, Clone)]
pub struct ValueInfo {
    /// Unique among inputs and states; for the rest, where it was made.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
    /// Where it comes from.
    pub source: Source,
}

/// One execution of an operator.
#[derive(Debug, Clone)]
pub struct Node {
    /// What is computed.
    pub op: Arc<dyn Op>,
    /// From these.
    pub inputs: Vec<Value>,
    /// Giving these.
    pub outputs: Vec<Value>,
    /// The part of the model it belongs to, such as `backbone.layer1.0`.
    pub scope: String,
    /// When it runs.
    pub segment: Segment,
}

/// A graph, ready to be transformed, planned and run.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<(String, Value)>,
}

/// An operator's backward rule: appends nodes that compute the gradients of its inputs.
pub type BackwardRule = fn(&mut Backward) -> Result<()>;
/// An operator's fusion: looks at the node with this index and rewrites it; true where it did.
pub type FusionRule = fn(&mut Rewriter, usize) -> Result<bool>;

/// What the transformations need to know about operators, so that this module names none.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The backward rule for a stem.
    pub backward: fn(stem: &str) -> Option<BackwardRule>,
    /// The fusions, in the order in which they are tried.
    pub fusions: fn() -> Vec<FusionRule>,
    /// The precision class of a stem.
    pub precision: fn(stem: &str) -> Precision,
    /// Sums two values of one type.
    pub add: fn() -> Arc<dyn Op>,
    /// Converts to an element type.
    pub cast: fn(DType) -> Arc<dyn Op>,
}

impl Graph {
    /// What is known of a value.
    pub fn info(&self, value: Value) -> &ValueInfo {
        &self.values[value.index()]
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> TensorType {
        self.values[value.index()].ty
    }

    /// The nodes, in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Named results.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// All values with a given kind of source: (value, what is known).
    pub fn values(&self) -> impl Iterator<Item = (Value, &ValueInfo)> {
        self.values.iter().enumerate().map(|(i, v)| (Value(i as u32), v))
    }

    /// Inputs, in the order in which they were made.
    pub fn inputs(&self) -> impl Iterator<Item = (Value, &ValueInfo)> {
        self.values().filter(|(_, v)| v.source == Source::Input)
    }

    /// State, in the order in which it was made.
    pub fn states(&self) -> impl Iterator<Item = (Value, &ValueInfo, StateKind)> {
        self.values().filter_map(|(id, v)| match v.source {
            Source::State(kind) => Some((id, v, kind)),
            _ => None,
        })
    }

    /// The input or state of this name.
    pub fn named(&self, name: &str) -> Option<Value> {
        self.values().find(|(_, v)| v.name == name && !matches!(v.source, Source::Node | Source::Constant(_))).map(|(id, _)| id)
    }

    /// FLOPs and bytes of one node.
    pub fn cost(&self, node: &Node) -> Cost {
        let types = |values: &[Value]| values.iter().map(|&v| self.ty(v)).collect::<Vec<_>>();
        node.op.cost(&types(&node.inputs), &types(&node.outputs))
    }

    /// Every node reads only what is there when it runs: segment by segment, each in the order of its nodes.
    ///
    /// # Errors
    /// [`Error::Graph`] naming the node.
    pub(crate) fn check_order(&self) -> Result<()> {
        let mut there: Vec<bool> = self.values.iter().map(|v| !matches!(v.source, Source::Node)).collect();
        for segment in [Segment::Prepare, Segment::Run, Segment::Apply] {
            for node in self.nodes.iter().filter(|n| n.segment == segment) {
                if let Some(v) = node.inputs.iter().find(|v| !there[v.index()]) {
                    let got = format!("{} of what comes later, {}", node.op.label(), self.info(*v).name);
                    return Err(Error::graph(&node.scope, "inputs that are computed before", got));
                }
                node.outputs.iter().for_each(|v| there[v.index()] = true);
            }
        }
        Ok(())
    }

    /// State that some node updates.
    pub(crate) fn updated(&self) -> Vec<bool> {
        let mut updated = vec![false; self.values.len()];
        for node in &self.nodes {
            for i in node.op.updates() {
                if let Some(v) = node.inputs.get(i) {
                    updated[v.index()] = true;
                }
            }
        }
        updated
    }

    /// For each value the one whose memory it shares as a view; itself where it is none.
    pub(crate) fn view_roots(&self) -> Vec<Value> {
        let mut root: Vec<Value> = (0..self.values.len() as u32).map(Value).collect();
        for node in self.nodes.iter().filter(|n| n.op.is_view()) {
            if let (Some(input), Some(output)) = (node.inputs.first(), node.outputs.first()) {
                root[output.index()] = root[input.index()];
            }
        }
        root
    }

    /// How often each value is read, named results counted.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        for v in self.nodes.iter().flat_map(|n| &n.inputs).chain(self.outputs.iter().map(|(_, v)| v)) {
            uses[v.index()] += 1;
        }
        uses
    }

    /// Drops nodes whose results nobody reads and that update no state.
    pub(crate) fn drop_dead_nodes(&mut self) {
        let mut live = vec![false; self.values.len()];
        self.outputs.iter().for_each(|(_, v)| live[v.index()] = true);
        let mut keep = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if !node.op.updates().is_empty() || node.outputs.iter().any(|v| live[v.index()]) {
                keep[i] = true;
                node.inputs.iter().for_each(|v| live[v.index()] = true);
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(true));
    }

    fn missing(&self, kind: &str, name: &str) -> Error {
        let known: Vec<&str> = self.values().filter(|(_, v)| !matches!(v.source, Source::Node)).map(|(_, v)| v.name.as_str()).take(40).collect();
        Error::graph(name, format!("one of the graph's {kind}: {}", known.join(", ")), "an unknown name")
    }
}
