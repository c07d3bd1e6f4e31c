//! Buffers that share an allocation, so that one launch can go through all of them.
//!
//! One dispatch may either read an allocation or write it, and what it writes in one binding must not lie in another: so only what every kernel
//! treats alike lies together.

use super::api;
use super::memory::{Memory, Region};
use crate::device::Room;
use crate::error::Result;
use crate::tensor::TensorType;

/// Bytes of a shared allocation, where kernels may bind as many: what every WebGPU device can.
const MOST: u64 = 128 << 20;

impl Memory {
    /// Moves buffers into as few allocations as hold them. Those that share one already stay; those without memory get it, zeroed. True where a
    /// buffer that had memory lies elsewhere now: what was recorded on it wants to be recorded anew.
    pub fn together(&mut self, members: &[(usize, TensorType)]) -> Result<bool> {
        let most = MOST.min(self.abilities().binding);
        let (mut moved, mut group, mut end) = (false, Vec::new(), 0);
        for (index, ty) in members.iter().filter(|(_, ty)| ty.bytes() > 0) {
            if self.shares(*index) {
                continue;
            }
            self.buffers[*index].words = Room::of(ty).bytes.div_ceil(4);
            let bytes = self.bytes(*index);
            if self.aligned(end) + bytes > most {
                moved |= self.settle(&std::mem::take(&mut group))?;
                end = 0;
            }
            end = self.aligned(end) + bytes;
            group.push(*index);
        }
        Ok(self.settle(&group)? || moved)
    }

    /// Moves a buffer into an allocation of its own, where it shares that of `other`; true where it did.
    pub fn apart(&mut self, index: usize, other: usize) -> Result<bool> {
        let share = matches!((self.raw(index), self.raw(other)), (Ok(one), Ok(other)) if one.buffer == other.buffer);
        if share { self.move_into_one(&[index]) } else { Ok(false) }
    }

    /// True where it does not have its allocation for itself.
    fn shares(&self, index: usize) -> bool {
        self.raw(index).is_ok_and(|piece| piece.bytes < piece.buffer.size())
    }

    fn aligned(&self, at: u64) -> u64 {
        at.next_multiple_of(self.gpu.device().limits().min_storage_buffer_offset_alignment.into())
    }

    /// One that has memory gains nothing by moving alone.
    fn settle(&mut self, group: &[usize]) -> Result<bool> {
        match group {
            [] => Ok(false),
            [only] if self.raw(*only).is_ok() => Ok(false),
            _ => self.move_into_one(group),
        }
    }

    /// True where one of them had memory before.
    fn move_into_one(&mut self, group: &[usize]) -> Result<bool> {
        let mut end = 0;
        let mut places = Vec::with_capacity(group.len());
        for &index in group {
            let (at, bytes) = (self.aligned(end), self.bytes(index));
            end = at + bytes;
            places.push((index, at, bytes));
        }
        let buffer = self.allocate(end)?;
        let mut encoder = self.gpu.device().create_command_encoder(&api::CommandEncoderDescriptor { label: Some("move") });
        let mut moved = false;
        for (index, at, bytes) in places {
            // With the band behind it, whole or not.
            if let Some(old) = self.buffers[index].raw.replace(Region { buffer: buffer.clone(), at, bytes }) {
                encoder.copy_buffer_to_buffer(&old.buffer, old.at, &buffer, at, bytes);
                moved = true;
            } else {
                self.guard(index);
            }
        }
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.check().map(|()| moved)
    }
}
