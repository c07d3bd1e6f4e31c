//! How products are shared out among blocks, and which kernels compute them: `kernels/common/gemm.cuh`, `kernels/common/gemm_mma.cuh`.

use crate::device::cuda::{BLOCK, Dispatch, Image, Launch, Operand};
use crate::tensor::DType;

/// Blocks that keep a large GPU busy: two for each of its processors.
const ENOUGH: usize = 264;

/// What computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Numbers of any type in f32, one by one.
    Exact,
    /// Tensor cores, from compute capability 8.0 on, for f16 and bf16: tiles of 64 x 64.
    Mma64,
    /// The same in tiles of 128 x 128: half the traffic, for products that have many of these.
    Mma128,
}

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

impl Variant {
    /// What it is asked for by, and what stands in its kernels' names.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Exact => "exact",
            Variant::Mma64 => "mma64",
            Variant::Mma128 => "mma128",
        }
    }

    /// Whether a device computes so with numbers of this type.
    fn takes(self, arch: u32, dtype: DType) -> bool {
        self == Variant::Exact || (arch >= 80 && matches!(dtype, DType::F16 | DType::BF16))
    }

    /// What is best for a product, as far as its extents tell: tensor cores wherever they take the numbers, and the large tile where every processor of a large
    /// GPU gets one and edges do not make the blocks compute more than a quarter in vain.
    pub fn choose(arch: u32, dtype: DType, gemm: Gemm) -> Self {
        let (small, large) = (gemm.tiles(Variant::Mma64), gemm.tiles(Variant::Mma128));
        match () {
            () if !Variant::Mma64.takes(arch, dtype) => Variant::Exact,
            () if large >= ENOUGH / 2 && 4 * large <= small + small / 4 => Variant::Mma128,
            () => Variant::Mma64,
        }
    }

    /// The variant of this name, where it computes with such numbers.
    fn forced(name: Option<&str>, arch: u32, dtype: DType) -> Option<Self> {
        [Variant::Exact, Variant::Mma64, Variant::Mma128].into_iter().find(|v| Some(v.name()) == name && v.takes(arch, dtype))
    }

    /// Rows and columns of a block's tile.
    fn tile(self) -> usize {
        if self == Variant::Mma128 { 128 } else { 64 }
    }

    /// What a block takes of K at once.
    fn strip(self) -> usize {
        if self == Variant::Exact { 16 } else { 32 }
    }

    /// The least part of K. Writing and reading back its sums, in f32, is at most a quarter of the traffic that reading its factors is.
    fn part(self) -> usize {
        if self == Variant::Exact { 256 } else { 8 * self.tile() }
    }

    /// Threads of a block, and its dynamic shared memory: four stages of a strip of both factors.
    fn block(self) -> (usize, usize) {
        if self == Variant::Exact { (BLOCK, 0) } else { (2 * self.tile(), 4 * 2 * self.tile() * self.strip() * 2) }
    }
}

impl Gemm {
    fn tiles(self, variant: Variant) -> usize {
        self.batch * self.m.div_ceil(variant.tile()) * self.n.div_ceil(variant.tile())
    }

    /// How much of K a block walks along, and in how many parts K is cut: as many as keep a GPU busy and are worth it. A function of the extents.
    fn cut(self, variant: Variant) -> (usize, usize) {
        let parts = (ENOUGH / self.tiles(variant).max(1)).clamp(1, (self.k / variant.part()).max(1));
        let depth = self.k.div_ceil(parts).next_multiple_of(variant.strip()).max(variant.strip());
        (depth, self.k.div_ceil(depth).max(1))
    }

