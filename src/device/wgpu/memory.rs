//! Buffers on a GPU.

use super::answer::question;
use super::{Abilities, Gpu, api};
use crate::device::Room;
use crate::device::now::now;
use crate::error::{Error, Result};
use crate::tensor::{DType, Data, Tensor, TensorType};
use half::f16;
use std::num::NonZero;

/// Words behind each buffer of a checked session that nobody may write. As numbers, of 32 bits or 16, they are so small that a sum written there shows.
const GUARD: usize = 64;
const GUARD_WORD: u32 = 0x1ab1_1ab1;
/// NaN, in 32 bits and in 16.
const POISON_FLOAT: u32 = 0x7fc0_7fc0;
const POISON_INT: u32 = 0x8000_0000;

/// A list of buffers, addressed by index, each of whole words of four bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) gpu: Gpu,
    pub(super) buffers: Vec<Buffer>,
}

#[derive(Debug)]
pub(super) struct Buffer {
    pub raw: Option<Region>,
    float: bool,
    pub words: usize,
    guarded: bool,
}

/// Where a buffer's words lie: some bytes of an allocation, from an offset at which it may be bound.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub buffer: api::Buffer,
    pub at: u64,
    pub bytes: u64,
}

impl Region {
    /// All of an allocation.
    pub fn whole(buffer: api::Buffer) -> Self {
        Region { at: 0, bytes: buffer.size(), buffer }
    }

    /// So many words of its allocation, counted from the allocation's start.
    pub fn window(self, from: usize, words: usize) -> Self {
        Region { at: 4 * from as u64, bytes: 4 * words as u64, ..self }
    }

    pub fn binding(&self) -> api::BindingResource<'_> {
        api::BindingResource::Buffer(api::BufferBinding { buffer: &self.buffer, offset: self.at, size: NonZero::new(self.bytes) })
    }
}

impl Memory {
    pub fn new(gpu: &Gpu) -> Self {
        Memory { gpu: gpu.clone(), buffers: Vec::new() }
    }

    /// Adds a zeroed buffer, with a guard band behind it if asked; returns its index.
    pub fn push(&mut self, Room { float, bytes, .. }: Room, guarded: bool) -> Result<usize> {
        let index = self.buffers.len();
        self.buffers.push(Buffer { raw: None, float, words: bytes.div_ceil(4), guarded });
        if bytes > 0 {
            // Nothing is left of what could not be had.
            let buffer = self.allocate(self.bytes(index)).inspect_err(|_| drop(self.buffers.pop()))?;
            self.buffers[index].raw = Some(Region::whole(buffer));
            self.guard(index);
        }
        Ok(index)
    }

    /// Bytes of a buffer with its guard band.
    pub(super) fn bytes(&self, index: usize) -> u64 {
        let Buffer { words, guarded, .. } = self.buffers[index];
        4 * (words + if guarded { GUARD } else { 0 }) as u64
    }

    /// Draws the band behind a guarded buffer.
    pub(super) fn guard(&self, index: usize) {
        if let Buffer { raw: Some(raw), words, guarded: true, .. } = &self.buffers[index] {
            self.gpu.queue().write_buffer(&raw.buffer, raw.at + 4 * *words as u64, bytemuck::cast_slice(&[GUARD_WORD; GUARD]));
        }
    }

