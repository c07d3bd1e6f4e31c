//! How products are shared out among blocks, and which kernels compute them: `kernels/common/gemm.cuh`, `gemm_mma.cuh`, `gemm_wgmma.cuh` and
//! `gemm_skinny.cuh` there.

use crate::device::cuda::{BLOCK, Dispatch, Image, Launch, Operand, Swizzle, TensorMap, Tile};
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
    /// Warpgroups' tensor cores, on compute capability 9.0, for f16 and bf16 in lines of multiples of 16 bytes: tiles of 128 x 128.
    Wgmma128,
    /// The same in tiles of 128 x 256.
    Wgmma256,
    /// The same by clusters of two blocks, whose tiles lie one below the other and share what they read of B. Only where it is asked for, until it is measured.
    Wgmma256x2,
    /// Up to 16 rows by a factor that lies along K, which is read once: 8 of its lines a block. f32 on any device, f16 and bf16 by tensor cores.
    Skinny,
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

/// What kernels are given to multiply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Factors {
    /// Matrices, and whether each of them is contiguous along K: [m, k] and [n, k]; else [k, m] and [k, n].
    Matrices([Operand; 2], [bool; 2]),
    /// What they find the factors in by rules of their own: those that are not for warpgroups.
    Gathered([Operand; 2]),
    /// What those for warpgroups find them by: for tiles of [`Variant::tile`], strips of 64 of K.
    Maps(Box<[TensorMap; 2]>),
}

