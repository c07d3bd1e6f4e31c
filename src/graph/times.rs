//! How long nodes took.

use super::Graph;
use super::replay::{Recording, Step};
use crate::device::Kernel;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Ticks;
use crate::error::Result;
use crate::op::Cost;
use std::time::{Duration, Instant};

/// What one node took.
#[derive(Debug, Clone)]
pub struct NodeTime {
    /// The operator and its pass.
    pub label: String,
    /// The part of the model it belongs to.
    pub scope: String,
    /// All of its runs together.
    pub time: Duration,
    /// How often it ran.
    pub runs: u64,
    /// The work of one run.
    pub cost: Cost,
    /// What it launches on a GPU, in their order.
    pub kernels: Vec<Kernel>,
}

/// What one run of a segment took, from its start until the device was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocked {
    /// By the host's clock.
    pub host: Duration,
    /// By the device's own, where it has one. A GPU's passes through wgpu are added up, without what lies between them.
    pub device: Option<Duration>,
}

/// Sums over the runs of each node of a graph.
#[derive(Debug, Default)]
pub(super) struct Times {
    sums: Vec<Taken>,
    /// What a GPU's clock said before and after these nodes, still in its memory: reading it would hold up what comes next.
    #[cfg(feature = "wgpu")]
    unread: Vec<(Vec<usize>, Ticks)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    time: Duration,
    runs: u64,
}

impl Times {
    /// None yet, of this many nodes.
    pub fn new(nodes: usize) -> Self {
        Times {
            sums: vec![Taken::default(); nodes],
            #[cfg(feature = "wgpu")]
            unread: Vec::new(),
        }
    }

    /// Adds one run.
    pub fn add(&mut self, node: usize, time: Duration) {
        let taken = &mut self.sums[node];
        taken.time += time;
        taken.runs += 1;
    }

    /// Adds one run of each of these steps, whose times are read once someone asks.
    #[cfg(feature = "wgpu")]
    pub fn add_unread(&mut self, steps: &[Step], ticks: Ticks) {
        self.unread.push((steps.iter().map(|step| step.node).collect(), ticks));
    }

    /// All of it, in the order of the graph's nodes. What comes after counts from nothing again.
    pub async fn take(&mut self, graph: &Graph, steps: &[Step], recording: &Recording) -> Result<Vec<NodeTime>> {
        #[cfg(feature = "wgpu")]
        for (nodes, ticks) in std::mem::take(&mut self.unread) {
            let times = ticks.read().await?;
            nodes.into_iter().zip(times).for_each(|(node, time)| self.add(node, time));
        }
        let told = |(node, taken): (&super::Node, &mut Taken)| {
            let Taken { time, runs } = std::mem::take(taken);
            NodeTime { label: node.op.label(), scope: node.scope.clone(), time, runs, cost: graph.cost(node), kernels: Vec::new() }
        };
        let mut all: Vec<NodeTime> = graph.nodes.iter().zip(&mut self.sums).map(told).collect();
        steps.iter().zip(recording.kernels()).for_each(|(step, kernels)| all[step.node].kernels = kernels);
        Ok(all)
    }
}

/// The host's clock. WebAssembly has none.
pub(super) fn clock() -> Option<Instant> {
    (!cfg!(target_arch = "wasm32")).then(Instant::now)
}
