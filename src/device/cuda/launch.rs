//! What an operator says of its kernels.

use super::Image;
use super::memory::Memory;
use super::tensor_map::TensorMap;
use crate::device::binding::Binding;
use crate::error::{Error, Result};
use crate::tensor::{DType, TensorType};

/// Threads of a block, where an operator does not say otherwise.
pub const BLOCK: usize = 256;

/// A tensor that a kernel is given: a pointer to its first element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// An input, whether it is read or updated. Where an output took its buffer over, it is the output's.
    Input(usize),
    /// An output; a null pointer where it is not wanted.
    Output(usize),
    /// Memory for what one launch of a node leaves to the next, from [`Launch::scratch`].
    Scratch(usize),
    /// Words that the host lays down when the launch is recorded, from [`Launch::table`].
    Table(usize),
    /// Pointers to inputs, from [`Launch::pointers`].
    Pointers(usize),
    /// A null pointer.
    Nothing,
}

/// An argument of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Argument {
    Tensor(Operand),
    TensorMap(TensorMap),
    /// Of four bytes.
    Word(u32),
    /// The same, if it fits.
    Size(usize),
    /// Of eight.
    Long(u64),
    /// A structure of words, if they fit.
    Sizes(Vec<usize>),
}

/// One launch of one kernel.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Where the kernel is.
    pub(super) image: &'static Image,
    /// Its name, `<op>_<pass>[_<variant>]_<dtype>`.
    pub(super) kernel: String,
    /// In the order of its parameters.
    pub(super) arguments: Vec<Argument>,
    /// Blocks along three axes.
    pub(super) grid: [usize; 3],
    /// Threads of a block.
    pub(super) block: usize,
    /// Bytes of dynamic shared memory.
    pub(super) shared: usize,
    /// Neighbouring blocks that run together and reach each other's shared memory.
    pub(super) cluster: usize,
    /// It may begin before the launch before it has ended.
    pub(super) overlaps: bool,
}

impl Dispatch {
    /// A launch of one block, without arguments yet.
    pub fn new(image: &'static Image, kernel: impl Into<String>) -> Self {
        Dispatch { image, kernel: kernel.into(), arguments: Vec::new(), grid: [1; 3], block: BLOCK, shared: 0, cluster: 1, overlaps: false }
    }

    /// Adds pointers to tensors.
    pub fn tensors(mut self, operands: impl IntoIterator<Item = Operand>) -> Self {
        self.arguments.extend(operands.into_iter().map(Argument::Tensor));
        self
    }

    /// Adds a tensor map, `const __grid_constant__ TensorMap` to the kernel. What the driver does not take is an error when the launch is recorded.
    pub fn tensor_map(mut self, map: TensorMap) -> Self {
        self.arguments.push(Argument::TensorMap(map));
        self
    }

    /// Adds extents, `unsigned` to the kernel. What does not fit is an error when the launch is recorded.
    pub fn sizes(mut self, sizes: impl IntoIterator<Item = usize>) -> Self {
        self.arguments.extend(sizes.into_iter().map(Argument::Size));
        self
    }

    /// Adds a count of elements, `size_t` to the kernel.
    pub fn count(mut self, count: usize) -> Self {
        self.arguments.push(Argument::Long(count as u64));
        self
    }

    /// Adds 32 bits, `unsigned`.
    pub fn word(mut self, word: u32) -> Self {
        self.arguments.push(Argument::Word(word));
        self
    }

    /// Adds a structure of extents, all `unsigned`; as for [`Dispatch::sizes`].
    pub fn structure(mut self, sizes: Vec<usize>) -> Self {
        self.arguments.push(Argument::Sizes(sizes));
        self
    }

    /// Adds a number, `float`.
    pub fn number(mut self, number: f64) -> Self {
        self.arguments.push(Argument::Word((number as f32).to_bits()));
        self
    }

    /// Adds a switch, `unsigned`.
    pub fn flag(self, flag: bool) -> Self {
        self.word(u32::from(flag))
    }

    /// So many threads a block.
    pub fn block(mut self, threads: usize) -> Self {
        self.block = threads;
        self
    }

    /// So many blocks along three axes.
    pub fn grid(mut self, grid: [usize; 3]) -> Self {
        self.grid = grid;
        self
    }

    /// A thread for each of `n` elements.
    pub fn over(self, n: usize) -> Self {
        let blocks = n.div_ceil(self.block);
        self.grid([blocks, 1, 1])
    }

    /// A thread for each four of `n` elements: kernels of `kernels/common/map.cuh`.
    pub fn over_fours(self, n: usize) -> Self {
        self.over(n.div_ceil(4))
    }

    /// A block for each of `n` rows.
    pub fn rows(self, n: usize) -> Self {
        self.grid([n, 1, 1])
    }

    /// Clusters of so many blocks along the first axis.
    pub fn cluster(mut self, blocks: usize) -> Self {
        self.cluster = blocks;
        self
    }

    /// Of a kernel that waits, by `launch_wait` of `kernels/common/overlap.cuh`, before it touches memory of the device: it may begin before the launch before it
    /// has ended, on devices and drivers that have this.
    pub fn overlaps(mut self) -> Self {
        self.overlaps = true;
        self
    }

