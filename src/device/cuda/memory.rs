//! Buffers in a GPU's memory.

use super::Gpu;
use super::allocation::{Part, allocate_all};
use crate::device::Room;
use crate::error::{Error, Result};
use crate::tensor::{DType, Data, Tensor, TensorType};
use half::{bf16, f16};

/// Words behind each buffer of a checked session that nobody may write. As numbers, of 32 bits or 16, they are so small that a sum written there shows.
const GUARD: usize = 64;
const GUARD_WORD: u32 = 0x1ab1_1ab1;
/// NaN, in 32 bits and in 16.
pub(super) const POISON_FLOAT: u32 = 0x7fc0_7fc0;
const POISON_INT: u32 = 0x8000_8000;

/// A list of buffers, addressed by index, each of whole words of four bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) gpu: Gpu,
    buffers: Vec<Buffer>,
    /// The first of those that are scratch memory.
    scratch_from: usize,
}

#[derive(Debug)]
struct Buffer {
    raw: Option<Part>,
    float: bool,
    words: usize,
    guarded: bool,
}

impl Memory {
    pub fn new(gpu: &Gpu) -> Self {
        Memory { gpu: gpu.clone(), buffers: Vec::new(), scratch_from: 0 }
    }

    /// Adds a zeroed buffer, with a guard band behind it if asked; returns its index.
    pub fn push(&mut self, room: Room, guarded: bool) -> Result<usize> {
        self.extend(&[room], guarded, true)?;
        Ok(self.buffers.len() - 1)
    }

    /// Adds zeroed buffers, and behind them what nodes leave for themselves between their launches: they run one after another and share it. All of it is one
    /// allocation, but where they are to lie `apart`: what shall be seen to go beyond its end must not find a neighbour there.
    pub fn extend_with_scratch(&mut self, rooms: &[Room], scratch: &[Room], guarded: bool, apart: bool) -> Result<()> {
        self.scratch_from = self.buffers.len() + rooms.len();
        self.extend(&[rooms, scratch].concat(), guarded, apart)
    }

    fn extend(&mut self, rooms: &[Room], guarded: bool, apart: bool) -> Result<()> {
        let words: Vec<usize> = rooms.iter().map(|room| room.bytes.div_ceil(4)).collect();
        let raws = self.allocate(&words, guarded, apart)?;
        let buffers = rooms.iter().zip(words).zip(raws).map(|((room, words), raw)| Buffer { raw, float: room.float, words, guarded });
        self.buffers.extend(buffers);
        Ok(())
    }

    fn allocate(&self, words: &[usize], guarded: bool, apart: bool) -> Result<Vec<Option<Part>>> {
        let band = if guarded { GUARD } else { 0 };
        let lengths: Vec<usize> = words.iter().map(|&words| if words == 0 { 0 } else { 4 * (words + band) }).collect();
        let made = allocate_all(self.gpu.context(), &lengths, apart)?;
        for (part, &words) in made.iter().zip(words) {
            let Some(part) = part else { continue };
            part.fill(0, 0, words)?;
            part.fill(4 * words, GUARD_WORD, band)?;
        }
        Ok(made)
    }

    /// Waits until all work is done.
    pub fn wait(&self) -> Result<()> {
        self.gpu.context().wait()
    }

    pub fn release(&mut self, index: usize) {
        self.buffers[index].raw = None;
    }

    /// Gives a released buffer zeroed memory for this type again. One that has not been used since it got its memory keeps it.
    pub fn revive(&mut self, index: usize, ty: &TensorType) -> Result<()> {
        if self.buffers[index].raw.is_none() && ty.bytes() > 0 {
            let words = ty.bytes().div_ceil(4);
            self.buffers[index].raw = self.allocate(&[words], self.buffers[index].guarded, true)?.pop().flatten();
            self.buffers[index].words = words;
        }
        Ok(())
    }

    /// Gives memory to those that have none. They need not lie side by side: a kernel goes through any number of tensors by a table of pointers.
    pub fn together(&mut self, members: &[(usize, TensorType)]) -> Result<bool> {
        members.iter().try_for_each(|(index, ty)| self.revive(*index, ty))?;
        Ok(false)
    }

    /// Nothing is gained from it here.
    pub fn apart(&mut self, _index: usize, _other: usize) -> Result<bool> {
        Ok(false)
    }

    /// Where a buffer lies; nowhere if it has no elements.
    pub fn raw(&self, index: usize) -> Option<&Part> {
        self.buffers.get(index)?.raw.as_ref()
    }

    /// The same of a scratch buffer, which has so many words.
    pub(super) fn scratch(&self, number: usize, words: usize) -> Result<Option<&Part>> {
        let found = self.buffers.get(self.scratch_from + number).filter(|buffer| words <= buffer.words);
        found.map(|buffer| buffer.raw.as_ref()).ok_or_else(|| Error::graph("scratch", format!("{words} words, planned with the slots"), "less"))
    }

