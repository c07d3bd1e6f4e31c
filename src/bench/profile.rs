//! Where a graph's time goes: a run of one of a model's graphs, node by node, against the measured roofs.

use super::filled::filled;
use super::parts::{Part, build};
use super::peaks::{Bound, Peaks};
use super::subject::is_product;
use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, NodeTime, Options, Segment, prepare};
use crate::model::config::EscnetConfig;
use crate::op::Cost;
use crate::ops::rules;
use crate::tensor::DType;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is profiled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// The graph.
    pub part: Part,
    /// Pictures at once.
    pub batch: usize,
    /// What is computed in.
    pub dtype: DType,
    /// Measured runs, after one that is not.
    pub runs: usize,
}

/// One node, a mean over runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spent {
    /// Where it stands in the model.
    pub scope: String,
    /// The operator and its pass.
    pub op: String,
    /// The types of its results.
    pub gives: String,
    /// The kernels that it launches; none on the CPU.
    pub kernels: Vec<String>,
    /// Their texts.
    #[serde(skip)]
    pub sources: Vec<Arc<str>>,
    /// Microseconds.
    pub us: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, each once.
    pub bytes: u64,
    /// The least time that the roofs allow, as a share of the time.
    pub roof: Option<f64>,
    /// What bounds it.
    pub bound: Option<Bound>,
    /// Bytes of the tensors that are needed while it runs, weights and other state left aside.
    pub live: u64,
}

/// A run of a graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The device.
    pub device: String,
    /// The graph.
    pub part: &'static str,
    /// Pictures at once.
    pub batch: usize,
    /// What is computed in.
    pub dtype: &'static str,
    /// Runs that times are means over.
    pub runs: usize,
    /// Bytes that are planned for tensors and scratch.
    pub planned: u64,
    /// Microseconds of the host until a run is queued; on the CPU until it is done.
    pub host_us: f64,
    /// Nodes, in the order in which they run.
    pub nodes: Vec<Spent>,
}

/// A sum over nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// What they have in common.
    pub name: String,
    /// How many they are.
    pub nodes: usize,
    /// Microseconds.
    pub us: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes.
    pub bytes: u64,
    /// Microseconds that the roofs allow; none without roofs.
    pub floor: Option<f64>,
}

/// Runs a model's graph with numbers at random and takes the time of each node: by the device's clock, or the host's where it has none.
///
/// # Errors
/// Those of the model's builders and of the device.
pub fn profile(config: &EscnetConfig, setting: &Setting, device: &Device, peaks: Option<&Peaks>) -> Result<Profile> {
    profile_graph(prepare(build(config, setting.part, setting.batch)?, &rules(), setting.dtype)?, config, setting, device, peaks)
}

