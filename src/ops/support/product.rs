//! How the matrix products of `shaders/common/gemm.wgsl` are shared out among workgroups.

use crate::device::wgpu::{Dispatch, Launch, Operand};

/// Workgroups that keep a GPU busy: some two for each processor of a large one.
const ENOUGH: usize = 256;
/// The least part of K. Writing and reading back its sums is at most a quarter of the traffic that reading its factors is.
const PART: usize = 256;
/// Rows that `gemv` takes, and columns of one of its workgroups.
const GEMV: (usize, usize) = (4, 16);

/// A batch of products of [m, k] and [k, n].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// What is summed over.
    pub k: usize,
}

/// What computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Tiles, by so many invocations down and across, each for 4 x 4 results.
    Tiles(usize, usize),
    /// A few rows at once.
    Rows,
}

/// A product shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What computes it.
    pub kernel: Kernel,
    /// How much of K a workgroup walks along.
    pub depth: usize,
    /// In how many parts K is cut.
    pub parts: usize,
}

impl Kernel {
    /// Rows and columns of a workgroup.
    fn extents(self) -> (usize, usize) {
        match self {
            Kernel::Tiles(down, across) => (4 * down, 4 * across),
            Kernel::Rows => GEMV,
        }
    }

    /// Workgroups of a product, K in one part.
    fn workgroups(self, Product { batch, m, n, .. }: Product) -> usize {
        let (rows, columns) = self.extents();
        batch * m.div_ceil(rows) * n.div_ceil(columns)
    }
}

impl Product {
    /// The largest tiles that still make enough workgroups, with K cut in parts if need be; a function of the extents alone.
    pub fn plan(self) -> Plan {
        let most = (self.k / PART).max(1);
        let large = Kernel::Tiles(16, 16);
        let kernel = match (self.m, self.n) {
            (..=4, _) => Kernel::Rows,
            (..=16, _) => Kernel::Tiles(4, 16),
            (_, ..=16) => Kernel::Tiles(16, 4),
            (33.., 33..) if large.workgroups(self) * most >= ENOUGH => large,
            _ => Kernel::Tiles(8, 8),
        };
        let (depth, parts) = cut(self.k, (ENOUGH / kernel.workgroups(self).max(1)).clamp(1, most));
        Plan { kernel, depth, parts }
    }

    /// Adds the launches of a product. `dispatch` names the entry points `<op>_<pass>` without their endings, has what is bound from binding 1 on, and
    /// the sizes that follow `batch`.
    pub fn launch(self, launch: &mut Launch, dispatch: Dispatch) {
        let Plan { kernel, depth, parts } = self.plan();
        let Product { batch, m, n, .. } = self;
        let dispatch = dispatch.constant("SPLIT", parts > 1);
        let sums = if parts > 1 { launch.scratch(parts * batch * m * n) } else { Operand::Nowhere };
        let ending = if kernel == Kernel::Rows { "_rows" } else { "" };
        launch.add(self.prepared(dispatch.clone(), kernel, depth, sums, ending).rows(parts * kernel.workgroups(self)));
        if parts > 1 {
            launch.add(self.prepared(dispatch, kernel, depth, sums, "_sum").over(batch * m * n));
        }
    }

    fn prepared(self, mut dispatch: Dispatch, kernel: Kernel, depth: usize, sums: Operand, ending: &str) -> Dispatch {
        let Product { batch, m, n, k } = self;
        dispatch.entry += &format!("{ending}_f32");
        dispatch.operands.insert(0, sums);
        dispatch.parameters.splice(0..0, [m, n, k, depth, batch].map(|size| size as u32));
        // Only tiles ask for these.
        let (down, across) = if let Kernel::Tiles(down, across) = kernel { (down, across) } else { (16, 16) };
        dispatch.constant("DOWN", format!("{down}u")).constant("ACROSS", format!("{across}u"))
    }
}

/// Even parts of `k`, at most so many, each a multiple of all that kernels take at once: their depth and number.
fn cut(k: usize, parts: usize) -> (usize, usize) {
    let depth = k.div_ceil(parts).next_multiple_of(32).max(32);
    (depth, k.div_ceil(depth).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(batch: usize, m: usize, n: usize, k: usize) -> (Kernel, usize, usize) {
        let Plan { kernel, depth, parts } = Product { batch, m, n, k }.plan();
        (kernel, depth, parts)
    }

    #[test]
    fn tiles_are_large_where_they_are_enough() {
        // Attention's scores, a linear layer over a picture's tokens, ResNet's first convolution.
        assert_eq!(plan(96, 577, 577, 64), (Kernel::Tiles(16, 16), 64, 1));
        assert_eq!(plan(1, 577, 3072, 768), (Kernel::Tiles(16, 16), 768, 1));
        assert_eq!(plan(1, 8 * 112 * 112, 64, 147), (Kernel::Tiles(16, 16), 160, 1));
        // The same on one picture is few tiles, and K short.
        assert_eq!(plan(1, 56 * 56, 64, 64), (Kernel::Tiles(8, 8), 64, 1));
    }

    #[test]
    fn long_sums_are_cut() {
        // The gradient of 64 filters of 1 x 1 from 32 pictures.
        assert_eq!(plan(1, 64, 64, 32 * 56 * 56), (Kernel::Tiles(16, 16), 416, 242));
        // The last stage of ResNet on one picture.
        assert_eq!(plan(1, 49, 512, 4608), (Kernel::Tiles(8, 8), 576, 8));
    }

    #[test]
    fn few_rows_or_columns_have_their_own() {
        assert_eq!(plan(1, 1, 768, 768), (Kernel::Rows, 256, 3));
        assert_eq!(plan(1, 3, 30524, 768), (Kernel::Rows, 768, 1));
        assert_eq!(plan(1, 12, 768, 768), (Kernel::Tiles(4, 16), 256, 3));
        assert_eq!(plan(1, 4616, 7, 768), (Kernel::Tiles(16, 4), 256, 3));
    }

    #[test]
    fn parts_cover_k_and_none_is_empty() {
        for k in (0..3000).chain([25_088, 401_408, 1 << 20]) {
            for (batch, m, n) in [(1, 1, 1), (1, 5, 300), (1, 64, 64), (1, 64, 147), (1, 392, 512), (4, 12544, 3), (96, 577, 64)] {
                let Plan { kernel, depth, parts } = Product { batch, m, n, k }.plan();
                assert!(parts * depth >= k && (parts - 1) * depth < k.max(1), "{batch} {m} {n} {k}: {parts} x {depth}");
                assert!(parts == 1 || (depth >= PART && parts * kernel.workgroups(Product { batch, m, n, k }) <= ENOUGH));
            }
        }
    }
}