    /// So many bytes of dynamic shared memory.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }
}

/// A node that tells what it launches.
#[derive(Debug)]
pub struct Launch<'a> {
    pub(super) binding: &'a Binding,
    memory: &'a Memory,
    variant: Option<String>,
    pub(super) dispatches: Vec<Dispatch>,
    /// Words of four bytes of each scratch buffer.
    pub(super) scratch: Vec<usize>,
    /// Numbers of each table, which are laid down as words.
    pub(super) tables: Vec<Vec<usize>>,
    /// Inputs of each table of pointers.
    pub(super) pointers: Vec<Vec<usize>>,
}

impl<'a> Launch<'a> {
    /// Of a node that is known by this signature.
    pub(crate) fn new(binding: &'a Binding, slots: &'a Memory, signature: impl FnOnce() -> String) -> Self {
        let variant = slots.gpu.told().variant_of(signature);
        let (dispatches, scratch, tables, pointers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Launch { binding, memory: slots, variant, dispatches, scratch, tables, pointers }
    }

    /// The compute capability, times ten, that its kernels are for: see [`super::Gpu::arch`].
    pub fn arch(&self) -> u32 {
        self.memory.gpu.arch()
    }

    /// How many blocks it runs at a time, at least.
    pub fn processors(&self) -> usize {
        self.memory.gpu.processors()
    }

    /// The variant of its kernels that the node is told to use, where it has it.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How many inputs the node has.
    pub fn inputs(&self) -> usize {
        self.binding.inputs.len()
    }

    /// The type of an input.
    pub fn ty(&self, input: usize) -> TensorType {
        self.binding.input(input).ty
    }

    /// The type of an output, where it is wanted.
    pub fn out_ty(&self, output: usize) -> Option<TensorType> {
        self.binding.output(output).map(|place| place.ty)
    }

    /// What kernels of the node are called after, by how its numbers are stored.
    pub fn dtype(&self) -> &'static str {
        let (inputs, outputs) = (self.binding.inputs.iter(), self.binding.outputs.iter().flatten());
        let half = inputs.map(|(place, _)| place).chain(outputs).map(|place| place.ty.dtype).find(|dtype| matches!(dtype, DType::F16 | DType::BF16));
        match half {
            Some(DType::F16) => "f16",
            Some(DType::BF16) => "bf16",
            _ => "f32",
        }
    }

    /// The same for kernels that only move elements.
    pub fn word(&self, ty: TensorType) -> &'static str {
        if ty.dtype.size() == 2 { "u16" } else { "u32" }
    }

    /// Memory of `len` words of four bytes that nobody else touches while the node runs. It holds anything at first.
    pub fn scratch(&mut self, len: usize) -> Operand {
        self.scratch.push(len);
        Operand::Scratch(self.scratch.len() - 1)
    }

    /// Words of each buffer that was asked for so.
    pub(crate) fn scratch_words(&self) -> &[usize] {
        &self.scratch
    }

    /// Numbers that a kernel reads, such as what each of its blocks does, `unsigned` to it; as for [`Dispatch::sizes`].
    pub fn table(&mut self, numbers: Vec<usize>) -> Operand {
        self.tables.push(numbers);
        Operand::Table(self.tables.len() - 1)
    }

    /// Pointers to inputs, for a kernel that goes through any number of them.
    pub fn pointers(&mut self, inputs: Vec<usize>) -> Operand {
        self.pointers.push(inputs);
        Operand::Pointers(self.pointers.len() - 1)
    }

    /// Adds a launch; they run in the order in which they were added. One without blocks is none.
    pub fn add(&mut self, dispatch: Dispatch) {
        if dispatch.grid.iter().all(|&n| n > 0) {
            self.dispatches.push(dispatch);
        }
    }
}

/// Extents as a kernel sees them, where they fit.
pub(super) fn words(kernel: &str, sizes: &[usize]) -> Result<Vec<u32>> {
    sizes.iter().map(|&size| u32::try_from(size).map_err(|_| Error::graph(kernel, "extents below 2^32", size))).collect()
}

/// The grid, where the device takes it.
pub(super) fn grid_of(dispatch: &Dispatch) -> Result<[u32; 3]> {
    const MOST: [usize; 3] = [i32::MAX as usize, 65_535, 65_535];
    let fits = dispatch.grid.iter().zip(MOST).all(|(&n, most)| n <= most);
    let too_many = || Error::graph(&dispatch.kernel, format!("a grid of at most {MOST:?} blocks"), format!("{:?}", dispatch.grid));
    if fits { Ok(dispatch.grid.map(|n| n as u32)) } else { Err(too_many()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_that_do_not_fit_are_errors() {
        const LARGEST: usize = u32::MAX as usize;
        assert_eq!(words("k", &[0, LARGEST]).ok(), Some(vec![0, u32::MAX]));
        let error = words("k", &[7, LARGEST + 1]).map_err(|e| e.to_string());
        assert_eq!(error, Err("graph: `k`: expected extents below 2^32, got 4294967296".to_owned()));
    }
}