/// The same of a graph of the model that is built and prepared.
///
/// # Errors
/// Those of the device.
pub fn profile_graph(graph: Graph, config: &EscnetConfig, setting: &Setting, device: &Device, peaks: Option<&Peaks>) -> Result<Profile> {
    let live = live(&graph);
    let (mut store, mut session) = filled(graph, config, device, Options { timed: true, ..Options::default() })?;
    let segments = [Segment::Run, Segment::Apply];
    let mut run = |times: usize| -> Result<(Vec<NodeTime>, Duration)> {
        let begun = Instant::now();
        for _ in 0..times {
            segments.iter().try_for_each(|&segment| session.run(&mut store, segment))?;
        }
        let queued = begun.elapsed();
        Ok((session.times()?, queued))
    };
    run(1)?;
    let runs = setting.runs.max(1);
    let (times, queued) = run(runs)?;
    let graph = session.graph();
    let gives = |node: &crate::graph::Node| node.outputs.iter().map(|&v| graph.ty(v).to_string()).collect::<Vec<_>>().join(" ");
    let spent = |((node, time), live): ((&crate::graph::Node, NodeTime), u64)| {
        let us = time.time.as_secs_f64() * 1e6 / time.runs.max(1) as f64;
        let in_half = is_product(&*node.op) && node.inputs.iter().any(|&v| matches!(graph.ty(v).dtype, DType::F16 | DType::BF16));
        let floor = peaks.map(|peaks| peaks.floor(time.cost, in_half));
        Spent {
            scope: time.scope,
            op: time.label,
            gives: gives(node),
            kernels: time.kernels.iter().map(|kernel| kernel.name()).collect(),
            sources: time.kernels.into_iter().map(|kernel| kernel.source).collect(),
            us,
            flops: time.cost.flops,
            bytes: time.cost.bytes,
            roof: floor.map(|(floor, _)| floor * 1e6 / us.max(f64::MIN_POSITIVE)),
            bound: floor.map(|(_, bound)| bound),
            live,
        }
    };
    let ran = |((node, time), _): &((&crate::graph::Node, NodeTime), u64)| node.segment != Segment::Prepare && !node.op.is_view() && time.runs > 0;
    Ok(Profile {
        device: device.describe(),
        part: setting.part.name(),
        batch: setting.batch,
        dtype: setting.dtype.name(),
        runs,
        planned: session.plan().peak_bytes as u64,
        host_us: queued.as_secs_f64() * 1e6 / runs as f64,
        nodes: graph.nodes().iter().zip(times).zip(live).filter(ran).map(spent).collect(),
    })
}

impl Profile {
    /// Microseconds of all nodes.
    pub fn us(&self) -> f64 {
        self.nodes.iter().map(|node| node.us).sum()
    }

    /// Sums by a name, the longest first.
    pub fn shares(&self, name: impl Fn(&Spent) -> String) -> Vec<Share> {
        let mut sums: BTreeMap<String, Share> = BTreeMap::new();
        for node in &self.nodes {
            let name = name(node);
            let sum = sums.entry(name.clone()).or_insert(Share { name, nodes: 0, us: 0.0, flops: 0, bytes: 0, floor: node.roof.map(|_| 0.0) });
            sum.nodes += 1;
            sum.us += node.us;
            sum.flops += node.flops;
            sum.bytes += node.bytes;
            sum.floor = sum.floor.zip(node.roof).map(|(floor, roof)| floor + roof * node.us);
        }
        let mut sums: Vec<Share> = sums.into_values().collect();
        sums.sort_by(|a, b| b.us.total_cmp(&a.us));
        sums
    }
}

impl Spent {
    /// FLOPs and bytes.
    pub fn cost(&self) -> Cost {
        Cost { flops: self.flops, bytes: self.bytes }
    }
}

/// Bytes of the tensors that live while each node runs: from the node that makes one to the last that reads it, views being what they are views of.
fn live(graph: &Graph) -> Vec<u64> {
    let nodes = graph.nodes();
    let root = graph.view_roots();
    let mut last: Vec<Option<usize>> = vec![None; root.len()];
    for (n, node) in nodes.iter().enumerate() {
        node.inputs.iter().chain(&node.outputs).for_each(|v| last[root[v.index()].index()] = Some(n));
    }
    graph.outputs().iter().for_each(|(_, v)| last[root[v.index()].index()] = nodes.len().checked_sub(1));
    let mut change = vec![0i64; nodes.len() + 1];
    for (n, node) in nodes.iter().enumerate().filter(|(_, node)| node.segment != Segment::Prepare && !node.op.is_view()) {
        for v in node.outputs.iter().filter(|v| root[v.index()] == **v) {
            change[n] += graph.ty(*v).bytes() as i64;
            change[last[v.index()].unwrap_or(n) + 1] -= graph.ty(*v).bytes() as i64;
        }
    }
    let sum = |sum: &mut i64, change: i64| {
        *sum += change;
        Some((*sum).max(0) as u64)
    };
    change[..nodes.len()].iter().copied().scan(0, sum).collect()
}
