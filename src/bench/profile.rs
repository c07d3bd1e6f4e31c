//! Where a graph's time goes: a run of one of a model's graphs, node by node, against the measured roofs.

use super::filled::filled;
use super::parts::{Part, build};
use super::peaks::{Bound, Peaks};
use super::subject::is_product;
use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Node, NodeTime, Options, Segment, prepare};
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
    /// Bytes of the tensors, and on the CPU of the scratch, that are needed while it runs, weights and other state left aside: see [`crate::graph::Plan::live`].
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
    /// Bytes that are planned for tensors, and on the CPU for scratch.
    pub planned: u64,
    /// Microseconds of the host until a run is queued; on the CPU until it is done.
    pub host_us: f64,
    /// The last of the runs.
    #[serde(skip)]
    pub last: Ran,
    /// Nodes, in the order in which they run.
    pub nodes: Vec<Spent>,
}

/// One run, in microseconds since the host began to queue it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ran {
    /// When all of it was queued.
    pub queued: f64,
    /// When the host knew that the device was done.
    pub done: f64,
    /// When each of [`Profile::nodes`] began and what it took. A GPU's clock is not the host's: its last node is taken to end when the host knows of it, which is a
    /// little late.
    pub nodes: Vec<(f64, f64)>,
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
    /// What bounds most of their time; none without roofs.
    pub bound: Option<Bound>,
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
    let nodes = graph.nodes().len();
    let (mut store, mut session) = filled(graph, config, device, Options { timed: true, ..Options::default() })?;
    let segments = [Segment::Run, Segment::Apply];
    let mut run = || -> Result<(Vec<NodeTime>, [f64; 2])> {
        let begun = Instant::now();
        segments.iter().try_for_each(|&segment| session.run(&mut store, segment))?;
        let queued = begun.elapsed();
        session.wait()?;
        let done = begun.elapsed();
        Ok((session.times()?, [queued, done].map(micros)))
    };
    run()?;
    let runs = setting.runs.max(1);
    let (mut sums, mut host, mut times, mut moments) = (vec![0.0; nodes], 0.0, Vec::new(), [0.0; 2]);
    for _ in 0..runs {
        (times, moments) = run()?;
        host += moments[0];
        sums.iter_mut().zip(&times).for_each(|(sum, time)| *sum += micros(time.time));
    }
    let graph = session.graph();
    let ran: Vec<usize> =
        (0..nodes).filter(|&n| graph.nodes()[n].segment != Segment::Prepare && !graph.nodes()[n].op.is_view() && times[n].runs > 0).collect();
    let gives = |node: &Node| node.outputs.iter().map(|&v| graph.ty(v).to_string()).collect::<Vec<_>>().join(" ");
    let spent = |&n: &usize| {
        let (node, time) = (&graph.nodes()[n], &times[n]);
        let us = sums[n] / runs as f64;
        let in_half = is_product(&*node.op) && node.inputs.iter().any(|&v| matches!(graph.ty(v).dtype, DType::F16 | DType::BF16));
        let floor = peaks.map(|peaks| peaks.floor(time.cost, in_half));
        Spent {
            scope: time.scope.clone(),
            op: time.label.clone(),
            gives: gives(node),
            kernels: time.kernels.iter().map(|kernel| kernel.name()).collect(),
            sources: time.kernels.iter().map(|kernel| kernel.source.clone()).collect(),
            us,
            flops: time.cost.flops,
            bytes: time.cost.bytes,
            roof: floor.map(|(floor, _)| floor * 1e6 / us.max(f64::MIN_POSITIVE)),
            bound: floor.map(|(_, bound)| bound),
            live: session.plan().live[n] as u64,
        }
    };
    Ok(Profile {
        device: device.describe(),
        part: setting.part.name(),
        batch: setting.batch,
        dtype: setting.dtype.name(),
        runs,
        planned: session.plan().peak_bytes as u64,
        host_us: host / runs as f64,
        last: Ran::new(moments, ran.iter().map(|&n| (micros(times[n].began), micros(times[n].time))).collect()),
        nodes: ran.iter().map(spent).collect(),
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Ran {
    /// Of nodes that say when they began by the device's clock.
    fn new([queued, done]: [f64; 2], nodes: Vec<(f64, f64)>) -> Self {
        let ended = nodes.iter().map(|(began, us)| began + us).fold(0.0, f64::max);
        let nodes = nodes.into_iter().map(|(began, us)| ((began + done - ended).max(0.0), us)).collect();
        Ran { queued, done, nodes }
    }
}

impl Profile {
    /// Microseconds of all nodes.
    pub fn us(&self) -> f64 {
        self.nodes.iter().map(|node| node.us).sum()
    }

    /// Sums by a name, the longest first.
    pub fn shares(&self, name: impl Fn(&Spent) -> String) -> Vec<Share> {
        let mut sums: BTreeMap<String, (Share, f64)> = BTreeMap::new();
        for node in &self.nodes {
            let name = name(node);
            let none = Share { name: name.clone(), nodes: 0, us: 0.0, flops: 0, bytes: 0, floor: node.roof.map(|_| 0.0), bound: None };
            let (sum, by_memory) = sums.entry(name).or_insert((none, 0.0));
            sum.nodes += 1;
            sum.us += node.us;
            sum.flops += node.flops;
            sum.bytes += node.bytes;
            sum.floor = sum.floor.zip(node.roof).map(|(floor, roof)| floor + roof * node.us);
            *by_memory += if node.bound == Some(Bound::Memory) { node.us } else { 0.0 };
        }
        let bounded = |(sum, by_memory): (Share, f64)| {
            let most = if 2.0 * by_memory >= sum.us { Bound::Memory } else { Bound::Arithmetic };
            Share { bound: sum.floor.map(|_| most), ..sum }
        };
        let mut sums: Vec<Share> = sums.into_values().map(bounded).collect();
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::parts::model;
    use super::*;
    use crate::graph::Plan;
    use crate::infer::inspect::Stage;

    #[test]
    fn what_is_live_fits_into_what_is_planned() -> Result<()> {
        let inference = Stage::ALL.map(Part::Inference);
        let parts = inference.into_iter().chain([Part::Backbone, Part::TextEncode, Part::Fusion, Part::TrainCaption, Part::TrainClassify]);
        for part in parts {
            for (name, dtype) in [("escnet-tiny", DType::F32), ("escnet-base", DType::F32), ("escnet-tiny", DType::BF16)] {
                let graph = prepare(build(&model(name)?, part, 1)?, &rules(), dtype)?;
                for threads in [0, 2] {
                    let plan = Plan::new(&graph, threads);
                    let most = plan.live.iter().copied().max().unwrap_or(0);
                    let place = format!("{} of {name} in {dtype} on {threads} threads: {most} of {} bytes", part.name(), plan.peak_bytes);
                    assert!(most <= plan.peak_bytes && most * 2 > plan.peak_bytes, "{place}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_last_node_ends_when_the_host_knows_of_it() {
        let ran = Ran::new([3.0, 10.0], vec![(0.0, 2.0), (2.5, 4.0)]);
        assert_eq!((ran.queued, ran.done, ran.nodes), (3.0, 10.0, vec![(3.5, 2.0), (6.0, 4.0)]));
    }

    /// An addition of two numbers that took so long.
    pub fn spent(us: f64) -> Spent {
        let (scope, op) = ("a".to_owned(), "add".to_owned());
        Spent { scope, op, gives: String::new(), kernels: Vec::new(), sources: Vec::new(), us, flops: 1, bytes: 8, roof: None, bound: None, live: 8 }
    }

    /// A run of these nodes.
    pub fn profile(nodes: Vec<Spent>) -> Profile {
        let (device, last) = ("d".to_owned(), Ran::default());
        Profile { device, part: "classify", batch: 1, dtype: "f32", runs: 1, planned: 9, host_us: 2.5, last, nodes }
    }

    #[test]
    fn a_sum_is_bound_by_what_bounds_most_of_its_time() {
        let sum = |nodes: Vec<Spent>| profile(nodes).shares(|node| node.scope.clone()).remove(0);
        let spent = |us: f64, roof: Option<f64>, bound: Option<Bound>| Spent { roof, bound, ..spent(us) };
        let (memory, arithmetic) = (Some(Bound::Memory), Some(Bound::Arithmetic));
        // Two short nodes against a long one.
        let mixed = sum(vec![spent(1.0, Some(1.0), memory), spent(5.0, Some(0.2), arithmetic), spent(2.0, Some(0.5), memory)]);
        assert_eq!((mixed.nodes, mixed.us, mixed.bound, mixed.floor), (3, 8.0, arithmetic, Some(3.0)));
        assert_eq!(sum(vec![spent(6.0, Some(0.1), memory), spent(5.0, Some(0.2), arithmetic)]).bound, memory);
        assert_eq!(sum(vec![spent(6.0, None, None)]).bound, None);
    }
}
