//! The inputs of attention: their order, their extents, and where a head's row lies.

use crate::device::cpu::{Args, Real};
use crate::error::Result;
use crate::op::Check;
use crate::ops::support::case::Fill;
use crate::ops::support::philox::{GROUP, Mask};
use crate::tensor::TensorType;

/// What is attended to, and how. Inputs, in this order: qkv or q, k, v; mask; lengths; rng; those that there are.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// How many heads.
    pub heads: usize,
    /// What the products are multiplied by.
    pub scale: f64,
    /// Queries see no later keys.
    pub causal: bool,
    /// Queries, keys and values are one input.
    pub fused: bool,
    /// There is a mask.
    pub mask: bool,
    /// There are lengths.
    pub lengths: bool,
    /// The probability to be dropped and the operator's key, where there is dropout.
    pub dropout: Option<(f64, u64)>,
}

/// The sizes of one problem.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    /// Batch of the queries.
    pub batch: usize,
    /// Query batches that share one key batch.
    pub group: usize,
    /// Heads.
    pub heads: usize,
    /// Lq
    pub queries: usize,
    /// Lk
    pub keys: usize,
    /// D
    pub size: usize,
}

/// Keys of a piece where GPUs decode.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub const PIECE: usize = 64;

#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl Extents {
    /// In how many pieces GPUs take the keys, where there are at most `few` queries: more of these are taken by tiles, but few would leave most of a tile idle, and one
    /// workgroup to go along all the keys.
    pub fn pieces(&self, few: usize) -> Option<usize> {
        (self.queries <= few && self.keys > 0).then(|| self.keys.div_ceil(PIECE))
    }
}

/// Which input is what.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Queries, keys and values.
    pub sources: [usize; 3],
    /// The mask.
    pub mask: Option<usize>,
    /// The lengths.
    pub lengths: Option<usize>,
    /// The words of dropout.
    pub rng: Option<usize>,
    /// How many inputs these are.
    pub count: usize,
}

impl Form {
    /// Where the inputs are, of which the first is input `first`.
    pub fn places(&self, first: usize) -> Places {
        let mut next = first + self.sources();
        let mut take = |there: bool| {
            next += usize::from(there);
            there.then(|| next - 1)
        };
        let (mask, lengths, rng) = (take(self.mask), take(self.lengths), take(self.dropout.is_some()));
        let sources = if self.fused { [first; 3] } else { [first, first + 1, first + 2] };
        Places { sources, mask, lengths, rng, count: next - first }
    }

    /// How many inputs hold queries, keys and values.
    pub fn sources(&self) -> usize {
        if self.fused { 1 } else { 3 }
    }

    /// What benchmarks fill an input with: all keys exist.
    pub fn fill(&self, inputs: &[TensorType], i: usize) -> Option<Fill> {
        let lengths = self.sources() + usize::from(self.mask);
        (self.lengths && i == lengths).then(|| Fill::Exact(vec![self.extents(inputs).keys as i32; inputs[i].len()]))
    }

    /// The sizes, of inputs that [`Form::check`] accepts.
    pub fn extents(&self, inputs: &[TensorType]) -> Extents {
        let (q, k) = (inputs[0].shape, inputs[self.sources() / 3].shape);
        let size = q[2] / self.heads / if self.fused { 3 } else { 1 };
        Extents { batch: q[0], group: (q[0] / k[0].max(1)).max(1), heads: self.heads, queries: q[1], keys: k[1], size }
    }

    /// How many pairs of a query and a key meet, masks and lengths left aside.
    pub fn scores(&self, e: &Extents) -> u64 {
        let of_query = |i: usize| if self.causal { (i + 1 + e.keys).saturating_sub(e.queries).min(e.keys) } else { e.keys };
        (e.batch * e.heads) as u64 * (0..e.queries).map(|i| of_query(i) as u64).sum::<u64>()
    }

    /// Checks the inputs; gives the sizes.
    pub fn check(&self, check: &Check, inputs: &[TensorType]) -> Result<Extents> {
        let sources = self.sources();
        check.count(inputs, self.places(0).count)?;
        check.that(self.scale > 0.0 && self.scale.is_finite(), "scale", "a positive number", self.scale)?;
        let q = &inputs[0];
        let name = if self.fused { "qkv" } else { "q" };
        check.float(name, q)?;
        check.rank(name, q, 3)?;
        let parts = self.heads * if self.fused { 3 } else { 1 };
        check.that(parts > 0 && q.shape[2].is_multiple_of(parts) && q.shape[2] > 0, name, format!("[_, _, a multiple of {parts}]"), q)?;
        if !self.fused {
            let k = &inputs[1];
            check.rank("k", k, 3)?;
            let fits = k.dtype == q.dtype && k.shape[2] == q.shape[2] && k.shape[0] > 0 && q.shape[0].is_multiple_of(k.shape[0]);
            check.that(fits, "k", format!("{}[a divisor of {}, _, {}]", q.dtype, q.shape[0], q.shape[2]), k)?;
            check.same("v", &inputs[2], k)?;
        }
        let e = self.extents(inputs);
        let mut rest = inputs[sources..].iter();
        let per_batch = |n: usize| n > 0 && e.batch.is_multiple_of(n);
        if let (true, Some(mask)) = (self.mask, rest.next()) {
            check.int("mask", mask)?;
            check.rank("mask", mask, 2)?;
            let fits = per_batch(mask.shape[0]) && mask.shape[1] == e.keys;
            check.that(fits, "mask", format!("[a divisor of {}, {}]", e.batch, e.keys), mask)?;
        }
        if let (true, Some(lengths)) = (self.lengths, rest.next()) {
            check.int("lengths", lengths)?;
            check.rank("lengths", lengths, 1)?;
            check.that(per_batch(lengths.shape[0]), "lengths", format!("[a divisor of {}]", e.batch), lengths)?;
        }
        if let (Some((p, _)), Some(rng)) = (self.dropout, rest.next()) {
            check.that((0.0..1.0).contains(&p), "dropout", "a probability in [0, 1)", p)?;
            check.int("rng", rng)?;
            check.shape("rng", rng, &[4])?;
        }
        Ok(e)
    }
}

