//! What attention launches through CUDA: tiles of queries and keys, or pieces of the keys for a few queries.

use super::tensors::{Extents, Form, Places};
use crate::device::cuda::{BLOCK, Dispatch, Image, Launch, Operand, Swizzle, TensorMap, Tile, image};
use crate::ops::support::philox::Mask;
use crate::tensor::{DType, TensorType};

static FORWARD: Image = image!("attention");
static FORWARD_MMA: Image = image!("attention_mma");
static FORWARD_WGMMA: Image = image!("attention_wgmma");
static DECODE: Image = image!("attention_decode");
static BACKWARD: Image = image!("attention_backward");
static BACKWARD_MMA: Image = image!("attention_backward_mma");

/// Queries, or keys, of a tile, and columns of a head that a block of the exact path sums.
const TILE: usize = 64;
/// At most so many queries are taken by pieces of the keys.
const FEW: usize = TILE / 8;
/// Threads of a block of tensor cores' kernels.
const MMA_THREADS: usize = 128;
/// The same of warpgroups' kernels, and the queries of a block.
const WGMMA_THREADS: usize = 384;
const WGMMA_ROWS: usize = 2 * TILE;
/// Threads that share a row in [`BACKWARD`]'s first kernel.
const BESIDE: usize = 8;

/// What computes tiles of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// Numbers of any type in f32, one by one; a few queries by pieces of the keys.
    Exact,
    /// Tensor cores, from compute capability 8.0 on, for f16 and bf16: heads of up to 64 columns.
    Mma64,
    /// The same of up to 128.
    Mma128,
    /// The forward pass by warpgroups' tensor cores, on compute capability 9.0, for f16 and bf16: heads of up to 64 columns. Other passes are [`Variant::Mma64`]'s.
    Wgmma64,
    /// The same of up to 128; other passes are [`Variant::Mma128`]'s.
    Wgmma128,
}

impl Variant {
    const ALL: [Variant; 5] = [Variant::Exact, Variant::Mma64, Variant::Mma128, Variant::Wgmma64, Variant::Wgmma128];

    /// What it is asked for by, and what stands in its kernels' names.
    fn name(self) -> &'static str {
        match self {
            Variant::Exact => "exact",
            Variant::Mma64 => "mma64",
            Variant::Mma128 => "mma128",
            Variant::Wgmma64 => "wgmma64",
            Variant::Wgmma128 => "wgmma128",
        }
    }

    /// Columns of the widest head.
    fn columns(self) -> usize {
        match self {
            Variant::Exact => usize::MAX,
            Variant::Mma64 | Variant::Wgmma64 => 64,
            Variant::Mma128 | Variant::Wgmma128 => 128,
        }
    }

    fn is_wgmma(self) -> bool {
        matches!(self, Variant::Wgmma64 | Variant::Wgmma128)
    }

    /// What computes the passes that warpgroups have no kernels for.
    fn of_warps(self) -> Self {
        match self {
            Variant::Wgmma64 => Variant::Mma64,
            Variant::Wgmma128 => Variant::Mma128,
            other => other,
        }
    }

    /// Whether a device computes attention of such heads so, whose numbers are stored as this type. Tensor cores are fed by copies of 16 bytes: where a head has a
    /// multiple of 8 columns, all rows begin at multiples of that. There is no tensor map of nothing.
    fn takes(self, arch: u32, dtype: DType, e: Extents) -> bool {
        let has_tensor_cores = arch >= 80 && matches!(dtype, DType::F16 | DType::BF16);
        let by_tensor_cores = || has_tensor_cores && e.size <= self.columns() && e.size.is_multiple_of(8);
        let by_warpgroups = || arch == 90 && e.batch * e.heads * e.keys > 0;
        self == Variant::Exact || (by_tensor_cores() && (!self.is_wgmma() || by_warpgroups()))
    }

    /// What is best: warpgroups where a block's queries would be at least half as many as it takes, else tensor cores wherever they take the numbers; the narrowest
    /// that do.
    fn choose(arch: u32, dtype: DType, e: Extents) -> Self {
        let is_half_full = |v: Variant| !v.is_wgmma() || 2 * e.queries >= WGMMA_ROWS;
        let order = [Variant::Wgmma64, Variant::Wgmma128, Variant::Mma64, Variant::Mma128];
        order.into_iter().find(|&v| v.takes(arch, dtype, e) && is_half_full(v)).unwrap_or(Variant::Exact)
    }

    /// The variant of this name, where it computes such heads.
    fn forced(name: Option<&str>, arch: u32, dtype: DType, e: Extents) -> Option<Self> {
        Self::ALL.into_iter().find(|v| Some(v.name()) == name && v.takes(arch, dtype, e))
    }

    /// Dynamic shared memory of the forward pass and of the backward pass. Of warps: a ring of three tiles; and two tiles of the block's own and two stages of twice as
    /// many rows as are met at once, with two numbers to a row. Of warpgroups: a ring of six tiles, the block's results, and 1024 bytes for barriers.
    fn shared(self) -> [usize; 2] {
        let (columns, met) = match self.of_warps() {
            Variant::Mma64 => (64, 64),
            Variant::Mma128 => (128, 32),
            _ => return [0; 2],
        };
        let rows = |rows: usize| rows * columns * 2;
        let forward = if self.is_wgmma() { rows(6 * TILE + WGMMA_ROWS) + 1024 } else { rows(3 * TILE) };
        [forward, rows(2 * TILE) + 2 * (rows(2 * met) + 2 * met * 4)]
    }
}

