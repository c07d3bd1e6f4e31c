//! What an operator's code receives: its inputs, outputs, state and scratch as slices.

use super::Real;
use super::memory::{Buffer, Memory};
use crate::device::binding::{Access, Binding, Home, Place};
use crate::error::{Error, Result};
use crate::tensor::TensorType;

impl Binding {
    /// The slices at these places.
    ///
    /// # Errors
    /// [`Error::Graph`] where a place names a buffer that is not there, or is too small.
    pub fn args<'a, T: Real>(&'a self, slots: &'a mut Memory<T>, states: &'a mut Memory<T>) -> Result<Args<'a, T>> {
        let slots = RawMemory::of(slots);
        let states = RawMemory::of(states);
        let at = |p: &Place| if p.home == Home::Slot { slots.buffer(p) } else { states.buffer(p) };
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for ((place, access), packed) in self.inputs.iter().zip(&self.packed) {
            inputs.push(match access {
                Access::Moved => In::Gone,
                Access::Read if packed.is_some() => In::Gone,
                // SAFETY: the constructor checked that no place that is written is in this buffer, and both memories are borrowed
                // mutably for 'a, so nobody else reaches it; the extent is checked by `buffer`. Many inputs may read one buffer.
                Access::Read => unsafe { at(place)?.shared() },
                // SAFETY: as above, and what is written shares its buffer with no other place.
                Access::Update => In::State(unsafe { at(place)?.unique() }),
            });
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for place in &self.outputs {
            outputs.push(match place {
                // SAFETY: as above; each output is the only place in its buffer that is handed out.
                Some(p) => Some(unsafe { at(p)?.unique() }),
                None => None,
            });
        }
        let workspace = match &self.workspace {
            // SAFETY: as above.
            Some(p) => Some(unsafe { at(p)?.unique() }),
            None => None,
        };
        Ok(Args { binding: self, inputs, outputs, workspace })
    }
}

/// The buffers of a memory as pointers, so that several can be handed out at once.
struct RawMemory<T> {
    buffers: *mut Buffer<T>,
    len: usize,
}

/// The start and length of one tensor.
enum RawSlice<T> {
    Float(*mut T, usize),
    Int(*mut i32, usize),
}

impl<T: Real> RawMemory<T> {
    fn of(memory: &mut Memory<T>) -> Self {
        RawMemory { buffers: memory.buffers.as_mut_ptr(), len: memory.buffers.len() }
    }

    fn buffer(&self, place: &Place) -> Result<RawSlice<T>> {
        let missing = |got: usize| Error::graph("binding", format!("a buffer of {} elements", place.ty.len()), got);
        if place.index >= self.len {
            return Err(missing(0));
        }
        let n = place.ty.len();
        // SAFETY: the index was checked. The reference to the `Vec` lives only in this function; the elements it points to are
        // reached through its own pointer.
        let (raw, len) = match unsafe { &mut *self.buffers.add(place.index) } {
            Buffer::Float(v) => (RawSlice::Float(v.as_mut_ptr(), n), v.len()),
            Buffer::Int(v) => (RawSlice::Int(v.as_mut_ptr(), n), v.len()),
        };
        if n > len {
            return Err(missing(len));
        }
        Ok(raw)
    }
}

impl<T> RawSlice<T> {
    /// # Safety
    /// Nothing may write these elements during 'a.
    unsafe fn shared<'a>(self) -> In<'a, T> {
        match self {
            // SAFETY: the pointer and length come from a live `Vec`; the caller vouches for the rest.
            RawSlice::Float(p, n) => In::Float(unsafe { std::slice::from_raw_parts(p, n) }),
            // SAFETY: as above.
            RawSlice::Int(p, n) => In::Int(unsafe { std::slice::from_raw_parts(p, n) }),
        }
    }

    /// # Safety
    /// Nothing else may reach these elements during 'a.
    unsafe fn unique<'a>(self) -> Out<'a, T> {
        match self {
            // SAFETY: as above.
            RawSlice::Float(p, n) => Out::Float(unsafe { std::slice::from_raw_parts_mut(p, n) }),
            // SAFETY: as above.
            RawSlice::Int(p, n) => Out::Int(unsafe { std::slice::from_raw_parts_mut(p, n) }),
        }
    }
}

