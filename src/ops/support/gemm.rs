//! How the products of `kernels/common/gemm.cuh` are shared out among blocks.

use crate::device::cuda::{Dispatch, Image, Launch, Operand};

/// Rows and columns of a block's tile.
const TILE: usize = 64;
/// What a block takes of K at once.
const STRIP: usize = 16;
/// Blocks that keep a large GPU busy: two for each of its processors.
const ENOUGH: usize = 264;
/// The least part of K. Writing and reading back its sums is at most a quarter of the traffic that reading its factors is.
const PART: usize = 256;

/// A batch of products of [m, k] and [k, n].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    /// Products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// What is summed over.
    pub k: usize,
}

/// The tensors of the two launches, between `partials` and the sizes.
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a> {
    /// The factors.
    pub factors: [Operand; 2],
    /// What becomes of the sums.
    pub results: &'a [Operand],
}

impl Gemm {
    /// How much of K a block walks along, and in how many parts K is cut: as many as keep a GPU busy and are worth it. A function of the extents.
    fn cut(self) -> (usize, usize) {
        let tiles = self.batch * self.m.div_ceil(TILE) * self.n.div_ceil(TILE);
        let parts = (ENOUGH / tiles.max(1)).clamp(1, (self.k / PART).max(1));
        let depth = self.k.div_ceil(parts).next_multiple_of(STRIP).max(STRIP);
        (depth, self.k.div_ceil(depth).max(1))
    }

    /// Adds the launches of a product: `product`, and where K is cut `sum`, which has no factors. `finish` adds what comes behind the sizes.
    pub fn launch(
        self,
        launch: &mut Launch,
        image: &'static Image,
        (product, sum): (&str, &str),
        Tensors { factors, results }: Tensors,
        finish: impl Fn(Dispatch) -> Dispatch,
    ) {
        let Gemm { batch, m, n, k } = self;
        let (depth, parts) = self.cut();
        let split = parts > 1;
        let partials = if split { launch.scratch(parts * batch * m * n) } else { Operand::Nothing };
        let dtype = launch.dtype();
        let sizes = |dispatch: Dispatch| finish(dispatch.structure(vec![m, n, k, depth, parts, batch]));
        let tiles = batch * m.div_ceil(TILE) * n.div_ceil(TILE);
        let dispatch = Dispatch::new(image, format!("{product}_{dtype}")).tensors([partials]).tensors(factors).tensors(results.iter().copied());
        launch.add(sizes(dispatch).rows(parts * tiles));
        if split {
            let dispatch = Dispatch::new(image, format!("{sum}_{dtype}")).tensors([partials]).tensors(results.iter().copied());
            launch.add(sizes(dispatch).over(batch * m * n));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_k_and_none_is_empty() {
        for k in (0..3000).chain([25_088, 401_408, 1 << 20]) {
            for (batch, m, n) in [(1, 1, 1), (1, 5, 300), (1, 64, 64), (1, 392, 512), (4, 12544, 3), (96, 577, 64)] {
                let (depth, parts) = Gemm { batch, m, n, k }.cut();
                assert!(parts * depth >= k && (parts - 1) * depth < k.max(1), "{batch} {m} {n} {k}: {parts} x {depth}");
                assert!(depth.is_multiple_of(STRIP) && (parts == 1 || depth >= PART), "{batch} {m} {n} {k}: {parts} x {depth}");
            }
        }
    }

    #[test]
    fn long_sums_of_few_tiles_are_cut() {
        assert_eq!(Gemm { batch: 1, m: 577, n: 768, k: 768 }.cut(), (384, 2));
        assert_eq!(Gemm { batch: 1, m: 64, n: 64, k: 32 * 56 * 56 }.cut(), (384, 262));
        assert_eq!(Gemm { batch: 1, m: 4616, n: 768, k: 768 }.cut(), (768, 1));
    }
}