    pub(super) fn allocate(&self, bytes: u64) -> Result<api::Buffer> {
        if bytes > self.gpu.device().limits().max_buffer_size {
            return Err(Error::OutOfMemory { device: format!("wgpu ({})", self.gpu.name()), bytes });
        }
        let usage = api::BufferUsages::STORAGE | api::BufferUsages::COPY_SRC | api::BufferUsages::COPY_DST;
        self.gpu
            .scoped(bytes, || self.gpu.device().create_buffer(&api::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false }))
    }

    /// What kernels of its GPU may use.
    pub fn abilities(&self) -> Abilities {
        self.gpu.abilities()
    }

    /// Waits until all work is done.
    pub fn wait(&self) -> Result<()> {
        self.gpu.wait()
    }

    pub fn release(&mut self, index: usize) {
        self.buffers[index].raw = None;
    }

    /// Gives a released buffer zeroed memory for this type again. One that has not been used since it got its memory keeps it.
    pub fn revive(&mut self, index: usize, ty: &TensorType) -> Result<()> {
        if self.buffers[index].raw.is_some() {
            return Ok(());
        }
        let fresh = self.push(Room::of(ty), self.buffers[index].guarded)?;
        self.buffers.swap_remove(index);
        debug_assert_eq!(fresh, self.buffers.len());
        Ok(())
    }

    /// The whole buffer, its guard band too: a kernel that writes too far shall be seen.
    pub(super) fn raw(&self, index: usize) -> Result<&Region> {
        self.buffers.get(index).and_then(|b| b.raw.as_ref()).ok_or_else(|| Error::graph("binding", "a buffer", "none"))
    }

    /// Fills the first bytes, up to a whole word, with what no correct result can hold: NaN, or the smallest integer.
    pub fn poison(&self, index: usize, bytes: usize) -> Result<()> {
        let word = if self.buffers[index].float { POISON_FLOAT } else { POISON_INT };
        self.put(index, &vec![word; bytes.div_ceil(4)])
    }

    /// Fills every buffer with what no correct result can hold.
    pub fn poison_all(&self) -> Result<()> {
        (0..self.buffers.len()).filter(|&i| self.buffers[i].raw.is_some()).try_for_each(|i| self.poison(i, 4 * self.buffers[i].words))
    }

    /// True where every guard band is whole.
    pub fn all_guards_are_whole(&self) -> Result<bool> {
        (0..self.buffers.len()).try_fold(true, |whole, i| Ok(whole && self.guard_is_whole(i)?))
    }

    /// True where the guard band behind a guarded buffer is whole.
    pub fn guard_is_whole(&self, index: usize) -> Result<bool> {
        let Buffer { words, guarded, ref raw, .. } = self.buffers[index];
        Ok(!guarded || raw.is_none() || now(self.words(index, words, GUARD))?.iter().all(|&word| word == GUARD_WORD))
    }

    fn put(&self, index: usize, words: &[u32]) -> Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        let raw = self.raw(index)?;
        self.gpu.queue().write_buffer(&raw.buffer, raw.at, bytemuck::cast_slice(words));
        self.gpu.check()
    }

    /// Copies a host tensor into a buffer. The caller has compared the shapes.
    pub fn write(&mut self, index: usize, ty: &TensorType, tensor: &Tensor) -> Result<()> {
        match (self.buffers[index].float, tensor.data()) {
            (true, Data::I32(_)) | (false, Data::F32(_) | Data::F16(_) | Data::BF16(_)) => Err(Error::graph("write", ty, tensor.ty())),
            (false, Data::I32(from)) => self.put(index, bytemuck::cast_slice(from)),
            (true, _) => self.put_floats(index, ty, tensor.to_f32().into_iter()),
        }
    }

    /// Copies f64 numbers into a floating-point buffer, rounded to what the type can hold.
    pub fn write_f64(&mut self, index: usize, ty: &TensorType, from: &[f64]) -> Result<()> {
        self.put_floats(index, ty, from.iter().map(|&x| x as f32))
    }

    fn put_floats(&self, index: usize, ty: &TensorType, from: impl Iterator<Item = f32>) -> Result<()> {
        if ty.dtype == DType::F16 {
            let halves: Vec<u16> = from.map(|x| f16::from_f32(x).to_bits()).collect();
            let word = |pair: &[u16]| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16;
            return self.put(index, &halves.chunks(2).map(word).collect::<Vec<_>>());
        }
        self.put(index, &from.map(f32::to_bits).collect::<Vec<_>>())
    }

    /// Copies a buffer out as a host tensor: f32 for any floating-point type.
    pub async fn read(&self, index: usize, ty: &TensorType) -> Result<Tensor> {
        let words = self.words(index, 0, ty.bytes().div_ceil(4)).await?;
        match ty.dtype {
            DType::I32 => Tensor::from_i32(ty.shape, bytemuck::cast_vec(words)),
            DType::F16 => {
                let pairs = words.into_iter().flat_map(|word| [word as u16, (word >> 16) as u16]);
                Tensor::from_f32(ty.shape, pairs.take(ty.len()).map(|half| f16::from_bits(half).to_f32()).collect())
            }
            _ => Tensor::from_f32(ty.shape, bytemuck::cast_vec(words)),
        }
    }

    /// Copies a buffer out as f64.
    pub async fn read_f64(&self, index: usize, ty: &TensorType) -> Result<Vec<f64>> {
        let tensor = self.read(index, ty).await?;
        Ok(match tensor.as_i32() {
            Some(ints) => ints.iter().map(|&x| x.into()).collect(),
            None => tensor.to_f32().into_iter().map(f64::from).collect(),
        })
    }

    /// `len` words from the `from`th on, once all work before is done.
    async fn words(&self, index: usize, from: usize, len: usize) -> Result<Vec<u32>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let raw = self.raw(index)?;
        let bytes = self.gpu.read(&raw.buffer, raw.at + 4 * from as u64, 4 * len as u64).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

impl Gpu {
    /// Bytes of a buffer, once all work before is done. Natively they are there when the future is first asked; a browser tells later.
    pub(super) async fn read(&self, source: &api::Buffer, at: u64, bytes: u64) -> Result<Vec<u8>> {
        let usage = api::BufferUsages::MAP_READ | api::BufferUsages::COPY_DST;
        let descriptor = api::BufferDescriptor { label: Some("read"), size: bytes, usage, mapped_at_creation: false };
        let staging = self.scoped(bytes, || self.device().create_buffer(&descriptor))?;
        let mut encoder = self.device().create_command_encoder(&api::CommandEncoderDescriptor { label: Some("read") });
        encoder.copy_buffer_to_buffer(source, at, &staging, 0, bytes);
        self.queue().submit([encoder.finish()]);
        let (mapped, outcome) = question();
        staging.map_async(api::MapMode::Read, .., move |how| mapped.tell(how));
        if !cfg!(target_arch = "wasm32") {
            self.wait()?;
        }
        let outcome = outcome.await;
        // A reason that is known says more than that the buffer could not be mapped.
        self.check()?;
        match outcome {
            Some(Ok(())) => {}
            Some(Err(e)) => return Err(self.error(e)),
            None => return Err(self.error("a buffer was neither mapped nor refused")),
        }
        let view = staging.get_mapped_range(..).map_err(|e| self.error(e))?;
        Ok(view.to_vec())
    }
}