enum In<'a, T> {
    Float(&'a [T]),
    Int(&'a [i32]),
    State(Out<'a, T>),
    Gone,
}

enum Out<'a, T> {
    Float(&'a mut [T]),
    Int(&'a mut [i32]),
}

/// The tensors of one execution. What is written is taken out of here, once, as a mutable slice.
pub struct Args<'a, T> {
    binding: &'a Binding,
    inputs: Vec<In<'a, T>>,
    outputs: Vec<Option<Out<'a, T>>>,
    workspace: Option<Out<'a, T>>,
}

fn absent(what: &str, index: usize) -> Error {
    Error::graph(format!("{what} {index}"), "a tensor of the declared kind, not taken before", "none")
}

impl<'a, T: Real> Args<'a, T> {
    /// How many inputs there are.
    pub fn count(&self) -> usize {
        self.inputs.len()
    }

    /// The type of an input.
    pub fn ty(&self, input: usize) -> &'a TensorType {
        &self.binding.inputs[input].0.ty
    }

    /// The extents of an input.
    pub fn shape(&self, input: usize) -> &'a [usize] {
        &self.ty(input).shape
    }

    /// The elements of a floating-point input.
    ///
    /// # Errors
    /// [`Error::Graph`] where the input holds integers, is updated, or was taken over by an output.
    pub fn floats(&self, input: usize) -> Result<&'a [T]> {
        match self.inputs.get(input) {
            Some(In::Float(v)) => Ok(v),
            _ => Err(absent("input", input)),
        }
    }

    /// The elements of an i32 input.
    ///
    /// # Errors
    /// As [`Args::floats`].
    pub fn ints(&self, input: usize) -> Result<&'a [i32]> {
        match self.inputs.get(input) {
            Some(In::Int(v)) => Ok(v),
            _ => Err(absent("input", input)),
        }
    }

    /// A constant input's rearranged copy, where [`crate::op::Op::pack`] made one. The input itself is then out of reach.
    pub fn packed<P: 'static>(&self, input: usize) -> Option<&'a P> {
        self.binding.packed.get(input)?.as_ref()?.downcast_ref()
    }

    /// Takes a floating-point output.
    ///
    /// # Errors
    /// [`Error::Graph`] where it holds integers, is not wanted, or was taken before.
    pub fn out(&mut self, output: usize) -> Result<&'a mut [T]> {
        self.optional_out(output).ok_or_else(|| absent("output", output))
    }

    /// Takes a floating-point output that may not be wanted.
    pub fn optional_out(&mut self, output: usize) -> Option<&'a mut [T]> {
        match self.outputs.get_mut(output)?.take()? {
            Out::Float(v) => Some(v),
            Out::Int(_) => None,
        }
    }

    /// Takes an i32 output.
    ///
    /// # Errors
    /// As [`Args::out`].
    pub fn out_ints(&mut self, output: usize) -> Result<&'a mut [i32]> {
        match self.outputs.get_mut(output).and_then(Option::take) {
            Some(Out::Int(v)) => Ok(v),
            _ => Err(absent("output", output)),
        }
    }

    /// The type of an output, where it is wanted.
    pub fn out_ty(&self, output: usize) -> Option<&'a TensorType> {
        Some(&self.binding.outputs.get(output)?.as_ref()?.ty)
    }

    /// Takes an output that may have taken over an input's buffer: (the input's elements, the output's). Where there are no input
    /// elements, the output already holds them.
    ///
    /// # Errors
    /// As [`Args::out`].
    pub fn in_out(&mut self, input: usize, output: usize) -> Result<(Option<&'a [T]>, &'a mut [T])> {
        let out = self.out(output)?;
        match &self.inputs[input] {
            In::Float(v) => Ok((Some(v), out)),
            In::Gone => Ok((None, out)),
            _ => Err(absent("input", input)),
        }
    }

    /// Takes an input that is floating-point state to update.
    ///
    /// # Errors
    /// As [`Args::out`].
    pub fn state(&mut self, input: usize) -> Result<&'a mut [T]> {
        match self.inputs.get_mut(input).map(|i| std::mem::replace(i, In::Gone)) {
            Some(In::State(Out::Float(v))) => Ok(v),
            _ => Err(absent("state", input)),
        }
    }

    /// Takes an input that is i32 state to update.
    ///
    /// # Errors
    /// As [`Args::out`].
    pub fn state_ints(&mut self, input: usize) -> Result<&'a mut [i32]> {
        match self.inputs.get_mut(input).map(|i| std::mem::replace(i, In::Gone)) {
            Some(In::State(Out::Int(v))) => Ok(v),
            _ => Err(absent("state", input)),
        }
    }

    /// Takes the scratch that [`crate::op::Op::workspace`] asked for. It holds anything.
    ///
    /// # Errors
    /// As [`Args::out`].
    pub fn workspace(&mut self) -> Result<&'a mut [T]> {
        match self.workspace.take() {
            Some(Out::Float(v)) => Ok(v),
            _ => Err(absent("workspace", 0)),
        }
    }
}
