//! Nodes recorded once, replayed in one submission.

use super::launch::{Dispatch, Launch, Operand};
use super::memory::Region;
use super::pipeline::Pipeline;
use super::{Gpu, Memory, api};
use crate::device::Kernel;
use crate::device::Room;
use crate::device::binding::{Home, Place};
use crate::error::Result;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Launches bound to their buffers. It holds on to those, so that a buffer that is given back and made anew wants a new recording.
#[derive(Debug)]
pub(crate) struct Recording {
    gpu: Gpu,
    launches: Vec<Bound>,
    /// Which launches each node became.
    nodes: Vec<Range<usize>>,
    /// What nodes leave for themselves between their launches. They run one after another and share it.
    scratch: Memory,
}

/// What the GPU's clock said before and after each of some nodes, in its own memory until it is read.
#[derive(Debug)]
pub(crate) struct Ticks {
    gpu: Gpu,
    resolved: api::Buffer,
    bytes: u64,
}

impl Ticks {
    /// For each node when it began and when it ended, both since a moment that is the same for all of this GPU's.
    pub async fn read(&self) -> Result<Vec<[Duration; 2]>> {
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.gpu.read(&self.resolved, 0, self.bytes).await?);
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let at = |tick: u64| Duration::from_nanos((tick as f64 * period) as u64);
        // Differences are taken in ticks: as nanoseconds since the GPU started they would be rounded.
        let first = ticks.first().copied().unwrap_or(0);
        let between = |pair: &[u64]| [pair[0], pair[1]].map(|tick| at(first) + at(tick.saturating_sub(first)));
        Ok(ticks.chunks_exact(2).map(between).collect())
    }
}

#[derive(Debug)]
struct Bound {
    pipeline: Arc<Pipeline>,
    tensors: api::BindGroup,
    parameters: Option<api::BindGroup>,
    grid: [u32; 3],
}

impl Recording {
    /// What these nodes say they launch, on the buffers they are bound to; `guarded` puts guard bands behind scratch memory.
    pub fn new(nodes: Vec<Launch>, slots: &Memory, states: &Memory, guarded: bool) -> Result<Self> {
        let mut scratch = Memory::new(&slots.gpu);
        for room in Room::shared(nodes.iter().map(|launch| &launch.scratch[..])) {
            scratch.push(room, guarded)?;
        }
        let mut recording = Recording { gpu: slots.gpu.clone(), launches: Vec::new(), nodes: Vec::new(), scratch };
        for launch in nodes {
            let from = recording.launches.len();
            for dispatch in &launch.dispatches {
                let bound = recording.bind(dispatch, &launch, slots, states)?;
                recording.launches.push(bound);
            }
            recording.nodes.push(from..recording.launches.len());
        }
        Ok(recording)
    }

    /// The scratch memory.
    pub fn scratch(&self) -> &Memory {
        &self.scratch
    }

    fn bind(&self, dispatch: &Dispatch, launch: &Launch, slots: &Memory, states: &Memory) -> Result<Bound> {
        let pipeline = self.gpu.inner.pipelines.of(&self.gpu, dispatch, launch.is_half())?;
        let binding = launch.binding;
        let device = self.gpu.device();
        let buffer = |place: &Place| if place.home == Home::Slot { slots.raw(place.index) } else { states.raw(place.index) }.cloned();
        let mut bound = Vec::new();
        for &operand in &dispatch.operands {
            let place = match operand {
                Operand::Input(i) | Operand::Update(i) => Some(binding.input(i)).filter(|_| !binding.is_gone(i)),
                Operand::Output(o) => binding.output(o),
                _ => None,
            };
            let seen = |region: Result<Region>, bytes: usize| region.and_then(|region| launch.window(dispatch, operand, bytes as u64, region));
            let found = match operand {
                // What holds nothing has no buffer.
                Operand::Scratch(n) => (launch.scratch[n] > 0).then(|| seen(self.scratch.raw(n).cloned(), 4 * launch.scratch[n])),
                Operand::Table(n) => Some(self.laid_down(&dispatch.entry, api::BufferUsages::STORAGE, &launch.tables[n])),
                Operand::Window { input, from, words, .. } => Some(buffer(binding.input(input)).map(|region| region.window(from, words))),
                _ => place.filter(|place| !place.ty.is_empty()).map(|place| seen(buffer(place), place.ty.bytes())),
            };
            bound.push(match found {
                Some(region) => region?,
                None => Region::whole(self.nothing()?),
            });
        }
        let group = |layout: &api::BindGroupLayout, regions: &[Region]| {
            let numbered = (0..).zip(regions);
            let entries: Vec<_> = numbered.map(|(binding, region)| api::BindGroupEntry { binding, resource: region.binding() }).collect();
            device.create_bind_group(&api::BindGroupDescriptor { label: Some(&dispatch.entry), layout, entries: &entries })
        };
        let tensors = self.gpu.scoped(0, || group(&pipeline.tensors, &bound))?;
        let parameters = match &pipeline.parameters {
            None => None,
            Some(layout) => {
                let mut words = dispatch.parameters.clone();
                // A uniform structure's size is a multiple of 16 bytes.
                words.resize(words.len().next_multiple_of(4), 0);
                let uniform = self.laid_down(&dispatch.entry, api::BufferUsages::UNIFORM, &words)?;
                Some(self.gpu.scoped(0, || group(layout, &[uniform]))?)
            }
        };
        Ok(Bound { pipeline, tensors, parameters, grid: self.grid(dispatch)? })
    }

