//! A list of buffers on whichever device.

use super::cpu::Memory;
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "wgpu")]
use super::wgpu;
use super::{Device, Kind};
use crate::error::Result;
use crate::tensor::{Tensor, TensorType};

/// What a buffer has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Floating point (else i32).
    pub float: bool,
    /// Elements.
    pub len: usize,
    /// Bytes, in the storage types of what lies in it.
    pub bytes: usize,
}

impl Room {
    /// For one tensor.
    pub fn of(ty: &TensorType) -> Self {
        Room { float: ty.dtype.is_float(), len: ty.len(), bytes: ty.bytes() }
    }

    /// For what nodes that run one after another leave for themselves; of each the words of its buffers, which are shared by number.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub fn shared<'a>(nodes: impl Iterator<Item = &'a [usize]>) -> Vec<Self> {
        let mut most = Vec::new();
        for (n, &words) in nodes.flat_map(|buffers| buffers.iter().enumerate()) {
            match most.get_mut(n) {
                Some(most) => *most = words.max(*most),
                None => most.push(words),
            }
        }
        most.into_iter().map(|words| Room::of(&TensorType::f32([words]))).collect()
    }

    /// None yet, for elements like these.
    pub fn later(self) -> Self {
        Room { len: 0, bytes: 0, ..self }
    }
}

/// Buffers of one device, addressed by index.
#[derive(Debug)]
pub(crate) enum DeviceMemory {
    Cpu(Memory<f32>),
    Reference(Memory<f64>),
    #[cfg(feature = "cuda")]
    Cuda(cuda::Memory),
    #[cfg(feature = "wgpu")]
    Wgpu(wgpu::Memory),
}

/// Calls the same method on whichever memory it is.
macro_rules! each {
    ($self:expr, $memory:ident => $call:expr) => {
        match $self {
            DeviceMemory::Cpu($memory) => $call,
            DeviceMemory::Reference($memory) => $call,
            #[cfg(feature = "cuda")]
            DeviceMemory::Cuda($memory) => $call,
            #[cfg(feature = "wgpu")]
            DeviceMemory::Wgpu($memory) => $call,
        }
    };
}

impl DeviceMemory {
    pub fn new(device: &Device) -> Self {
        match &device.kind {
            Kind::Cpu(_) => DeviceMemory::Cpu(Memory::new()),
            Kind::Reference(_) => DeviceMemory::Reference(Memory::new()),
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => DeviceMemory::Cuda(cuda::Memory::new(gpu)),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => DeviceMemory::Wgpu(wgpu::Memory::new(gpu)),
        }
    }

    /// Adds a zeroed buffer; returns its index.
    pub fn push(&mut self, room: Room, guarded: bool) -> Result<usize> {
        each!(self, m => m.push(room, guarded))
    }

    /// Adds a session's zeroed buffers, and behind them what its nodes share for their scratch, where the device asks for that. With `apart` each has an
    /// allocation of its own, as on other devices they always have.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn extend(&mut self, rooms: &[Room], scratch: &[Room], guarded: bool, apart: bool) -> Result<()> {
        match self {
            #[cfg(feature = "cuda")]
            DeviceMemory::Cuda(m) => m.extend_with_scratch(rooms, scratch, guarded, apart),
            _ => rooms.iter().chain(scratch).try_for_each(|&room| self.push(room, guarded).map(drop)),
        }
    }

    /// Gives a released buffer its memory back.
    pub fn revive(&mut self, index: usize, ty: &TensorType) -> Result<()> {
        each!(self, m => m.revive(index, ty))
    }

    /// Waits until the device has done all that was queued; the CPU queues nothing.
    pub fn wait(&self) -> Result<()> {
        match self {
            DeviceMemory::Cpu(_) | DeviceMemory::Reference(_) => Ok(()),
            #[cfg(feature = "cuda")]
            DeviceMemory::Cuda(memory) => memory.wait(),
            #[cfg(feature = "wgpu")]
            DeviceMemory::Wgpu(memory) => memory.wait(),
        }
    }

    pub fn release(&mut self, index: usize) {
        each!(self, m => m.release(index));
    }

    /// Moves buffers side by side where the device gains from it; those without memory may get it. True where what was recorded on one is stale now.
    pub fn together(&mut self, members: &[(usize, TensorType)]) -> Result<bool> {
        each!(self, m => m.together(members))
    }

    /// Moves a buffer away from `other`, where the device keeps them side by side; true where it was.
    pub fn apart(&mut self, index: usize, other: usize) -> Result<bool> {
        each!(self, m => m.apart(index, other))
    }

    pub fn write(&mut self, index: usize, ty: &TensorType, tensor: &Tensor) -> Result<()> {
        each!(self, m => m.write(index, ty, tensor))
    }

    pub fn write_f64(&mut self, index: usize, ty: &TensorType, from: &[f64]) -> Result<()> {
        each!(self, m => m.write_f64(index, ty, from))
    }

    pub async fn read(&self, index: usize, ty: &TensorType) -> Result<Tensor> {
        match self {
            DeviceMemory::Cpu(m) => m.read(index, ty),
            DeviceMemory::Reference(m) => m.read(index, ty),
            #[cfg(feature = "cuda")]
            DeviceMemory::Cuda(m) => m.read(index, ty),
            #[cfg(feature = "wgpu")]
            DeviceMemory::Wgpu(m) => m.read(index, ty).await,
        }
    }

    pub async fn read_f64(&self, index: usize, ty: &TensorType) -> Result<Vec<f64>> {
        match self {
            DeviceMemory::Cpu(m) => m.read_f64(index, ty),
            DeviceMemory::Reference(m) => m.read_f64(index, ty),
            #[cfg(feature = "cuda")]
            DeviceMemory::Cuda(m) => m.read_f64(index, ty),
            #[cfg(feature = "wgpu")]
            DeviceMemory::Wgpu(m) => m.read_f64(index, ty).await,
        }
    }
}

#[cfg(all(test, any(feature = "cuda", feature = "wgpu")))]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_scratch_memory_by_number() {
        let words = |nodes: &[&[usize]]| Room::shared(nodes.iter().copied()).iter().map(|room| room.bytes / 4).collect::<Vec<_>>();
        assert_eq!(words(&[&[3], &[], &[1, 7, 0], &[5, 2]]), [5, 7, 0]);
        assert_eq!(words(&[]), [0usize; 0]);
    }
}
