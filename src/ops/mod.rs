//! The table of all operators. The stem is the index: everything about `attention` is in `src/ops/attention.rs`,
//! `kernels/attention.cu`, `shaders/attention.wgsl`, `tests/golden/ops/attention.safetensors` and the section in `docs/kernels.md`.

pub mod support;

use crate::device::{Device, Kind};
use crate::graph::{BackwardRule, FusionRule, Precision, Rules};
use crate::op::Op;
use crate::tensor::TensorType;
use std::ops::Range;
use std::sync::Arc;
use support::case::{Case, Fill, GoldenBuild};

/// What a device runs for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A kernel of its own, in the file of its stem.
    Own,
    /// Other operators in its place.
    Fallback(&'static [&'static str]),
    /// Not yet.
    Pending,
}

/// What an operator says of the numbers of one of its inputs, of these types: see [`Row::fill`].
pub type FillRule = fn(op: &dyn Op, inputs: &[TensorType], input: usize) -> Option<Fill>;

/// The forward pass that a backward pass reads results of, which numbers at random would contradict.
pub struct Forward {
    /// What is computed.
    pub op: Arc<dyn Op>,
    /// From which of the backward pass's inputs.
    pub inputs: Range<usize>,
    /// Which of its outputs are which of the backward pass's inputs.
    pub outputs: Vec<(usize, usize)>,
}

/// One line of the table: what graph, tests, benchmarks and `verify` need to know of an operator.
pub struct Row {
    /// The stem.
    pub stem: &'static str,
    head: Head,
    /// How its gradient is built; none where it has none.
    pub backward: Option<BackwardRule>,
    /// How it takes to half precision.
    pub precision: Precision,
    /// What folds into it: (rank, rule); lower ranks are tried first.
    pub fusion: Option<(u8, FusionRule)>,
    /// What it is tested and measured on.
    pub cases: fn() -> Vec<Case>,
    /// How its golden file is run; none where it has none.
    pub golden: Option<GoldenBuild>,
    /// What benchmarks fill an input of a node with, by its number, where normal numbers, or ones for integers, would not do.
    pub fill: FillRule,
    /// For benchmarks too: what a backward pass must be given the results of, for its own to be right.
    pub forward: fn(op: &dyn Op, inputs: usize) -> Option<Forward>,
    /// Its WGSL kernel.
    pub wgpu: Kernel,
    /// Its CUDA kernel.
    pub cuda: Kernel,
    /// What it chooses among on CUDA where numbers are stored in 16 bits, for tests to force each. All but the first, `exact`, stand in their kernels' names.
    pub variants: &'static [&'static str],
    /// What it chooses among through wgpu. Each stands in the names of its kernels.
    pub wgpu_variants: &'static [&'static str],
}

/// The variants of what is a matrix product through wgpu, from the plain one to those for large products: `support/product.rs` has them.
const PRODUCTS: &[&str] =
    &["scalars", "rows", "tiles16x64", "tiles64x16", "tiles32x32", "tiles64x64", "tiles64x128", "tiles128x64", "tiles128x128", "fragments"];

impl Row {
    /// A row with nothing but the head of its file, by `head!`, and cases; the rest is filled in by `..Row::new(..)`.
    pub const fn new(stem: &'static str, head: Head, cases: fn() -> Vec<Case>) -> Self {
        let (backward, fusion, golden, pending) = (None, None, None, Kernel::Pending);
        Row {
            stem,
            head,
            backward,
            precision: Precision::Follow,
            fusion,
            cases,
            golden,
            fill: |_, _, _| None,
            forward: |_, _| None,
            wgpu: pending,
            cuda: pending,
            variants: &[],
            wgpu_variants: &[],
        }
    }

    /// What it chooses among on a device.
    pub fn variants_on(&self, device: &Device) -> &'static [&'static str] {
        match &device.kind {
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => self.variants,
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => self.wgpu_variants,
            Kind::Cpu(_) | Kind::Reference(_) => &[],
        }
    }

    /// The file that its code is in, or the first of its folder, from the crate's root.
    pub fn file(&self) -> String {
        let folder = if self.head.file == "mod.rs" { format!("{}/", self.stem) } else { String::new() };
        format!("src/ops/{folder}{}", self.head.file)
    }

    /// What it computes: the maths, layouts, and where the formula is from, in Markdown.
    pub fn about(&self) -> String {
        let line = |line: &'static str| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default();
        // Documentation's backslashes, lest brackets be links.
        self.head.text.lines().map(line).collect::<Vec<_>>().join("\n").replace("\\[", "[").replace("\\]", "]")
    }
}

/// The head of an operator's file: what it computes.
pub struct Head {
    file: &'static str,
    text: &'static str,
}

/// The `//!` lines at the beginning of a file, and no more of it: it goes into every program.
macro_rules! head {
    ($file:literal) => {{
        const TEXT: &str = include_str!($file);
        const HEAD: [u8; crate::ops::head_length(TEXT)] = crate::ops::first(TEXT);
        let text = match std::str::from_utf8(&HEAD) {
            Ok(head) => head,
            Err(_) => "",
        };
        crate::ops::Head { file: $file, text }
    }};
}

/// Bytes of the lines at the beginning that start with `//!`.
const fn head_length(text: &str) -> usize {
    let text = text.as_bytes();
    let mut at = 0;
    while at + 3 <= text.len() && text[at] == b'/' && text[at + 1] == b'/' && text[at + 2] == b'!' {
        while at < text.len() && text[at] != b'\n' {
            at += 1;
        }
        at += 1;
    }
    if at > text.len() { text.len() } else { at }
}

const fn first<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    bytes
}

macro_rules! table {
    ($($stem:ident),* $(,)?) => {
        $(pub mod $stem;)*
        /// Every operator, by stem in alphabetical order.
        pub const TABLE: &[&Row] = &[$(&$stem::ROW),*];
    };
}

table! {
    accumulate,
    adamw,
    add,
    add_layernorm,
    advance,
    argmax,
    assign,
    attention,
    batchnorm,
    beam_step,
    broadcast_add,
    cast,
    concat,
    conv2d,
    cross_entropy,
    dropout,
    elementwise,
    ema,
    embedding,
    gather,
    gelu,
    global_avgpool,
    grad_norm,
    kv_cache,
    layernorm,
    linear,
    log_softmax,
    loss_scale,
    masked_mean,
    matmul,
    maxpool2d,
    mul,
    peak,
    peak_product,
    reduce,
    relu,
    reshape,
    scale,
    select,
    sgd,
    sigmoid,
    slice,
    softmax,
    tanh,
    top_k,
    transpose,
    variable_weight_loss,
}

/// The row of a stem.
pub fn row(stem: &str) -> Option<&'static Row> {
    TABLE.binary_search_by(|row| row.stem.cmp(stem)).ok().map(|i| TABLE[i])
}

/// The table as the graph's transformations see it.
pub fn rules() -> Rules {
    Rules {
        backward: |stem| row(stem)?.backward,
        fusions: || {
            let mut ranked: Vec<_> = TABLE.iter().filter_map(|row| row.fusion).collect();
            ranked.sort_by_key(|(rank, _)| *rank);
            ranked.into_iter().map(|(_, rule)| rule).collect()
        },
        precision: |stem| row(stem).map_or(Precision::Full, |row| row.precision),
        add: || Arc::new(add::Add),
        cast: |dtype| Arc::new(cast::Cast { to: dtype }),
    }
}
