//! Steps run one after another on whichever device.

use super::Graph;
use super::run::Options;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use super::times::Ticks;
use super::times::{Clocked, Times, clock};
use crate::device::binding::{Binding, Home, Place};
use crate::device::cpu::{Args, Memory, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
use crate::device::memory::DeviceMemory;
#[cfg(feature = "wgpu")]
use crate::device::now::now;
#[cfg(feature = "wgpu")]
use crate::device::wgpu;
use crate::device::{Device, Kernel, Kind, Room};
use crate::error::{Error, Result};
use crate::op::Op;
use std::ops::Range;
use std::time::Duration;

/// One node and where its tensors live.
pub(super) struct Step {
    pub node: usize,
    pub binding: Binding,
}

/// What a device keeps of a list of steps beside the steps: on the CPU nothing, on a GPU the launches they become.
#[derive(Default)]
pub(super) enum Recording {
    #[default]
    Nothing,
    #[cfg(feature = "cuda")]
    Cuda(cuda::Recording),
    #[cfg(feature = "wgpu")]
    Wgpu(wgpu::Recording),
}

impl Recording {
    /// What each step launches; nothing on the CPU.
    pub fn kernels(&self) -> Vec<Vec<Kernel>> {
        match self {
            Recording::Nothing => Vec::new(),
            #[cfg(feature = "cuda")]
            Recording::Cuda(recording) => recording.kernels(),
            #[cfg(feature = "wgpu")]
            Recording::Wgpu(recording) => recording.kernels(),
        }
    }
}

/// Steps of a graph, ready to run.
pub(super) struct Replay<'a> {
    pub device: &'a Device,
    pub graph: &'a Graph,
    pub steps: &'a [Step],
    pub options: Options,
}