/// One execution: what all its launches have in common.
struct Problem<'a> {
    form: &'a Form,
    e: Extents,
    places: Places,
    dtype: &'static str,
    /// How numbers are stored.
    stored: DType,
    /// The one that is asked for, and what computes tiles.
    forced: Option<Variant>,
    variant: Variant,
    /// The structure `Attention` of the kernels.
    told: Vec<usize>,
}

impl<'a> Problem<'a> {
    /// Of inputs from `first` on.
    fn new(form: &'a Form, launch: &Launch, first: usize) -> Self {
        let places = form.places(first);
        let types: Vec<TensorType> = (first..first + places.count).map(|i| launch.ty(i)).collect();
        let e = form.extents(&types);
        let across = e.heads * e.size;
        let (stride, offset) = if form.fused { (3 * across, across) } else { (across, 0) };
        let share = |input: Option<usize>| input.map_or(1, |i| (e.batch / launch.ty(i).shape[0].max(1)).max(1));
        let (p, key) = form.dropout.unwrap_or_default();
        let mut told = vec![e.batch, e.group, e.heads, e.queries, e.keys, e.size, stride, stride, offset, 2 * offset];
        told.extend([share(places.mask), share(places.lengths), usize::from(form.causal)]);
        let words = [(form.scale as f32).to_bits(), Mask::threshold(p), ((1.0 / (1.0 - p)) as f32).to_bits(), key as u32, (key >> 32) as u32];
        told.extend(words.map(|word| word as usize));
        let (arch, stored) = (launch.arch(), types[0].dtype);
        let forced = Variant::forced(launch.variant(), arch, stored, e);
        let variant = forced.unwrap_or_else(|| Variant::choose(arch, stored, e));
        Problem { form, e, places, dtype: launch.dtype(), stored, forced, variant, told }
    }

    fn given(input: Option<usize>) -> Operand {
        input.map_or(Operand::Nothing, Operand::Input)
    }

    fn mask_and_lengths(&self) -> [Operand; 2] {
        [self.places.mask, self.places.lengths].map(Self::given)
    }

    /// q, k, v, mask, lengths and the words of dropout.
    fn sources(&self) -> Vec<Operand> {
        self.places.sources.map(Operand::Input).into_iter().chain(self.mask_and_lengths()).chain([Self::given(self.places.rng)]).collect()
    }

    fn dispatch(&self, image: &'static Image, name: &str, tensors: impl IntoIterator<Item = Operand>) -> Dispatch {
        Dispatch::new(image, format!("attention_{name}_{}", self.dtype)).tensors(tensors)
    }

    /// In how many pieces the keys are taken, where they are; tensor cores that are asked for take tiles of any queries.
    fn pieces(&self) -> Option<usize> {
        self.e.pieces(FEW).filter(|_| self.forced.is_none_or(|variant| variant == Variant::Exact))
    }

    /// Keys or values, which are this input, as the tensor memory accelerator sees them: 64 rows of 64 columns of a head. Heads are a dimension of their own, through all
    /// that lies side by side, so that what is beyond a head is zeros.
    fn map(&self, input: usize) -> TensorMap {
        let Extents { batch, group, heads, keys, size, .. } = self.e;
        let heads = if self.form.fused { 3 * heads } else { heads };
        let (dims, strides) = (vec![size, heads, keys, batch / group], [size, size * heads, size * heads * keys].map(|numbers| 2 * numbers).to_vec());
        let tile = Tile::Box(vec![64, 1, TILE, 1]);
        TensorMap { operand: Operand::Input(input), dtype: self.stored, dims, strides, tile, swizzle: Swizzle::Bytes128 }
    }