/// The tensors of the two launches, between `partials` and the sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensors<'a> {
    /// The factors.
    pub factors: Factors,
    /// What becomes of the sums.
    pub results: &'a [Operand],
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 7] =
        [Variant::Exact, Variant::Mma64, Variant::Mma128, Variant::Wgmma128, Variant::Wgmma256, Variant::Wgmma256x2, Variant::Skinny];

    /// What it is asked for by, and what stands in its kernels' names.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Exact => "exact",
            Variant::Mma64 => "mma64",
            Variant::Mma128 => "mma128",
            Variant::Wgmma128 => "wgmma128",
            Variant::Wgmma256 => "wgmma256",
            Variant::Wgmma256x2 => "wgmma256x2",
            Variant::Skinny => "skinny",
        }
    }

    /// Whether its kernels see their factors by tensor maps.
    pub fn is_wgmma(self) -> bool {
        matches!(self, Variant::Wgmma128 | Variant::Wgmma256 | Variant::Wgmma256x2)
    }

    /// Whether a device computes a product so whose factors are stored as this type and lie as `along_k` says; nothing where they are gathered.
    pub fn takes(self, arch: u32, dtype: DType, gemm: Gemm, along_k: Option<[bool; 2]>) -> bool {
        let is_half = matches!(dtype, DType::F16 | DType::BF16);
        match self {
            Variant::Exact => true,
            Variant::Mma64 | Variant::Mma128 => arch >= 80 && is_half,
            // Tensor maps have no empty dimension, and lines that begin at multiples of 16 bytes.
            Variant::Wgmma128 | Variant::Wgmma256 | Variant::Wgmma256x2 => {
                let (Gemm { batch, m, n, k }, Some(along_k)) = (gemm, along_k) else { return false };
                let lines = [if along_k[0] { k } else { m }, if along_k[1] { k } else { n }];
                arch == 90 && is_half && batch * m * n * k > 0 && lines.iter().all(|line| line.is_multiple_of(8))
            }
            Variant::Skinny => (arch >= 80 || dtype == DType::F32) && gemm.m <= self.tile().0 && along_k == Some([true; 2]),
        }
    }

    /// What is best for a product of those that take it, as far as its extents tell: what is made for few rows where each of its eight warps gets something of K;
    /// warpgroups where a tile would be at least a quarter full, else tensor cores wherever they take the numbers; and the large tile where every processor of a
    /// large GPU gets one and edges do not make the blocks compute more than a quarter in vain.
    pub fn best(gemm: Gemm, takes: impl Fn(Variant) -> bool) -> Self {
        // By how much the area of a large tile is more than that of a small one.
        let is_large = |small: Variant, large: Variant, more: usize| {
            let (small, large) = (gemm.tiles(small), gemm.tiles(large));
            large >= ENOUGH / 2 && more * large <= small + small / 4
        };
        match () {
            () if takes(Variant::Skinny) && gemm.k >= 256 => Variant::Skinny,
            () if takes(Variant::Wgmma128) && gemm.m >= 64 && gemm.n >= 64 => {
                if is_large(Variant::Wgmma128, Variant::Wgmma256, 2) {
                    Variant::Wgmma256
                } else {
                    Variant::Wgmma128
                }
            }
            () if !takes(Variant::Mma64) => Variant::Exact,
            () if is_large(Variant::Mma64, Variant::Mma128, 4) => Variant::Mma128,
            () => Variant::Mma64,
        }
    }

    /// The variant of this name, where it takes a product.
    pub fn forced(name: Option<&str>, takes: impl Fn(Variant) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|&v| Some(v.name()) == name && takes(v))
    }

    /// Rows and columns of a block's tile.
    pub fn tile(self) -> (usize, usize) {
        match self {
            Variant::Exact | Variant::Mma64 => (64, 64),
            Variant::Mma128 | Variant::Wgmma128 => (128, 128),
            Variant::Wgmma256 | Variant::Wgmma256x2 => (128, 256),
            Variant::Skinny => (16, 8),
        }
    }

    /// Blocks of a cluster.
    fn together(self) -> usize {
        if self == Variant::Wgmma256x2 { 2 } else { 1 }
    }

    /// What a block takes of K at once.
    fn strip(self) -> usize {
        match self {
            Variant::Exact => 16,
            Variant::Mma64 | Variant::Mma128 => 32,
            Variant::Wgmma128 | Variant::Wgmma256 | Variant::Wgmma256x2 => 64,
            Variant::Skinny => 512,
        }
    }

    /// The least part of K. Writing and reading back its sums, in f32, is at most a quarter of the traffic that reading its factors is. Of few rows these sums
    /// are nothing, but a second launch is worth the time that a block needs for 64 KiB of a factor in 16 bits, as an estimate.
    fn part(self) -> usize {
        let (high, wide) = self.tile();
        match self {
            Variant::Exact => 256,
            Variant::Skinny => 4096,
            _ => (16 * high * wide / (high + wide)).next_multiple_of(self.strip()),
        }
    }

    /// Blocks that keep a large GPU busy: as many as each of its processors runs at once; of few rows, one that has the whole processor's reads to itself.
    fn enough(self) -> usize {
        if self.is_wgmma() || self == Variant::Skinny { ENOUGH / 2 } else { ENOUGH }
    }

    /// Threads of a block, and its dynamic shared memory: four stages of a strip of both factors, and for warpgroups 33 KiB for sums on their way out,
    /// what is read beside them, and barriers.
    fn block(self) -> (usize, usize) {
        let (high, wide) = self.tile();
        let stages = 4 * (high + wide) * self.strip() * 2;
        match self {
            Variant::Exact | Variant::Skinny => (BLOCK, 0),
            Variant::Mma64 | Variant::Mma128 => (2 * high, stages),
            Variant::Wgmma128 | Variant::Wgmma256 | Variant::Wgmma256x2 => (384, stages + (2 * 8 * 16 * 32 * 4 + 64_usize).next_multiple_of(1024)),
        }
    }
}

impl Gemm {
    fn tiles(self, variant: Variant) -> usize {
        let (high, wide) = variant.tile();
        self.batch * self.m.div_ceil(high) * self.n.div_ceil(wide)
    }

