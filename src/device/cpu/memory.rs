//! Buffers of the CPU device and of the f64 reference.

use super::Real;
use crate::device::Room;
use crate::error::{Error, Result};
use crate::tensor::{Data, Tensor, TensorType};
use bytemuck::allocation::try_zeroed_vec;

/// One buffer. Floating-point tensors of any storage type are held as `T` (rounded to what their type can hold), integers as i32.
#[derive(Debug)]
pub enum Buffer<T> {
    /// Floating point.
    Float(Vec<T>),
    /// Integers.
    Int(Vec<i32>),
}

/// A list of buffers, addressed by index.
#[derive(Debug, Default)]
pub struct Memory<T> {
    pub(super) buffers: Vec<Buffer<T>>,
    /// Which of them have guard bands.
    guarded: Vec<bool>,
}

/// Gives memory that was freed back to the system, where the allocator would keep it for later: after loading, there is much of it.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's `malloc_trim` may be called at any time from any thread; it touches free memory only.
        unsafe { malloc_trim(0) };
    }
}

/// Elements behind each buffer of a checked session that nobody may write. As numbers they are so small that a sum written there shows.
pub const GUARD: usize = 64;
const GUARD_INT: i32 = 0x5ca1_ab1e;
const GUARD_FLOAT: f64 = -1.234_567_890e-20;

impl<T: Real> Memory<T> {
    /// No buffers yet.
    pub fn new() -> Self {
        Memory { buffers: Vec::new(), guarded: Vec::new() }
    }

    /// How many buffers there are.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Adds a zeroed buffer, with a guard band behind it if asked; returns its index. A floating-point element takes what `T` does.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the allocator refuses.
    pub fn push(&mut self, Room { float, len, .. }: Room, guarded: bool) -> Result<usize> {
        let guard = if guarded { GUARD } else { 0 };
        let oom = |size: usize| Error::OutOfMemory { device: "cpu".to_owned(), bytes: (len as u64).saturating_mul(size as u64) };
        // Zeroed by the system, so that pages are not touched before they are used.
        let buffer = if float {
            let mut v = try_zeroed_vec::<T>(len + guard).map_err(|()| oom(size_of::<T>()))?;
            v[len..].fill(T::of(GUARD_FLOAT));
            Buffer::Float(v)
        } else {
            let mut v = try_zeroed_vec::<i32>(len + guard).map_err(|()| oom(4))?;
            v[len..].fill(GUARD_INT);
            Buffer::Int(v)
        };
        self.buffers.push(buffer);
        self.guarded.push(guarded);
        Ok(self.buffers.len() - 1)
    }

    /// Fills the first `len` elements with what no correct result can hold: NaN, or the smallest integer.
    pub fn poison(&mut self, index: usize, len: usize) {
        match &mut self.buffers[index] {
            Buffer::Float(v) => v[..len].fill(T::NAN),
            Buffer::Int(v) => v[..len].fill(i32::MIN),
        }
    }

    /// True where the guard band behind a guarded buffer is whole.
    pub fn guard_is_whole(&self, index: usize) -> bool {
        let band = |len: usize| len.saturating_sub(if self.guarded[index] { GUARD } else { 0 })..;
        match &self.buffers[index] {
            Buffer::Float(v) => v[band(v.len())].iter().all(|&x| x == T::of(GUARD_FLOAT)),
            Buffer::Int(v) => v[band(v.len())].iter().all(|&x| x == GUARD_INT),
        }
    }

    /// Rounds the first elements of a buffer to what the type can hold.
    pub fn round(&mut self, index: usize, ty: &TensorType) {
        if let Buffer::Float(v) = &mut self.buffers[index] {
            v[..ty.len()].iter_mut().for_each(|x| *x = x.rounded_to(ty.dtype));
        }
    }

    /// Frees a buffer's memory; its index stays taken.
    pub fn release(&mut self, index: usize) {
        match &mut self.buffers[index] {
            Buffer::Float(v) => *v = Vec::new(),
            Buffer::Int(v) => *v = Vec::new(),
        }
    }

    /// Gives a released buffer zeroed memory for this type again.
    ///
    /// # Errors
    /// As [`Memory::push`].
    pub fn revive(&mut self, index: usize, ty: &TensorType) -> Result<()> {
        let fresh = self.push(Room::of(ty), self.guarded[index])?;
        self.buffers.swap_remove(index);
        self.guarded.swap_remove(index);
        debug_assert_eq!(fresh, self.buffers.len());
        Ok(())
    }

    /// Every buffer keeps an allocation of its own: there are no launches to be saved.
    ///
    /// # Errors
    /// None.
    pub fn together(&mut self, _members: &[(usize, TensorType)]) -> Result<bool> {
        Ok(false)
    }

    /// So none has to move.
    ///
    /// # Errors
    /// None.
    pub fn apart(&mut self, _index: usize, _other: usize) -> Result<bool> {
        Ok(false)
    }

    /// The elements of a floating-point buffer.
    pub fn floats(&self, index: usize) -> Option<&[T]> {
        match &self.buffers[index] {
            Buffer::Float(v) => Some(v),
            Buffer::Int(_) => None,
        }
    }

    /// Copies a host tensor into a buffer. The caller has compared the shapes.
    pub fn write(&mut self, index: usize, ty: &TensorType, tensor: &Tensor) -> Result<()> {
        let n = ty.len();
        match (&mut self.buffers[index], tensor.data()) {
            (Buffer::Float(to), Data::F32(from)) => to[..n].iter_mut().zip(from).for_each(|(t, &f)| *t = T::of(f.into()).rounded_to(ty.dtype)),
            (Buffer::Float(to), Data::F16(from)) => to[..n].iter_mut().zip(from).for_each(|(t, &f)| *t = T::of(f.into()).rounded_to(ty.dtype)),
            (Buffer::Float(to), Data::BF16(from)) => to[..n].iter_mut().zip(from).for_each(|(t, &f)| *t = T::of(f.into()).rounded_to(ty.dtype)),
            (Buffer::Int(to), Data::I32(from)) => to[..n].copy_from_slice(from),
            _ => return Err(Error::graph("write", ty, tensor.ty())),
        }
        Ok(())
    }

    /// Copies f64 numbers into a floating-point buffer, rounded to what the type can hold.
    pub fn write_f64(&mut self, index: usize, ty: &TensorType, from: &[f64]) -> Result<()> {
        if let Buffer::Float(to) = &mut self.buffers[index] {
            to.iter_mut().zip(from).for_each(|(t, &f)| *t = T::of(f).rounded_to(ty.dtype));
        }
        Ok(())
    }

    /// Copies a buffer out as a host tensor: f32 for any floating-point type.
    pub fn read(&self, index: usize, ty: &TensorType) -> Result<Tensor> {
        let n = ty.len();
        match &self.buffers[index] {
            Buffer::Float(v) => Tensor::from_f32(ty.shape, v[..n].iter().map(|x| x.wide() as f32).collect()),
            Buffer::Int(v) => Tensor::from_i32(ty.shape, v[..n].to_vec()),
        }
    }

    /// Copies a buffer out as f64.
    pub fn read_f64(&self, index: usize, ty: &TensorType) -> Result<Vec<f64>> {
        Ok(match &self.buffers[index] {
            Buffer::Float(v) => v[..ty.len()].iter().map(|x| x.wide()).collect(),
            Buffer::Int(v) => v[..ty.len()].iter().map(|&x| x.into()).collect(),
        })
    }
}
