//! How long nodes took.

use super::Graph;
use super::replay::{Recording, Step};
use crate::device::Kernel;
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu;
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
    /// When the latest of them began: since the first of all nodes that ran did, by the clock that times are taken by.
    pub began: Duration,
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
    /// When the first node began that ran since anyone asked, by the host's clock.
    first: Option<Instant>,
    /// What a GPU's clock said before and after these nodes, still with the device: reading it would hold up what comes next.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    unread: Vec<(Vec<usize>, Ticks)>,
}

/// What a GPU keeps of its clock until it is asked.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[derive(Debug)]
pub(super) enum Ticks {
    #[cfg(feature = "cuda")]
    Cuda(cuda::Ticks),
    #[cfg(feature = "wgpu")]
    Wgpu(wgpu::Ticks),
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    time: Duration,
    runs: u64,
    began: Duration,
}

impl Times {
    /// None yet, of this many nodes.
    pub fn new(nodes: usize) -> Self {
        Times {
            sums: vec![Taken::default(); nodes],
            first: None,
            #[cfg(any(feature = "cuda", feature = "wgpu"))]
            unread: Vec::new(),
        }
    }

    /// Adds one run that began then and ends now, by the host's clock.
    pub fn add_until_now(&mut self, node: usize, start: Instant) {
        let first = *self.first.get_or_insert(start);
        self.add(node, start.duration_since(first), start.elapsed());
    }

    fn add(&mut self, node: usize, began: Duration, time: Duration) {
        let taken = &mut self.sums[node];
        *taken = Taken { time: taken.time + time, runs: taken.runs + 1, began };
    }

    /// Adds one run of each of these steps, whose times are read once someone asks.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub fn add_unread(&mut self, steps: &[Step], ticks: Ticks) {
        self.unread.push((steps.iter().map(|step| step.node).collect(), ticks));
    }

    /// All of it, in the order of the graph's nodes. What comes after counts from nothing again.
    pub async fn take(&mut self, graph: &Graph, steps: &[Step], recording: &Recording) -> Result<Vec<NodeTime>> {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        self.read().await?;
        self.first = None;
        let told = |(node, taken): (&super::Node, &mut Taken)| {
            let Taken { time, runs, began } = std::mem::take(taken);
            NodeTime { label: node.op.label(), scope: node.scope.clone(), time, runs, began, cost: graph.cost(node), kernels: Vec::new() }
        };
        let mut all: Vec<NodeTime> = graph.nodes.iter().zip(&mut self.sums).map(told).collect();
        steps.iter().zip(recording.kernels()).for_each(|(step, kernels)| all[step.node].kernels = kernels);
        Ok(all)
    }

    /// Adds what was unread.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    async fn read(&mut self) -> Result<()> {
        let unread = std::mem::take(&mut self.unread);
        let mut first = None;
        for (nodes, ticks) in &unread {
            let spans = match (ticks, &unread[0].1) {
                #[cfg(feature = "cuda")]
                (Ticks::Cuda(ticks), Ticks::Cuda(first)) => ticks.read(first)?,
                #[cfg(feature = "wgpu")]
                (Ticks::Wgpu(ticks), _) => ticks.read().await?,
                // A session is on one device.
                #[cfg(all(feature = "cuda", feature = "wgpu"))]
                (Ticks::Cuda(_), Ticks::Wgpu(_)) => Vec::new(),
            };
            for (&node, [began, ended]) in nodes.iter().zip(spans) {
                let first = *first.get_or_insert(began);
                self.add(node, began.saturating_sub(first), ended.saturating_sub(began));
            }
        }
        Ok(())
    }
}

/// The host's clock. WebAssembly has none.
pub(super) fn clock() -> Option<Instant> {
    (!cfg!(target_arch = "wasm32")).then(Instant::now)
}