    /// Fills the first bytes, up to a whole word, with what no correct result can hold: NaN, or a very small integer.
    pub fn poison(&self, index: usize, bytes: usize) -> Result<()> {
        let Buffer { raw, float, .. } = &self.buffers[index];
        let word = if *float { POISON_FLOAT } else { POISON_INT };
        raw.as_ref().filter(|_| bytes > 0).map_or(Ok(()), |raw| raw.fill(0, word, bytes.div_ceil(4)))
    }

    /// Fills all scratch memory with what no correct result can hold.
    pub fn poison_scratch(&self) -> Result<()> {
        (self.scratch_from..self.buffers.len()).try_for_each(|i| self.poison(i, 4 * self.buffers[i].words))
    }

    /// True where every guard band of scratch memory is whole.
    pub fn scratch_guards_are_whole(&self) -> Result<bool> {
        (self.scratch_from..self.buffers.len()).try_fold(true, |whole, i| Ok(whole && self.guard_is_whole(i)?))
    }

    /// True where the guard band behind a guarded buffer is whole.
    pub fn guard_is_whole(&self, index: usize) -> Result<bool> {
        let Buffer { words, guarded: true, raw: Some(raw), .. } = &self.buffers[index] else { return Ok(true) };
        let mut band = [0u32; GUARD];
        raw.read(4 * words, bytemuck::cast_slice_mut(&mut band))?;
        Ok(band.iter().all(|&word| word == GUARD_WORD))
    }

    fn put<T: bytemuck::NoUninit>(&self, index: usize, from: &[T]) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        let raw = self.raw(index).ok_or_else(|| Error::graph("binding", "a buffer", "none"))?;
        self.gpu.write(raw, bytemuck::cast_slice(from))
    }

    /// Copies a host tensor into a buffer. The caller has compared the shapes.
    pub fn write(&mut self, index: usize, ty: &TensorType, tensor: &Tensor) -> Result<()> {
        match (self.buffers[index].float, tensor.data()) {
            (true, Data::I32(_)) | (false, Data::F32(_) | Data::F16(_) | Data::BF16(_)) => Err(Error::graph("write", ty, tensor.ty())),
            (false, Data::I32(from)) => self.put(index, from),
            (true, Data::F32(from)) if ty.dtype == DType::F32 => self.put(index, from),
            (true, _) => self.put_floats(index, ty, tensor.to_f32().into_iter()),
        }
    }

    /// Copies f64 numbers into a floating-point buffer, rounded to what the type can hold.
    pub fn write_f64(&mut self, index: usize, ty: &TensorType, from: &[f64]) -> Result<()> {
        self.put_floats(index, ty, from.iter().map(|&x| x as f32))
    }

    fn put_floats(&self, index: usize, ty: &TensorType, from: impl Iterator<Item = f32>) -> Result<()> {
        match ty.dtype {
            DType::F16 => self.put(index, &from.map(|x| f16::from_f32(x).to_bits()).collect::<Vec<_>>()),
            DType::BF16 => self.put(index, &from.map(|x| bf16::from_f32(x).to_bits()).collect::<Vec<_>>()),
            _ => self.put(index, &from.collect::<Vec<_>>()),
        }
    }

    fn get<T: bytemuck::Pod>(&self, index: usize, len: usize) -> Result<Vec<T>> {
        let mut to = vec![T::zeroed(); len];
        if len > 0 {
            let raw = self.raw(index).ok_or_else(|| Error::graph("binding", "a buffer", "none"))?;
            self.gpu.read(raw, bytemuck::cast_slice_mut(&mut to))?;
        }
        Ok(to)
    }

    /// Copies a buffer out as a host tensor: f32 for any floating-point type.
    pub fn read(&self, index: usize, ty: &TensorType) -> Result<Tensor> {
        let len = ty.len();
        match ty.dtype {
            DType::I32 => Tensor::from_i32(ty.shape, self.get(index, len)?),
            DType::F16 => Tensor::from_f32(ty.shape, self.get(index, len)?.into_iter().map(|x| f16::from_bits(x).to_f32()).collect()),
            DType::BF16 => Tensor::from_f32(ty.shape, self.get(index, len)?.into_iter().map(|x| bf16::from_bits(x).to_f32()).collect()),
            _ => Tensor::from_f32(ty.shape, self.get(index, len)?),
        }
    }

    /// Copies a buffer out as f64.
    pub fn read_f64(&self, index: usize, ty: &TensorType) -> Result<Vec<f64>> {
        let tensor = self.read(index, ty)?;
        Ok(match tensor.as_i32() {
            Some(ints) => ints.iter().map(|&x| x.into()).collect(),
            None => tensor.to_f32().into_iter().map(f64::from).collect(),
        })
    }
}