    /// How much of K a block walks along, and in how many parts K is cut: as many as keep a GPU busy and are worth it. A function of the extents.
    fn cut(self, variant: Variant) -> (usize, usize) {
        let parts = (variant.enough() / self.tiles(variant).max(1)).clamp(1, (self.k / variant.part()).max(1));
        let depth = self.k.div_ceil(parts).next_multiple_of(variant.strip()).max(variant.strip());
        (depth, self.k.div_ceil(depth).max(1))
    }

    /// A factor of this many rows (columns, of B) as the tensor memory accelerator sees it: strips of 64 of K, `tile` rows along K or 64 across it at once.
    pub fn map(self, operand: Operand, dtype: DType, rows: usize, along_k: bool, tile: usize) -> TensorMap {
        let (line, lines, tile) = if along_k { (self.k, rows, vec![64, tile, 1]) } else { (rows, self.k, vec![64, 64, 1]) };
        let (dims, strides) = (vec![line, lines, self.batch], vec![2 * line, 2 * line * lines]);
        TensorMap { operand, dtype, dims, strides, tile: Tile::Box(tile), swizzle: Swizzle::Bytes128 }
    }

    /// Adds the launches of a product of the first inputs, by the variant that is asked for or best: `product`, and where K is cut `sum`, which has no factors.
    /// `finish` adds what comes behind the sizes.
    pub fn launch(self, launch: &mut Launch, image: &'static Image, names: (&str, &str), tensors: Tensors, finish: impl Fn(Dispatch) -> Dispatch) {
        let (arch, stored) = (launch.arch(), launch.ty(0).dtype);
        let along_k = if let Factors::Matrices(_, along_k) = tensors.factors { Some(along_k) } else { None };
        let takes = |variant: Variant| variant.takes(arch, stored, self, along_k);
        let variant = Variant::forced(launch.variant(), takes).unwrap_or_else(|| Variant::best(self, takes));
        self.launch_as(variant, launch, image, names, tensors, finish);
    }

