//! What an operator says of its kernels.

use super::Abilities;
use super::memory::{Memory, Region};
use super::pieces::Piece;
use crate::device::binding::{Binding, Home};
use crate::device::columns::COLUMNS;
use crate::error::Result;
use crate::tensor::{DType, TensorType};
use std::ops::Range;

/// Invocations of a workgroup.
pub(super) const WIDTH: usize = 256;

/// The same as the `const` lines that every shader finds before it.
pub(super) const EXTENTS: &[(&str, usize)] = &[("WIDTH", WIDTH), ("COLUMNS", COLUMNS)];

/// A tensor that a kernel is given: `@group(0)`, numbered in the order in which they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// An input, `var<storage, read>`. Where an output took its buffer over, there is nothing behind it.
    Input(usize),
    /// An input that is state to update, `var<storage, read_write>`.
    Update(usize),
    /// An output, `var<storage, read_write>`. Where it is not wanted, there is nothing behind it.
    Output(usize),
    /// Memory for what one launch of a node leaves to the next, from [`Launch::scratch`]; `var<storage, read_write>` for both.
    Scratch(usize),
    /// Words that the host lays down when the launch is recorded, from [`Launch::table`]; `var<storage, read>`.
    Table(usize),
    /// Part of the allocation in which an input lies, in words from the allocation's start; what lies beside the input is bound with it.
    Window {
        /// The input.
        input: usize,
        /// It is state to update, and so is all else there: `var<storage, read_write>`.
        update: bool,
        /// The first word, where a binding may start.
        from: usize,
        /// How many.
        words: usize,
    },
    /// Nothing: a binding that the kernel does not read with these constants.
    Nothing,
    /// The same for one that it does not write.
    Nowhere,
}

impl Operand {
    pub(super) fn is_written(self) -> bool {
        !matches!(self, Operand::Input(_) | Operand::Table(_) | Operand::Window { update: false, .. } | Operand::Nothing)
    }

    /// The same for an input whether it is read or updated.
    pub(super) fn tensor(self) -> Self {
        if let Operand::Update(i) = self { Operand::Input(i) } else { self }
    }

    /// Nothing, bound in the same way.
    pub(super) fn without(self) -> Self {
        if self.is_written() { Operand::Nowhere } else { Operand::Nothing }
    }
}

/// One launch of one kernel.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The shader's text, as it stands in `shaders/`.
    pub source: &'static str,
    /// Its entry point, `<op>_<pass>[_<variant>]_<dtype>`.
    pub entry: String,
    /// See [`Dispatch::variant`].
    pub(super) variant: Option<String>,
    /// `const` lines put before the text: tile sizes and switches.
    pub constants: Vec<(&'static str, String)>,
    /// `alias` lines put there too: what a kernel's numbers are stored as that are not stored as the others.
    pub aliases: Vec<(&'static str, &'static str)>,
    /// What is bound.
    pub operands: Vec<Operand>,
    /// The bytes of those that are not bound whole.
    pub(super) ranges: Vec<(Operand, Range<u64>)>,
    /// The words of `@group(1) @binding(0) var<uniform>`: sizes, or the bits of numbers.
    pub parameters: Vec<u32>,
    /// Workgroups. More than fit along the first axis are wrapped into the second, where the second is 1.
    pub grid: [usize; 3],
    /// Its indices follow from sizes alone, never from data, and its loops end: it does without checks at run time where the driver lets it.
    pub(super) trusted: bool,
    /// The edge of the fragments that it multiplies, if it does.
    pub(super) fragments: Option<usize>,
}

impl Dispatch {
    /// A launch without constants or parameters yet, of one workgroup.
    pub fn new(source: &'static str, entry: impl Into<String>, operands: impl Into<Vec<Operand>>) -> Self {
        let (entry, operands) = (entry.into(), operands.into());
        let (constants, aliases, ranges, parameters) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Dispatch { source, entry, variant: None, constants, aliases, operands, ranges, parameters, grid: [1; 3], trusted: false, fragments: None }
    }

    /// Says which variant its constants make of it, where the entry point does not tell.
    pub fn variant(mut self, name: impl Into<String>) -> Self {
        self.variant = Some(name.into());
        self
    }

    /// Adds a `const` line.
    pub fn constant(mut self, name: &'static str, value: impl ToString) -> Self {
        self.constants.push((name, value.to_string()));
        self
    }

    /// Adds an `alias` line.
    pub fn alias(mut self, name: &'static str, ty: &'static str) -> Self {
        self.aliases.push((name, ty));
        self
    }

    /// Adds a size.
    pub fn size(mut self, size: usize) -> Self {
        self.parameters.push(size as u32);
        self
    }

    /// Adds 32 bits.
    pub fn word(mut self, word: u32) -> Self {
        self.parameters.push(word);
        self
    }

    /// Adds a number.
    pub fn number(mut self, number: f64) -> Self {
        self.parameters.push((number as f32).to_bits());
        self
    }

    /// Says that no index of the kernel follows from data, that sizes keep all of them in bounds, and that it writes workgroup memory before it reads it:
    /// checks at run time are left out.
    pub(crate) fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// Says that it multiplies fragments of this edge.
    pub fn fragments(mut self, edge: usize) -> Self {
        self.fragments = Some(edge);
        self
    }

