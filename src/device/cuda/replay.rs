//! Nodes recorded once, replayed as a CUDA graph.

use super::allocation::{Part, allocate_all};
use super::driver::{Extent, Function, Recorded, launch};
use super::event::Event;
use super::launch::{Argument, Launch, Operand, grid_of, words};
use super::tensor_map::encode;
use super::{Gpu, Memory};
use crate::device::Kernel;
use crate::device::binding::{Home, Place};
use crate::error::{Error, Result};
use cudarc::driver::sys::CUstream;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Launches with their arguments. It holds on to the memory that these point to, so that a buffer that is given back and made anew wants a new recording.
#[derive(Debug)]
pub(crate) struct Recording {
    gpu: Gpu,
    // Before what they point to, since fields are dropped in this order.
    graphs: Mutex<Vec<(Range<usize>, Arc<Recorded>)>>,
    launches: Vec<Bound>,
    /// Which launches each node became.
    nodes: Vec<Range<usize>>,
    held: Vec<Part>,
}

#[derive(Debug)]
struct Bound {
    function: Arc<Function>,
    kernel: Kernel,
    extent: Extent,
    overlaps: bool,
    arguments: Vec<u64>,
    /// Where in these each begins.
    starts: Vec<usize>,
}

/// The memory that nodes are bound to.
#[derive(Clone, Copy)]
struct Places<'a> {
    slots: &'a Memory,
    states: &'a Memory,
}

impl Places<'_> {
    fn of(self, place: &Place) -> Option<Part> {
        if place.home == Home::Slot { self.slots.raw(place.index) } else { self.states.raw(place.index) }.cloned()
    }
}

/// Moments before the first of some nodes and behind each.
#[derive(Debug)]
pub(crate) struct Ticks {
    events: Vec<Event>,
}

impl Ticks {
    /// For each node when it began and when it ended, both since the first of `others` began, which ran before or are these. Waits until all are done.
    pub fn read(&self, others: &Ticks) -> Result<Vec<[Duration; 2]>> {
        let span = |pair: &[Event]| {
            let began = others.events[0].until(&pair[0])?;
            Ok([began, began + pair[0].until(&pair[1])?])
        };
        self.events.windows(2).map(span).collect()
    }
}

impl Recording {
    /// What these nodes say they launch, on the buffers they are bound to and the scratch memory behind the slots. With `apart`, tables are allocations of
    /// their own.
    pub fn new(nodes: Vec<Launch>, slots: &Memory, states: &Memory, apart: bool) -> Result<Self> {
        let bound_to = Places { slots, states };
        let (graphs, launches, nodes_of, held) = (Mutex::default(), Vec::new(), Vec::new(), Vec::new());
        let mut recording = Recording { gpu: slots.gpu.clone(), graphs, launches, nodes: nodes_of, held };
        let mut tables = recording.lay_down(&nodes, bound_to, apart)?.into_iter();
        for node in nodes {
            let from = recording.launches.len();
            let pointers: Vec<_> = tables.by_ref().take(node.pointers.len()).collect();
            let tables: Vec<_> = tables.by_ref().take(node.tables.len()).collect();
            recording.bind(&node, bound_to, &pointers, &tables)?;
            recording.nodes.push(from..recording.launches.len());
        }
        Ok(recording)
    }

    /// The tables of all nodes in their order, of each those of pointers first.
    fn lay_down(&mut self, nodes: &[Launch], bound_to: Places, apart: bool) -> Result<Vec<Option<Part>>> {
        let mut tables: Vec<Vec<u8>> = Vec::new();
        for node in nodes {
            for inputs in &node.pointers {
                let found: Vec<_> = inputs.iter().map(|&i| bound_to.of(node.binding.input(i))).collect();
                let addresses: Vec<u64> = found.iter().map(|part| part.as_ref().map_or(0, |part| part.at)).collect();
                self.held.extend(found.into_iter().flatten());
                tables.push(bytemuck::cast_slice(&addresses).to_vec());
            }
            let told = node.dispatches.first().map_or("", |dispatch| &dispatch.kernel);
            for table in &node.tables {
                tables.push(bytemuck::cast_slice(&words(told, table)?).to_vec());
            }
        }
        let lengths: Vec<usize> = tables.iter().map(Vec::len).collect();
        let parts = allocate_all(self.gpu.context(), &lengths, apart)?;
        parts.iter().zip(&tables).try_for_each(|(part, table)| part.as_ref().map_or(Ok(()), |part| part.write(0, table)))?;
        Ok(parts)
    }