impl Replay<'_> {
    /// What the steps' scratch takes behind the slots, where a device asks for that.
    pub fn scratch(&self, slots: &DeviceMemory) -> Result<Vec<Room>> {
        match slots {
            #[cfg(feature = "cuda")]
            DeviceMemory::Cuda(slots) => Ok(Room::shared(self.launches(slots)?.iter().map(cuda::Launch::scratch_words))),
            _ => Ok(Vec::new()),
        }
    }

    /// What the steps say they launch.
    #[cfg(feature = "cuda")]
    fn launches<'a>(&'a self, slots: &'a cuda::Memory) -> Result<Vec<cuda::Launch<'a>>> {
        let tell = |step: &'a Step| {
            let node = &self.graph.nodes[step.node];
            let mut launch = cuda::Launch::new(&step.binding, slots, || self.signature(node));
            node.op.cuda(&mut launch).map(|()| launch)
        };
        self.steps.iter().map(tell).collect()
    }

    /// What measurements of a node's operator are kept by.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn signature(&self, node: &super::Node) -> String {
        node.op.signature(&node.inputs.iter().map(|&v| self.graph.ty(v)).collect::<Vec<_>>())
    }

    /// Records the steps on the buffers that are there now.
    pub fn record(&self, slots: &DeviceMemory, states: &DeviceMemory) -> Result<Recording> {
        match (slots, states) {
            #[cfg(feature = "cuda")]
            (DeviceMemory::Cuda(slots), DeviceMemory::Cuda(states)) => {
                Ok(Recording::Cuda(cuda::Recording::new(self.launches(slots)?, slots, states, self.options.are_apart())?))
            }
            #[cfg(feature = "wgpu")]
            (DeviceMemory::Wgpu(slots), DeviceMemory::Wgpu(states)) => {
                let mut nodes = Vec::with_capacity(self.steps.len());
                for Step { node, binding } in self.steps {
                    let node = &self.graph.nodes[*node];
                    let mut launch = wgpu::Launch::new(node.op.stem(), binding, slots, states, || self.signature(node));
                    node.op.wgpu(&mut launch)?;
                    nodes.push(launch);
                }
                Ok(Recording::Wgpu(wgpu::Recording::new(nodes, slots, states, self.options.checked)?))
            }
            _ => Ok(Recording::Nothing),
        }
    }

    /// Runs some of the steps.
    pub fn run(
        &self,
        range: Range<usize>,
        recording: &Recording,
        slots: &mut DeviceMemory,
        states: &mut DeviceMemory,
        times: &mut Times,
    ) -> Result<()> {
        match (&self.device.kind, slots, states, recording) {
            (Kind::Cpu(cpu), DeviceMemory::Cpu(slots), DeviceMemory::Cpu(states), _) => cpu.install(|| self.execute(range, slots, states, times)),
            (Kind::Reference(cpu), DeviceMemory::Reference(slots), DeviceMemory::Reference(states), _) => {
                cpu.install(|| self.execute(range, slots, states, times))
            }
            #[cfg(feature = "cuda")]
            (Kind::Cuda(_), DeviceMemory::Cuda(slots), DeviceMemory::Cuda(states), Recording::Cuda(recording)) => {
                if self.options.checked {
                    self.checked_cuda(range, recording, slots, states)
                } else if self.options.timed {
                    times.add_unread(&self.steps[range.clone()], Ticks::Cuda(recording.run_timed(range)?));
                    Ok(())
                } else {
                    recording.run(range)
                }
            }
            #[cfg(feature = "wgpu")]
            (Kind::Wgpu(_), DeviceMemory::Wgpu(slots), DeviceMemory::Wgpu(states), Recording::Wgpu(recording)) => {
                if self.options.checked {
                    self.checked(range, recording, slots, states)
                } else if self.options.timed {
                    self.timed(range, recording, slots, times)
                } else {
                    recording.run(range)
                }
            }
            _ => Err(Error::graph("store", "memory on the session's device", "another device's")),
        }
    }

    /// Runs some of the steps as one, waits until they are done and says what they took.
    pub fn clocked(&self, range: Range<usize>, recording: &Recording, slots: &mut DeviceMemory, states: &mut DeviceMemory) -> Result<Clocked> {
        let start = clock();
        let host = || start.map_or(Duration::ZERO, |start| start.elapsed());
        match (&*slots, recording) {
            #[cfg(feature = "cuda")]
            (DeviceMemory::Cuda(_), Recording::Cuda(recording)) => {
                let device = recording.run_clocked(range)?;
                Ok(Clocked { host: host(), device: Some(device) })
            }
            #[cfg(feature = "wgpu")]
            (DeviceMemory::Wgpu(slots), Recording::Wgpu(recording)) if recording.has_clock() => {
                let ticks = recording.run_timed(range)?;
                slots.wait()?;
                let host = host();
                let times = ticks.into_iter().map(|(_, ticks)| now(ticks.read())).collect::<Result<Vec<_>>>()?;
                Ok(Clocked { host, device: Some(times.iter().flatten().map(|[began, ended]| ended.saturating_sub(*began)).sum()) })
            }
            #[cfg(feature = "wgpu")]
            (DeviceMemory::Wgpu(slots), Recording::Wgpu(recording)) => {
                recording.run(range)?;
                slots.wait()?;
                Ok(Clocked { host: host(), device: None })
            }
            _ => {
                self.run(range, recording, slots, states, &mut Times::default())?;
                Ok(Clocked { host: host(), device: None })
            }
        }
    }

    fn execute<T: Execute>(&self, range: Range<usize>, slots: &mut Memory<T>, states: &mut Memory<T>, times: &mut Times) -> Result<()> {
        for step in &self.steps[range] {
            let node = &self.graph.nodes[step.node];
            if self.options.checked {
                poisoned(step).for_each(|p| slots.poison(p.index, p.ty.len()));
            }
            let start = if self.options.timed { clock() } else { None };
            T::execute(&*node.op, &mut step.binding.args(slots, states)?)?;
            for place in step.binding.written().filter(|p| p.ty.dtype.size() == 2) {
                match place.home {
                    Home::Slot => slots.round(place.index, &place.ty),
                    Home::State => states.round(place.index, &place.ty),
                }
            }
            if let Some(start) = start {
                times.add_until_now(step.node, start);
            }
            let whole = |p: &Place| if p.home == Home::Slot { slots.guard_is_whole(p.index) } else { states.guard_is_whole(p.index) };
            if self.options.checked && !guarded(step).all(whole) {
                return Err(self.overrun(step));
            }
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn checked_cuda(&self, range: Range<usize>, recording: &cuda::Recording, slots: &cuda::Memory, states: &cuda::Memory) -> Result<()> {
        for n in range {
            let step = &self.steps[n];
            poisoned(step).try_for_each(|p| slots.poison(p.index, p.ty.bytes()))?;
            slots.poison_scratch()?;
            recording.run_apart(n..n + 1)?;
            slots.wait()?;
            let memory = |p: &Place| if p.home == Home::Slot { slots } else { states };
            let whole = guarded(step).try_fold(true, |whole, p| Ok(whole && memory(p).guard_is_whole(p.index)?))?;
            if !whole || !slots.scratch_guards_are_whole()? {
                return Err(self.overrun(step));
            }
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn checked(&self, range: Range<usize>, recording: &wgpu::Recording, slots: &wgpu::Memory, states: &wgpu::Memory) -> Result<()> {
        for n in range {
            let step = &self.steps[n];
            poisoned(step).try_for_each(|p| slots.poison(p.index, p.ty.bytes()))?;
            recording.scratch().poison_all()?;
            recording.run(n..n + 1)?;
            let memory = |p: &Place| if p.home == Home::Slot { slots } else { states };
            let whole = guarded(step).try_fold(true, |whole, p| Ok(whole && memory(p).guard_is_whole(p.index)?))?;
            if !whole || !recording.scratch().all_guards_are_whole()? {
                return Err(self.overrun(step));
            }
        }
        Ok(())
    }

    /// By the GPU's clock; where it has none, one after another by the host's, the way there and back included. A browser whose GPU has none
    /// says nothing.
    #[cfg(feature = "wgpu")]
    fn timed(&self, range: Range<usize>, recording: &wgpu::Recording, slots: &wgpu::Memory, times: &mut Times) -> Result<()> {
        if recording.has_clock() {
            for (range, ticks) in recording.run_timed(range)? {
                times.add_unread(&self.steps[range], Ticks::Wgpu(ticks));
            }
            return Ok(());
        }
        if cfg!(target_arch = "wasm32") {
            return recording.run(range);
        }
        for n in range {
            let start = clock();
            recording.run(n..n + 1)?;
            slots.wait()?;
            start.iter().for_each(|&start| times.add_until_now(self.steps[n].node, start));
        }
        Ok(())
    }

    fn overrun(&self, step: &Step) -> Error {
        let node = &self.graph.nodes[step.node];
        Error::graph(&node.scope, "writes within bounds", format!("{} wrote behind its output", node.op.label()))
    }
}

/// What a checked session fills with NaN before the step.
fn poisoned(step: &Step) -> impl Iterator<Item = &Place> {
    step.binding.fresh_outputs().filter(|p| p.home == Home::Slot).chain(step.binding.workspace())
}

/// Where a checked session looks for a broken guard band after the step.
fn guarded(step: &Step) -> impl Iterator<Item = &Place> {
    step.binding.written().chain(step.binding.workspace())
}

/// Which of an operator's two host implementations a number type stands for.
trait Execute: Real {
    fn execute(op: &dyn Op, args: &mut Args<Self>) -> Result<()>;
}

impl Execute for f32 {
    fn execute(op: &dyn Op, args: &mut Args<f32>) -> Result<()> {
        op.cpu(args)
    }
}

impl Execute for f64 {
    fn execute(op: &dyn Op, args: &mut Args<f64>) -> Result<()> {
        op.reference(args)
    }
}