/// The rows of the heads of one of q, k, v, or of their gradients: where they start in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Rows of one batch.
    rows: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Where head 0 starts in a row.
    offset: usize,
    /// D
    size: usize,
}

impl Layout {
    /// Where a row of a head starts.
    #[inline(always)]
    pub fn at(&self, batch: usize, row: usize, head: usize) -> usize {
        (batch * self.rows + row) * self.stride + self.offset + head * self.size
    }
}

/// The layouts of q, k and v.
pub fn layouts(form: &Form, e: &Extents) -> [Layout; 3] {
    let width = e.heads * e.size;
    [0, 1, 2].map(|part| Layout {
        rows: if part == 0 { e.queries } else { e.keys },
        stride: if form.fused { 3 * width } else { width },
        offset: if form.fused { part * width } else { 0 },
        size: e.size,
    })
}

/// The tensors of one execution.
pub struct Tensors<'a, T> {
    /// The sizes.
    pub e: Extents,
    /// What the products are multiplied by.
    pub scale: T,
    /// The buffers of q, k, v; with fused inputs three times the same.
    pub data: [&'a [T]; 3],
    /// Where rows lie in them.
    pub layout: [Layout; 3],
    /// What is dropped.
    pub dropout: Option<Mask>,
    causal: bool,
    mask: Option<&'a [i32]>,
    lengths: Option<&'a [i32]>,
}

impl<'a, T: Real> Tensors<'a, T> {
    /// The inputs from `first` on.
    pub fn new(form: &Form, args: &Args<'a, T>, first: usize) -> Result<Self> {
        let types: Vec<TensorType> = (first..args.count()).map(|i| *args.ty(i)).collect();
        let e = form.extents(&types);
        let places = form.places(first);
        let [q, k, v] = places.sources;
        let data = [args.floats(q)?, args.floats(k)?, args.floats(v)?];
        let ints = |input: Option<usize>| input.map(|i| args.ints(i)).transpose();
        let (mask, lengths, rng) = (ints(places.mask)?, ints(places.lengths)?, ints(places.rng)?);
        let dropout = form.dropout.zip(rng).map(|((p, key), rng)| Mask::new(rng, key, p));
        Ok(Tensors { e, scale: T::of(form.scale), data, layout: layouts(form, &e), dropout, causal: form.causal, mask, lengths })
    }

    /// A row of q (0), k (1) or v (2).
    #[inline(always)]
    pub fn row(&self, part: usize, batch: usize, row: usize, head: usize) -> &'a [T] {
        &self.data[part][self.layout[part].at(batch, row, head)..][..self.e.size]
    }

    /// How many keys exist for a query batch.
    #[inline(always)]
    fn length(&self, batch: usize) -> usize {
        match self.lengths {
            Some(n) => (n[batch / (self.e.batch / n.len())].max(0) as usize).min(self.e.keys),
            None => self.e.keys,
        }
    }

    /// The keys that query `i` of a query batch sees are the first so many, the mask left aside.
    #[inline(always)]
    pub fn limit(&self, batch: usize, i: usize) -> usize {
        let keys = self.length(batch);
        if self.causal { (i + 1 + keys).saturating_sub(self.e.queries).min(keys) } else { keys }
    }

    /// The first query of a batch that sees key `j`, one of those that exist, the mask left aside.
    #[inline(always)]
    pub fn first_query(&self, batch: usize, j: usize) -> usize {
        if self.causal { (j + self.e.queries).saturating_sub(self.length(batch)) } else { 0 }
    }

    /// The mask of a query batch.
    #[inline(always)]
    pub fn mask(&self, batch: usize) -> Option<&'a [i32]> {
        let (mask, keys) = (self.mask?, self.e.keys);
        let row = batch / (self.e.batch / (mask.len() / keys.max(1)).max(1));
        Some(&mask[row * keys..][..keys])
    }

    /// The element of the dropout mask that belongs to a query's first key.
    #[inline(always)]
    pub fn element(&self, batch: usize, head: usize, i: usize) -> u64 {
        let row = (batch * self.e.heads + head) * self.e.queries + i;
        row as u64 * self.e.keys.next_multiple_of(GROUP) as u64
    }
}

#[cfg(all(test, any(feature = "cuda", feature = "wgpu")))]
mod tests {
    use super::Extents;

    #[test]
    fn a_few_queries_meet_pieces_of_the_keys() {
        let of = |queries: usize, keys: usize| Extents { batch: 3, group: 3, heads: 12, queries, keys, size: 64 }.pieces(8);
        assert_eq!([of(1, 577), of(1, 40), of(8, 65)], [Some(10), Some(1), Some(2)]);
        assert_eq!([of(9, 577), of(577, 577), of(1, 0)], [None; 3]);
    }
}