    /// Adds the launches of a product of the first inputs: `product`, and where K is cut `sum`, which has no factors. `finish` adds what comes behind the sizes.
    pub fn launch(
        self,
        launch: &mut Launch,
        image: &'static Image,
        (product, sum): (&str, &str),
        Tensors { factors, results }: Tensors,
        finish: impl Fn(Dispatch) -> Dispatch,
    ) {
        let Gemm { batch, m, n, k } = self;
        let (arch, stored) = (launch.arch(), launch.ty(0).dtype);
        let variant = Variant::forced(launch.variant(), arch, stored).unwrap_or_else(|| Variant::choose(arch, stored, self));
        let (depth, parts) = self.cut(variant);
        let split = parts > 1;
        let partials = if split { launch.scratch(parts * batch * m * n) } else { Operand::Nothing };
        let dtype = launch.dtype();
        let sizes = |dispatch: Dispatch| finish(dispatch.structure(vec![m, n, k, depth, parts, batch]));
        let name = if variant == Variant::Exact { format!("{product}_{dtype}") } else { format!("{product}_{}_{dtype}", variant.name()) };
        let (threads, shared) = variant.block();
        let dispatch = Dispatch::new(image, name).tensors([partials]).tensors(factors).tensors(results.iter().copied());
        launch.add(sizes(dispatch).block(threads).shared(shared).rows(parts * self.tiles(variant)));
        if split {
            let dispatch = Dispatch::new(image, format!("{sum}_{dtype}")).tensors([partials]).tensors(results.iter().copied());
            launch.add(sizes(dispatch).over(batch * m * n));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    const ALL: [Variant; 3] = [Variant::Exact, Variant::Mma64, Variant::Mma128];

    fn gemm(batch: usize, m: usize, n: usize, k: usize) -> Gemm {
        Gemm { batch, m, n, k }
    }

    #[test]
    fn parts_cover_k_and_none_is_empty() {
        for k in (0..3000).chain([25_088, 401_408, 1 << 20]) {
            for (batch, m, n) in [(1, 1, 1), (1, 5, 300), (1, 64, 64), (1, 392, 512), (4, 12544, 3), (96, 577, 64)] {
                for variant in ALL {
                    let (depth, parts) = gemm(batch, m, n, k).cut(variant);
                    assert!(parts * depth >= k && (parts - 1) * depth < k.max(1), "{variant:?} {batch} {m} {n} {k}: {parts} x {depth}");
                    let is_long = parts == 1 || depth >= variant.part();
                    assert!(depth.is_multiple_of(variant.strip()) && is_long, "{variant:?} {batch} {m} {n} {k}: {parts} x {depth}");
                }
            }
        }
    }

    #[test]
    fn long_sums_of_few_tiles_are_cut() {
        assert_eq!(gemm(1, 577, 768, 768).cut(Variant::Exact), (384, 2));
        assert_eq!(gemm(1, 64, 64, 32 * 56 * 56).cut(Variant::Exact), (384, 262));
        assert_eq!(gemm(1, 4616, 768, 768).cut(Variant::Exact), (768, 1));
        assert_eq!(gemm(1, 577, 768, 768).cut(Variant::Mma64), (768, 1));
        assert_eq!(gemm(1, 577, 768, 3072).cut(Variant::Mma64), (1536, 2));
        assert_eq!(gemm(1, 64, 64, 32 * 56 * 56).cut(Variant::Mma64), (512, 196));
        assert_eq!(gemm(1, 2048, 1152, 4096).cut(Variant::Mma128), (4096, 1));
    }

    #[test]
    fn tensor_cores_are_for_numbers_of_16_bits_where_there_are_some() {
        let product = gemm(1, 577, 768, 768);
        for dtype in [DType::F16, DType::BF16] {
            assert_eq!(Variant::choose(75, dtype, product), Variant::Exact);
            for arch in [80, 86, 89, 90, 100, 120] {
                assert_eq!(Variant::choose(arch, dtype, product), Variant::Mma64);
                assert_eq!(ALL.map(|v| Variant::forced(Some(v.name()), arch, dtype)), ALL.map(Some));
            }
        }
        assert_eq!(Variant::choose(90, DType::F32, product), Variant::Exact);
        assert_eq!(Variant::forced(Some("mma64"), 90, DType::F32), None);
        assert_eq!(Variant::forced(Some("mma64"), 75, DType::F16), None);
        assert_eq!(Variant::forced(Some("exact"), 90, DType::F16), Some(Variant::Exact));
        assert_eq!(Variant::forced(None, 90, DType::F16), None);
    }

    #[test]
    fn large_tiles_are_for_products_that_fill_many() {
        let choose = |product| Variant::choose(90, DType::BF16, product);
        assert_eq!(choose(gemm(1, 4616, 768, 768)), Variant::Mma128, "37 x 6 of them");
        assert_eq!(choose(gemm(1, 577, 3072, 768)), Variant::Mma64, "5 x 24 of them");
        assert_eq!(choose(gemm(1, 64, 100_000, 768)), Variant::Mma64, "the lower half of each would be empty");
        assert_eq!(choose(gemm(96, 577, 577, 64)), Variant::Mma128, "5 x 5 of them as well as 10 x 10");
        assert_eq!(choose(gemm(200, 130, 130, 64)), Variant::Mma64, "2 x 2 of them, or 3 x 3");
        assert_eq!(choose(gemm(0, 0, 5, 5)), Variant::Mma64);
    }

    #[test]
    fn rows_name_the_variants() {
        for row in [&ops::linear::ROW, &ops::matmul::ROW] {
            assert_eq!(row.variants, ALL.map(Variant::name), "{}", row.stem);
        }
    }
}