    /// The same by this variant. True where K is cut: then no block of `product` has a whole sum.
    pub fn launch_as(
        self,
        variant: Variant,
        launch: &mut Launch,
        image: &'static Image,
        (product, sum): (&str, &str),
        Tensors { factors, results }: Tensors,
        finish: impl Fn(Dispatch) -> Dispatch,
    ) -> bool {
        let Gemm { batch, m, n, k } = self;
        let stored = launch.ty(0).dtype;
        let (depth, parts) = self.cut(variant);
        let split = parts > 1;
        let partials = if split { launch.scratch(parts * batch * m * n) } else { Operand::Nothing };
        let dtype = launch.dtype();
        let sizes = |dispatch: Dispatch| finish(dispatch.structure(vec![m, n, k, depth, parts, batch]));
        let name = if variant == Variant::Exact { format!("{product}_{dtype}") } else { format!("{product}_{}_{dtype}", variant.name()) };
        let (threads, shared) = variant.block();
        let dispatch = Dispatch::new(image, name).overlaps().tensors([partials]);
        let tiles = parts * self.tiles(variant);
        let ((high, wide), together) = (variant.tile(), variant.together());
        let factors = match factors {
            Factors::Matrices([a, b], along_k) if variant.is_wgmma() => {
                Factors::Maps(Box::new([self.map(a, stored, m, along_k[0], high), self.map(b, stored, n, along_k[1], wide / together)]))
            }
            others => others,
        };
        let (dispatch, blocks) = match factors {
            Factors::Maps(maps) => {
                let [a, b] = *maps;
                let clusters = parts * batch * m.div_ceil(together * high) * n.div_ceil(wide);
                (dispatch.tensor_map(a).tensor_map(b).cluster(together), together * clusters.min((launch.processors() / together).max(1)))
            }
            Factors::Matrices(operands, _) | Factors::Gathered(operands) => (dispatch.tensors(operands), tiles),
        };
        launch.add(sizes(dispatch.tensors(results.iter().copied())).block(threads).shared(shared).rows(blocks));
        if split {
            let dispatch = Dispatch::new(image, format!("{sum}_{dtype}")).overlaps().tensors([partials]).tensors(results.iter().copied());
            launch.add(sizes(dispatch).over(batch * m * n));
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    const ALONG: Option<[bool; 2]> = Some([true; 2]);

    fn gemm(batch: usize, m: usize, n: usize, k: usize) -> Gemm {
        Gemm { batch, m, n, k }
    }

    fn choose(arch: u32, dtype: DType, gemm: Gemm, along_k: Option<[bool; 2]>) -> Variant {
        Variant::best(gemm, |variant| variant.takes(arch, dtype, gemm, along_k))
    }

    #[test]
    fn parts_cover_k_and_none_is_empty() {
        for k in (0..3000).chain([25_088, 401_408, 1 << 20]) {
            for (batch, m, n) in [(1, 1, 1), (1, 5, 300), (1, 64, 64), (1, 392, 512), (4, 12544, 3), (96, 577, 64)] {
                for variant in Variant::ALL {
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
        assert_eq!(gemm(1, 577, 768, 3072).cut(Variant::Wgmma128), (1024, 3));
        assert_eq!(gemm(1, 128, 256, 3072).cut(Variant::Wgmma256), (1536, 2));
        assert_eq!(gemm(1, 3, 768, 30_524).cut(Variant::Skinny), (30_720, 1));
        assert_eq!(gemm(1, 3, 64, 3072).cut(Variant::Skinny), (3072, 1));
        assert_eq!(gemm(1, 3, 64, 30_524).cut(Variant::Skinny), (4608, 7));
    }

    #[test]
    fn tensor_cores_are_for_numbers_of_16_bits_where_there_are_some() {
        let product = gemm(1, 577, 768, 769);
        let choose = |arch, dtype| choose(arch, dtype, product, ALONG);
        let forced = |name, arch, dtype| Variant::forced(name, |v| v.takes(arch, dtype, product, ALONG));
        for dtype in [DType::F16, DType::BF16] {
            assert_eq!(choose(75, dtype), Variant::Exact);
            for arch in [80, 86, 89, 90, 100, 120] {
                assert_eq!(choose(arch, dtype), Variant::Mma64);
                Variant::ALL[..3].iter().for_each(|&v| assert_eq!(forced(Some(v.name()), arch, dtype), Some(v)));
            }
        }
        assert_eq!(choose(90, DType::F32), Variant::Exact);
        assert_eq!(forced(Some("mma64"), 90, DType::F32), None);
        assert_eq!(forced(Some("mma64"), 75, DType::F16), None);
        assert_eq!(forced(Some("exact"), 90, DType::F16), Some(Variant::Exact));
        assert_eq!(forced(None, 90, DType::F16), None);
    }

    #[test]
    fn large_tiles_are_for_products_that_fill_many() {
        let choose = |product| choose(80, DType::BF16, product, ALONG);
        assert_eq!(choose(gemm(1, 4616, 768, 768)), Variant::Mma128, "37 x 6 of them");
        assert_eq!(choose(gemm(1, 577, 3072, 768)), Variant::Mma64, "5 x 24 of them");
        assert_eq!(choose(gemm(1, 64, 100_000, 768)), Variant::Mma64, "the lower half of each would be empty");
        assert_eq!(choose(gemm(96, 577, 577, 64)), Variant::Mma128, "5 x 5 of them as well as 10 x 10");
        assert_eq!(choose(gemm(200, 130, 130, 64)), Variant::Mma64, "2 x 2 of them, or 3 x 3");
        assert_eq!(choose(gemm(0, 0, 5, 5)), Variant::Mma64);
    }

    #[test]
    fn warpgroups_are_for_lines_of_multiples_of_16_bytes_on_hopper() {
        let choose = |product, along_k| choose(90, DType::F16, product, along_k);
        assert_eq!(choose(gemm(1, 577, 768, 768), ALONG), Variant::Wgmma128);
        assert_eq!(choose(gemm(1, 577, 768, 768), Some([false, true])), Variant::Mma64, "lines of 577");
        assert_eq!(choose(gemm(1, 576, 769, 768), Some([true, false])), Variant::Mma64, "lines of 769");
        assert_eq!(choose(gemm(1, 577, 767, 768), ALONG), Variant::Wgmma128, "no line is along N");
        assert_eq!(choose(gemm(1, 577, 768, 4), ALONG), Variant::Mma64);
        assert_eq!(choose(gemm(1, 577, 768, 0), ALONG), Variant::Mma64);
        assert_eq!(choose(gemm(1, 577, 768, 768), None), Variant::Mma64, "a factor is gathered");
        assert_eq!(choose(gemm(1, 32, 768, 768), ALONG), Variant::Mma64, "a quarter of a tile");
        assert_eq!(choose(gemm(1, 4616, 3072, 768), ALONG), Variant::Wgmma256, "37 x 12 of them");
        assert_eq!(choose(gemm(1, 4616, 1152, 768), ALONG), Variant::Wgmma256, "37 x 5 of them as well as 37 x 9");
        assert_eq!(choose(gemm(1, 9232, 128, 768), ALONG), Variant::Wgmma128, "half of each would be empty");
        for arch in [80, 89, 100, 120] {
            assert!(!Variant::Wgmma128.takes(arch, DType::F16, gemm(1, 577, 768, 768), ALONG), "{arch}");
        }
        assert!(!Variant::Wgmma128.takes(90, DType::F32, gemm(1, 577, 768, 768), ALONG));
        let forced = |arch| Variant::forced(Some("wgmma256x2"), |v| v.takes(arch, DType::F16, gemm(1, 577, 768, 768), ALONG));
        assert_eq!([forced(90), forced(100)], [Some(Variant::Wgmma256x2), None]);
    }

    #[test]
    fn few_rows_are_for_what_reads_the_other_factor_once() {
        for (arch, dtype) in [(75, DType::F32), (80, DType::F32), (80, DType::F16), (90, DType::BF16), (120, DType::BF16)] {
            let choose = |product, along_k| choose(arch, dtype, product, along_k);
            let forced = |product: Gemm| Variant::forced(Some("skinny"), |v| v.takes(arch, dtype, product, ALONG));
            for product in [gemm(1, 1, 768, 768), gemm(1, 16, 30_524, 768), gemm(12, 3, 1, 257)] {
                assert_eq!(choose(product, ALONG), Variant::Skinny, "{arch} {dtype} {product:?}");
                for across in [[false, true], [true, false], [false; 2]] {
                    assert_ne!(choose(product, Some(across)), Variant::Skinny, "{arch} {dtype} {product:?} {across:?}");
                }
            }
            assert_ne!(choose(gemm(1, 17, 768, 768), ALONG), Variant::Skinny, "a row more than there are");
            assert_ne!(choose(gemm(1, 16, 768, 255), ALONG), Variant::Skinny, "a warp would have nothing");
            assert_eq!(forced(gemm(1, 16, 3, 2)), Some(Variant::Skinny));
            assert_eq!(forced(gemm(1, 17, 3, 2)), None);
        }
        assert_eq!(choose(75, DType::F16, gemm(1, 1, 768, 768), ALONG), Variant::Exact);
    }

    #[test]
    fn rows_name_the_variants() {
        let all = Variant::ALL.map(Variant::name);
        for row in [&ops::linear::ROW, &ops::matmul::ROW] {
            assert_eq!(row.variants, all, "{}", row.stem);
        }
        assert_eq!(ops::conv2d::ROW.variants, &all[..5], "patches are gathered, so that none is for few rows");
    }
}