    /// One invocation for each of `n` elements.
    pub fn over(mut self, n: usize) -> Self {
        self.grid = [n.div_ceil(WIDTH), 1, 1];
        self
    }

    /// One workgroup for each of `n` rows.
    pub fn rows(mut self, n: usize) -> Self {
        self.grid = [n, 1, 1];
        self
    }

    /// The grid, wrapped into the second axis where the first is longer than `across`; nothing where an axis is longer than `most`.
    pub(super) fn wrapped(&self, across: usize, most: usize) -> Option<[u32; 3]> {
        let ([x, y, z], across) = (self.grid, across.max(1));
        let grid = if x > across && y == 1 { [across, x.div_ceil(across), z] } else { self.grid };
        grid.iter().all(|&n| n <= most).then(|| grid.map(|n| n as u32))
    }
}

/// A node that tells what it launches.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Its operator's stem.
    pub(super) op: &'static str,
    variant: Option<String>,
    pub(super) binding: &'a Binding,
    slots: &'a Memory,
    states: &'a Memory,
    pub(super) dispatches: Vec<Dispatch>,
    /// Elements of each scratch buffer.
    pub(super) scratch: Vec<usize>,
    /// How many of them are in use.
    pub(super) scratched: usize,
    /// Words of each table.
    pub(super) tables: Vec<Vec<u32>>,
    /// What is told of it now, where that is not all.
    pub(super) piece: Option<Piece>,
}

impl<'a> Launch<'a> {
    /// Of a node that is known by this signature.
    pub(crate) fn new(op: &'static str, binding: &'a Binding, slots: &'a Memory, states: &'a Memory, signature: impl FnOnce() -> String) -> Self {
        let variant = slots.gpu.told().variant_of(signature);
        let (dispatches, scratch, tables) = (Vec::new(), Vec::new(), Vec::new());
        Launch { op, variant, binding, slots, states, dispatches, scratch, scratched: 0, tables, piece: None }
    }

    /// The variant of its kernels that the node is told to use, where it has it.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// What kernels may use.
    pub fn abilities(&self) -> Abilities {
        self.slots.abilities()
    }

    /// Where an input lies.
    pub(super) fn region(&self, input: usize) -> Result<&'a Region> {
        let place = self.binding.input(input);
        if place.home == Home::Slot { self.slots.raw(place.index) } else { self.states.raw(place.index) }
    }

    /// How many inputs the node has.
    pub fn inputs(&self) -> usize {
        self.binding.inputs.len()
    }

    /// The type of an input.
    pub fn ty(&self, input: usize) -> TensorType {
        self.tensor(Operand::Input(input)).unwrap_or(self.binding.input(input).ty)
    }

    /// The type of an output, where it is wanted.
    pub fn out_ty(&self, output: usize) -> Option<TensorType> {
        self.tensor(Operand::Output(output))
    }

    /// True where a tensor of the node is stored in 16 bits: `Real` and `Word` are f16 then. Those that never are, such as statistics, are told as f32.
    pub fn is_half(&self) -> bool {
        let (inputs, outputs) = (self.binding.inputs.iter(), self.binding.outputs.iter().flatten());
        inputs.map(|(place, _)| place).chain(outputs).any(|place| place.ty.dtype == DType::F16)
    }

    /// True where an output took this input's buffer over: the kernel finds the input's elements in the output.
    pub fn in_place(&self, input: usize) -> bool {
        self.binding.is_gone(input)
    }

    /// Memory of `len` elements of four bytes that nobody else touches while the node runs. It holds anything at first.
    pub fn scratch(&mut self, len: usize) -> Operand {
        match self.scratch.get_mut(self.scratched) {
            Some(most) => *most = len.max(*most),
            None => self.scratch.push(len),
        }
        self.scratched += 1;
        Operand::Scratch(self.scratched - 1)
    }

    /// Words that a kernel reads, such as what each of its workgroups does.
    pub fn table(&mut self, words: Vec<u32>) -> Operand {
        self.tables.push(words);
        Operand::Table(self.tables.len() - 1)
    }

    /// Adds a launch; they run in the order in which they were added.
    pub fn add(&mut self, mut dispatch: Dispatch) {
        if let Some(piece) = &self.piece {
            self.narrow(&mut dispatch, piece);
        }
        self.dispatches.push(dispatch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_grid_wraps_into_the_second_axis() {
        let grid = |grid: [usize; 3]| Dispatch { grid, ..Dispatch::new("", "", []) }.wrapped(5, 7);
        assert_eq!([grid([5, 1, 1]), grid([6, 1, 2]), grid([35, 1, 1])], [Some([5, 1, 1]), Some([5, 2, 2]), Some([5, 7, 1])]);
        // Too long for both axes; and where the second is taken, nothing wraps.
        assert_eq!([grid([36, 1, 1]), grid([6, 2, 1]), grid([8, 2, 1]), grid([1, 1, 8])], [None, Some([6, 2, 1]), None, None]);
    }
}