    /// A buffer that holds these words from the beginning.
    fn laid_down(&self, label: &str, usage: api::BufferUsages, words: &[u32]) -> Result<Region> {
        let size = 4 * words.len() as u64;
        let usage = usage | api::BufferUsages::COPY_DST;
        let descriptor = api::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.gpu.scoped(size, || self.gpu.device().create_buffer(&descriptor))?;
        self.gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        Ok(Region::whole(buffer))
    }

    /// What is bound where there is nothing: a buffer of its own, since none may be bound both to be read and to be written.
    fn nothing(&self) -> Result<api::Buffer> {
        let usage = api::BufferUsages::STORAGE;
        let descriptor = api::BufferDescriptor { label: Some("nothing"), size: 16, usage, mapped_at_creation: false };
        self.gpu.scoped(16, || self.gpu.device().create_buffer(&descriptor))
    }

    /// The grid, wrapped into the second axis where the first is too long for the device.
    fn grid(&self, dispatch: &Dispatch) -> Result<[u32; 3]> {
        let most = self.gpu.widest_grid() as usize;
        dispatch
            .wrapped(self.gpu.abilities().across, most)
            .ok_or_else(|| self.gpu.error(format!("{}: a grid of {:?} workgroups, at most {most} along an axis", dispatch.entry, dispatch.grid)))
    }

    /// Submits these nodes, in their order.
    pub fn run(&self, nodes: Range<usize>) -> Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&api::CommandEncoderDescriptor { label: Some("replay") });
        let mut pass = encoder.begin_compute_pass(&api::ComputePassDescriptor::default());
        nodes.for_each(|node| self.launch(&mut pass, node));
        drop(pass);
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.check()
    }

    /// True where the GPU has a clock of its own that can be asked.
    pub fn has_clock(&self) -> bool {
        self.gpu.device().features().contains(api::Features::TIMESTAMP_QUERY)
    }

    /// Submits these nodes, and asks the GPU's own clock before and after each; a few at a time, since it answers so many questions at once.
    pub fn run_timed(&self, nodes: Range<usize>) -> Result<Vec<(Range<usize>, Ticks)>> {
        const MOST: usize = api::QUERY_SET_MAX_QUERIES as usize / 2;
        let pieces = nodes.clone().step_by(MOST).map(|start| start..nodes.end.min(start + MOST));
        pieces.map(|piece| Ok((piece.clone(), self.run_between_timestamps(piece)?))).collect()
    }

    /// A pass for each node, with the time before it and after it.
    fn run_between_timestamps(&self, nodes: Range<usize>) -> Result<Ticks> {
        let device = self.gpu.device();
        let count = 2 * nodes.len() as u32;
        let bytes = u64::from(count) * 8;
        let (set, resolved) = self.gpu.scoped(bytes, || {
            let set = device.create_query_set(&api::QuerySetDescriptor { label: Some("times"), ty: api::QueryType::Timestamp, count });
            let usage = api::BufferUsages::QUERY_RESOLVE | api::BufferUsages::COPY_SRC;
            (set, device.create_buffer(&api::BufferDescriptor { label: Some("times"), size: bytes, usage, mapped_at_creation: false }))
        })?;
        let mut encoder = device.create_command_encoder(&api::CommandEncoderDescriptor { label: Some("timed replay") });
        for (n, node) in (0..).zip(nodes) {
            let writes = api::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(2 * n),
                end_of_pass_write_index: Some(2 * n + 1),
            };
            let mut pass = encoder.begin_compute_pass(&api::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) });
            self.launch(&mut pass, node);
        }
        encoder.resolve_query_set(&set, 0..count, &resolved, 0);
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.check()?;
        Ok(Ticks { gpu: self.gpu.clone(), resolved, bytes })
    }

    /// What each node launches.
    pub fn kernels(&self) -> Vec<Vec<Kernel>> {
        let of_node = |range: &Range<usize>| self.launches[range.clone()].iter().map(|bound| bound.pipeline.kernel.clone()).collect();
        self.nodes.iter().map(of_node).collect()
    }

    fn launch(&self, pass: &mut api::ComputePass, node: usize) {
        for Bound { pipeline, tensors, parameters, grid: [x, y, z] } in &self.launches[self.nodes[node].clone()] {
            pass.set_pipeline(&pipeline.raw);
            pass.set_bind_group(0, tensors, &[]);
            if let Some(parameters) = parameters {
                pass.set_bind_group(1, parameters, &[]);
            }
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }
}