    fn bind(&mut self, node: &Launch, bound_to: Places, pointers: &[Option<Part>], tables: &[Option<Part>]) -> Result<()> {
        let scratch: Vec<_> = node
            .scratch
            .iter()
            .enumerate()
            .map(|(n, &words)| bound_to.slots.scratch(n, words).map(Option::<&Part>::cloned))
            .collect::<Result<_>>()?;
        for dispatch in &node.dispatches {
            let (mut arguments, mut starts) = (Vec::<u64>::new(), Vec::new());
            let of_operand = |operand: Operand| match operand {
                Operand::Input(i) => bound_to.of(node.binding.input(i)),
                Operand::Output(o) => node.binding.output(o).and_then(|place| bound_to.of(place)),
                Operand::Scratch(n) => scratch.get(n).cloned().flatten(),
                Operand::Table(n) => tables.get(n).cloned().flatten(),
                Operand::Pointers(n) => pointers.get(n).cloned().flatten(),
                Operand::Nothing => None,
            };
            for argument in &dispatch.arguments {
                starts.push(arguments.len());
                let operand = match argument {
                    Argument::TensorMap(map) => {
                        let found = of_operand(map.operand);
                        let at = found.as_ref().map_or(0, |part| part.at);
                        arguments.extend(encode(self.gpu.context(), &dispatch.kernel, map, at)?);
                        self.held.extend(found);
                        continue;
                    }
                    Argument::Word(word) => {
                        arguments.push((*word).into());
                        continue;
                    }
                    Argument::Long(long) => {
                        arguments.push(*long);
                        continue;
                    }
                    Argument::Size(size) => {
                        arguments.extend(words(&dispatch.kernel, &[*size])?.into_iter().map(u64::from));
                        continue;
                    }
                    Argument::Sizes(sizes) => {
                        let two = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32;
                        arguments.extend(words(&dispatch.kernel, sizes)?.chunks(2).map(two));
                        continue;
                    }
                    Argument::Tensor(operand) => *operand,
                };
                let found = of_operand(operand);
                arguments.push(found.as_ref().map_or(0, |part| part.at));
                self.held.extend(found);
            }
            let small = |n: usize| u32::try_from(n).map_err(|_| Error::graph(&dispatch.kernel, "a block of at most 1024 threads", n));
            let extent = Extent {
                grid: grid_of(dispatch)?,
                block: small(dispatch.block)?,
                shared: small(dispatch.shared)?,
                cluster: small(dispatch.cluster)?,
            };
            let function = self.gpu.function(dispatch.image, &dispatch.kernel, dispatch.shared)?;
            let kernel = Kernel { entry: dispatch.kernel.clone(), variant: None, source: dispatch.image.source.into() };
            self.launches.push(Bound { function, kernel, extent, overlaps: dispatch.overlaps, arguments, starts });
        }
        Ok(())
    }

    /// Puts the launches of these nodes into a stream. Those that say so overlap with the one before them; the first with what was before, where that `may`.
    fn submit(&self, stream: CUstream, nodes: Range<usize>, mut may: bool) -> Result<()> {
        for node in nodes {
            for bound in &self.launches[self.nodes[node].clone()] {
                // SAFETY: the operator gave what its kernel takes, which tests/ops.rs sees on every case; all that it points to is held. So does it see that a kernel
                // waits which is said to overlap.
                unsafe { launch(&bound.function, stream, bound.extent, may && bound.overlaps, &mut bound.arguments.clone(), &bound.starts)? };
                may = true;
            }
        }
        Ok(())
    }

    /// Launches these nodes one by one, in their order. The first may overlap with whatever is in the stream: a driver lets it do so with a kernel alone.
    pub fn run_apart(&self, nodes: Range<usize>) -> Result<()> {
        self.gpu.context().enter()?;
        self.submit(self.gpu.context().stream, nodes, true)
    }

    /// Replays these nodes; the first time, they are captured into a graph. In it an edge between two kernels alone lets them overlap, so that the first waits as ever.
    pub fn run(&self, nodes: Range<usize>) -> Result<()> {
        let launched = self.nodes.get(nodes.clone()).is_some_and(|ranges| ranges.iter().any(|range| !range.is_empty()));
        if !launched {
            return Ok(());
        }
        let mut graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        let graph = match graphs.iter().find(|(range, _)| *range == nodes) {
            Some((_, graph)) => graph.clone(),
            None => {
                let graph = Arc::new(Recorded::new(self.gpu.context(), |stream| self.submit(stream, nodes.clone(), false))?);
                graphs.push((nodes, graph.clone()));
                graph
            }
        };
        graph.launch()
    }

    /// Replays these nodes between two events and waits: what they took all together.
    pub fn run_clocked(&self, nodes: Range<usize>) -> Result<Duration> {
        let before = Event::now(self.gpu.context())?;
        self.run(nodes)?;
        before.until(&Event::now(self.gpu.context())?)
    }

    /// Launches these nodes with an event before and behind each.
    pub fn run_timed(&self, nodes: Range<usize>) -> Result<Ticks> {
        let mut events = vec![Event::now(self.gpu.context())?];
        for node in nodes {
            self.submit(self.gpu.context().stream, node..node + 1, false)?;
            events.push(Event::now(self.gpu.context())?);
        }
        Ok(Ticks { events })
    }

    /// What each node launches.
    pub fn kernels(&self) -> Vec<Vec<Kernel>> {
        self.nodes.iter().map(|range| self.launches[range.clone()].iter().map(|bound| bound.kernel.clone()).collect()).collect()
    }
}
