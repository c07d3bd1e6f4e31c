//! Where the tensors of one execution of one operator live, checked once not to overlap.

use super::cpu::Packed;
use crate::error::{Error, Result};
use crate::tensor::TensorType;

/// Which memory a tensor lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Home {
    /// A session's reusable slots.
    Slot,
    /// The store's named, persistent state.
    State,
}

/// Where a tensor lives, and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which memory.
    pub home: Home,
    /// Which buffer of it.
    pub index: usize,
    /// What lies there, from the buffer's start.
    pub ty: TensorType,
}

impl Place {
    fn same_buffer(&self, other: &Place) -> bool {
        (self.home, self.index) == (other.home, other.index)
    }
}

/// The places of one execution of one operator. Holding one proves that what it writes overlaps nothing else it touches, except an
/// output that takes over its input's buffer.
#[derive(Debug)]
pub struct Binding {
    pub(super) inputs: Vec<(Place, Access)>,
    pub(super) packed: Vec<Option<Packed>>,
    pub(super) outputs: Vec<Option<Place>>,
    pub(super) workspace: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nobody writes there.
    Read,
    /// The input's buffer has become the output's.
    Moved,
    /// State that is written.
    Update,
}

impl Binding {
    /// Checks the places against each other.
    ///
    /// * `outputs`: none for one that is not wanted.
    /// * `in_place`: pairs (input, output) allowed to share a buffer.
    /// * `updates`: inputs that are written.
    ///
    /// # Errors
    /// [`Error::Graph`] where two places overlap that must not.
    pub fn new(
        inputs: Vec<Place>,
        outputs: Vec<Option<Place>>,
        in_place: &[(usize, usize)],
        updates: &[usize],
        workspace: Option<Place>,
    ) -> Result<Self> {
        let mut access = vec![Access::Read; inputs.len()];
        for &i in updates {
            *access.get_mut(i).ok_or_else(|| Error::graph("binding", "an input to update", i))? = Access::Update;
        }
        for &(i, o) in in_place {
            if let (Some(input), Some(Some(output))) = (inputs.get(i), outputs.get(o))
                && input.same_buffer(output)
                && access[i] == Access::Read
            {
                access[i] = Access::Moved;
            }
        }
        let inputs: Vec<_> = inputs.into_iter().zip(access).collect();
        let written: Vec<&Place> =
            (inputs.iter().filter(|(_, a)| *a == Access::Update).map(|(p, _)| p)).chain(outputs.iter().flatten()).chain(&workspace).collect();
        let read = inputs.iter().filter(|(_, a)| *a == Access::Read).map(|(p, _)| p);
        let clash = written.iter().enumerate().any(|(n, w)| written[n + 1..].iter().any(|v| w.same_buffer(v)));
        if clash || read.clone().any(|r| written.iter().any(|w| w.same_buffer(r))) {
            return Err(Error::graph("binding", "buffers that do not overlap", "an overlap of what is written"));
        }
        let packed = vec![None; inputs.len()];
        Ok(Binding { inputs, packed, outputs, workspace })
    }

    /// Hands the code a rearranged copy of a constant input. The input itself need then not be there.
    pub fn set_packed(&mut self, input: usize, packed: Packed) {
        self.packed[input] = Some(packed);
    }

    /// Everything that is written.
    pub fn written(&self) -> impl Iterator<Item = &Place> {
        let updates = self.inputs.iter().filter(|(_, a)| *a == Access::Update).map(|(p, _)| p);
        updates.chain(self.outputs.iter().flatten())
    }

    /// The outputs that take over no input's buffer.
    pub fn fresh_outputs(&self) -> impl Iterator<Item = &Place> {
        let moved = |o: &Place| self.inputs.iter().any(|(p, a)| *a == Access::Moved && p.same_buffer(o));
        self.outputs.iter().flatten().filter(move |o| !moved(o))
    }

    /// The scratch buffer.
    pub fn workspace(&self) -> Option<&Place> {
        self.workspace.as_ref()
    }

    /// Where an input lies.
    pub fn input(&self, input: usize) -> &Place {
        &self.inputs[input].0
    }

    /// Where an output goes, where it is wanted.
    pub fn output(&self, output: usize) -> Option<&Place> {
        self.outputs.get(output)?.as_ref()
    }

    /// True where an output took this input's buffer over.
    pub fn is_gone(&self, input: usize) -> bool {
        self.inputs[input].1 == Access::Moved
    }
}