    /// The forward pass by warpgroups.
    fn forward_by_warpgroups(&self, y: Operand, lse: Operand) -> Dispatch {
        let [q, k, v] = self.places.sources;
        let dispatch = self.dispatch(&FORWARD_WGMMA, &format!("forward_{}", self.variant.name()), [Operand::Input(q)]).tensor_map(self.map(k)).tensor_map(self.map(v));
        let dispatch = dispatch.tensors(self.mask_and_lengths()).tensors([Self::given(self.places.rng), y, lse]).structure(self.told.clone());
        let [shared, _] = self.variant.shared();
        dispatch.block(WGMMA_THREADS).shared(shared).rows(self.e.batch * self.e.heads * self.e.queries.div_ceil(WGMMA_ROWS))
    }

    /// A launch by the variant's warps, of its image of two; with so many bytes of shared memory where it is tensor cores.
    fn by_variant(&self, [exact, mma]: [&'static Image; 2], pass: &str, tensors: Vec<Operand>, shared: usize) -> Dispatch {
        let (image, pass, threads) = match self.variant.of_warps() {
            Variant::Exact => (exact, pass.to_owned(), BLOCK),
            variant => (mma, format!("{pass}_{}", variant.name()), MMA_THREADS),
        };
        self.dispatch(image, &pass, tensors).structure(self.told.clone()).block(threads).shared(shared)
    }

    /// The same of tiles of so many rows of all heads; on the exact path of as many columns.
    fn tiles(&self, images: [&'static Image; 2], pass: &str, tensors: Vec<Operand>, shared: usize, [batch, rows]: [usize; 2]) -> Dispatch {
        let parts = if self.variant == Variant::Exact { self.e.size.div_ceil(TILE) } else { 1 };
        self.by_variant(images, pass, tensors, shared).rows(batch * self.e.heads * rows.div_ceil(TILE) * parts)
    }
}

/// y, lse and the mean of the probabilities.
pub fn forward(form: &Form, mean: bool, launch: &mut Launch) {
    let problem = Problem::new(form, launch, 0);
    let e = problem.e;
    let rows = e.batch * e.heads * e.queries;
    let lse = if mean && launch.out_ty(1).is_none() { launch.scratch(rows) } else { Operand::Output(1) };
    let y = Operand::Output(0);
    let [shared, _] = problem.variant.of_warps().shared();
    let images = [&FORWARD, &FORWARD_MMA];
    match problem.pieces() {
        None if problem.variant.is_wgmma() => launch.add(problem.forward_by_warpgroups(y, lse)),
        None => {
            let tensors = problem.sources().into_iter().chain([y, lse]).collect();
            launch.add(problem.tiles(images, "forward", tensors, shared, [e.batch, e.queries]));
        }
        Some(pieces) => {
            let parts = if pieces > 1 { launch.scratch(rows * pieces * (e.size + 2)) } else { Operand::Nothing };
            let decode = problem.dispatch(&DECODE, "forward_decode", problem.sources()).tensors([parts, y, lse]);
            launch.add(decode.structure(problem.told.clone()).rows(e.batch / e.group * e.heads * pieces));
            if pieces > 1 {
                let merge = problem.dispatch(&DECODE, "forward_merge", [parts, y, lse]).structure(problem.told.clone());
                launch.add(merge.over(rows * e.size));
            }
        }
    }
    if mean {
        let [q, k, _] = problem.places.sources.map(Operand::Input);
        let [mask, lengths] = problem.mask_and_lengths();
        let tensors = vec![q, k, mask, lengths, lse, Operand::Output(2)];
        let dispatch = problem.by_variant(images, "forward_probabilities", tensors, shared);
        launch.add(dispatch.grid([e.keys.div_ceil(TILE), e.queries.div_ceil(TILE), e.batch]));
    }
}

/// The gradients that are wanted. Inputs: dy, y, lse, then those of the form.
pub fn backward(form: &Form, launch: &mut Launch) {
    let problem = Problem::new(form, launch, 3);
    let e = problem.e;
    let rows = e.batch * e.heads * e.queries;
    let [dq, dk, dv] = if problem.form.fused { [0, 0, 0] } else { [0, 1, 2] }.map(Operand::Output);
    let wants = |gradient: Operand| matches!(gradient, Operand::Output(o) if launch.out_ty(o).is_some());
    let [wants_queries, wants_others] = [wants(dq), wants(dk) || wants(dv)];
    let delta = launch.scratch(rows);
    let [dy, y, lse] = [0, 1, 2].map(Operand::Input);
    launch.add(problem.dispatch(&BACKWARD, "backward_delta", [dy, y, delta]).count(rows).structure(problem.told.clone()).over(rows * BESIDE));
    let with = |gradients: &[Operand]| problem.sources().into_iter().chain([dy, lse, delta]).chain(gradients.iter().copied()).collect();
    let [_, shared] = problem.variant.shared();
    let images = [&BACKWARD, &BACKWARD_MMA];
    if wants_queries {
        launch.add(problem.tiles(images, "backward_query", with(&[dq]), shared, [e.batch, e.queries]));
    }
    if wants_others {
        launch.add(problem.tiles(images, "backward_key", with(&[dk, dv]), shared, [e.batch / e.group.max(1), e.keys]));
    }
}

#[cfg(test)]
mod tests {
    use super::{DType, Extents, Variant};
    use crate::ops::attention::ROW;

    fn heads_of(size: usize, queries: usize) -> Extents {
        Extents { batch: 2, group: 1, heads: 12, queries, keys: 577, size }
    }

    #[test]
    fn tensor_cores_are_for_heads_of_multiples_of_8_columns_of_16_bits() {
        for dtype in [DType::F16, DType::BF16] {
            for arch in [80, 86, 89, 90, 100, 120] {
                let choose = |sizes: [usize; 4]| sizes.map(|size| Variant::choose(arch, dtype, heads_of(size, 63)));
                assert_eq!(choose([8, 40, 56, 64]), [Variant::Mma64; 4]);
                assert_eq!(choose([72, 96, 120, 128]), [Variant::Mma128; 4]);
                assert_eq!(choose([1, 4, 60, 127]), [Variant::Exact; 4], "rows that begin elsewhere");
                assert_eq!(choose([132, 136, 192, 256]), [Variant::Exact; 4], "wider heads");
            }
            assert_eq!(Variant::choose(75, dtype, heads_of(64, 577)), Variant::Exact);
        }
        assert_eq!(Variant::choose(90, DType::F32, heads_of(64, 577)), Variant::Exact);
    }

    #[test]
    fn warpgroups_are_for_half_a_block_of_queries_and_more_on_hopper() {
        for dtype in [DType::F16, DType::BF16] {
            let choose = |size, queries| Variant::choose(90, dtype, heads_of(size, queries));
            assert_eq!([8, 56, 64].map(|size| choose(size, 64)), [Variant::Wgmma64; 3]);
            assert_eq!([72, 96, 128].map(|size| choose(size, 577)), [Variant::Wgmma128; 3]);
            assert_eq!([choose(64, 63), choose(128, 49)], [Variant::Mma64, Variant::Mma128], "a quarter of a block, or little more");
            assert_eq!([choose(60, 577), choose(136, 577)], [Variant::Exact; 2]);
            assert_eq!(Variant::choose(90, dtype, Extents { keys: 0, ..heads_of(64, 577) }), Variant::Mma64, "no map of nothing");
            for arch in [80, 86, 89, 100, 120] {
                assert_eq!(Variant::choose(arch, dtype, heads_of(64, 577)), Variant::Mma64);
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_taken_where_it_takes_the_heads() {
        let forced = |name, arch, dtype, size| Variant::forced(Some(name), arch, dtype, heads_of(size, 3));
        assert_eq!(forced("mma128", 80, DType::F16, 64), Some(Variant::Mma128));
        assert_eq!(forced("exact", 90, DType::BF16, 64), Some(Variant::Exact));
        assert_eq!(forced("mma64", 90, DType::BF16, 72), None);
        assert_eq!(forced("mma64", 90, DType::F32, 64), None);
        assert_eq!(forced("mma64", 75, DType::F16, 64), None);
        assert_eq!(forced("wgmma128", 90, DType::F16, 64), Some(Variant::Wgmma128));
        assert_eq!(forced("wgmma64", 100, DType::F16, 64), None);
        assert_eq!(forced("wgmma64", 90, DType::F16, 72), None);
        assert_eq!(forced("skinny", 90, DType::F16, 64), None);
        assert_eq!(Variant::forced(None, 90, DType::F16, heads_of(64, 577)), None);
    }

    #[test]
    fn blocks_fit_into_every_processor() {
        for variant in Variant::ALL {
            // What a block may have on compute capability 9.0, or on 8.6, the least of all from 8.0 on.
            let most = if variant.is_wgmma() { 227 << 10 } else { 99 << 10 };
            assert!(variant.shared().into_iter().all(|bytes| bytes <= most), "{variant:?}: {:?}", variant.shared());
        }
    }

    #[test]
    fn the_row_names_the_variants() {
        assert_eq!(ROW.variants, Variant::ALL.map(Variant::name));
    }
}
