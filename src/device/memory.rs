//! A list of buffers on whichever device.

use super::cpu::Memory;
#[cfg(feature = "wgpu")]
use super::wgpu;
use super::{Device, Kind};
use crate::error::Result;
use crate::tensor::{Tensor, TensorType};

/// Buffers of one device, addressed by index.
#[derive(Debug)]
pub(crate) enum DeviceMemory {
    Cpu(Memory<f32>),
    Reference(Memory<f64>),
    #[cfg(feature = "wgpu")]
    Wgpu(wgpu::Memory),
}

/// Calls the same method on whichever memory it is.
macro_rules! each {
    ($self:expr, $memory:ident => $call:expr) => {
        match $self {
            DeviceMemory::Cpu($memory) => $call,
            DeviceMemory::Reference($memory) => $call,
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
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => DeviceMemory::Wgpu(wgpu::Memory::new(gpu)),
        }
    }

    /// Adds a buffer for this type; `len` may exceed the type's own.
    pub fn push(&mut self, float: bool, len: usize, guarded: bool) -> Result<usize> {
        each!(self, m => m.push(float, len, guarded))
    }

    /// Gives a released buffer its memory back.
    pub fn revive(&mut self, index: usize, ty: &TensorType) -> Result<()> {
        each!(self, m => m.revive(index, ty))
    }

    pub fn release(&mut self, index: usize) {
        each!(self, m => m.release(index));
    }

    pub fn write(&mut self, index: usize, ty: &TensorType, tensor: &Tensor) -> Result<()> {
        each!(self, m => m.write(index, ty, tensor))
    }

    pub fn write_f64(&mut self, index: usize, from: &[f64]) -> Result<()> {
        each!(self, m => m.write_f64(index, from))
    }

    pub async fn read(&self, index: usize, ty: &TensorType) -> Result<Tensor> {
        match self {
            DeviceMemory::Cpu(m) => m.read(index, ty),
            DeviceMemory::Reference(m) => m.read(index, ty),
            #[cfg(feature = "wgpu")]
            DeviceMemory::Wgpu(m) => m.read(index, ty).await,
        }
    }

    pub async fn read_f64(&self, index: usize, ty: &TensorType) -> Result<Vec<f64>> {
        match self {
            DeviceMemory::Cpu(m) => m.read_f64(index, ty),
            DeviceMemory::Reference(m) => m.read_f64(index, ty),
            #[cfg(feature = "wgpu")]
            DeviceMemory::Wgpu(m) => m.read_f64(index, ty).await,
        }
    }
}
