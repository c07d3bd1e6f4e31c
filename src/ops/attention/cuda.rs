//! What attention launches through CUDA: tiles of queries and keys, or pieces of the keys for a few queries.

use super::tensors::{Extents, Form, Places};
use crate::device::cuda::{Dispatch, Image, Launch, Operand, Swizzle, TensorMap, Tile, image};
use crate::ops::support::philox::Mask;
use crate::tensor::{DType, TensorType};

static FORWARD: Image = image!("attention");
static FORWARD_MMA: Image = image!("attention_mma");
static FORWARD_WGMMA: Image = image!("attention_wgmma");
static DECODE: Image = image!("attention_decode");
static BACKWARD: Image = image!("attention_backward");
static BACKWARD_MMA: Image = image!("attention_backward_mma");
static BACKWARD_WGMMA: Image = image!("attention_backward_wgmma");

/// Queries, or keys, of a tile, and columns of a head that a block of the exact path sums.
const TILE: usize = 64;
/// At most so many queries are taken by pieces of the keys.
const FEW: usize = TILE / 8;
/// Threads of a block of tensor cores' kernels.
const MMA_THREADS: usize = 128;
/// The same of warpgroups' kernels, and the queries, or keys, of a block.
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
    /// Warpgroups' tensor cores, on compute capability 9.0, for f16 and bf16: heads of up to 64 columns. The mean of the probabilities is [`Variant::Mma64`]'s.
    Wgmma64,
    /// The same of up to 128; the mean of the probabilities is [`Variant::Mma128`]'s.
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

    /// What computes what warpgroups have no kernels for.
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
        let by_warpgroups = || arch == 90 && e.batch * e.heads * e.queries * e.keys > 0;
        self == Variant::Exact || (by_tensor_cores() && (!self.is_wgmma() || by_warpgroups()))
    }

    /// What is best for blocks of so many queries, or keys: warpgroups where these would be at least half a block, else tensor cores wherever they take the numbers; the
    /// narrowest that do.
    fn choose(arch: u32, dtype: DType, e: Extents, rows: usize) -> Self {
        let is_half_full = |v: Variant| !v.is_wgmma() || 2 * rows >= WGMMA_ROWS;
        let order = [Variant::Wgmma64, Variant::Wgmma128, Variant::Mma64, Variant::Mma128];
        order.into_iter().find(|&v| v.takes(arch, dtype, e) && is_half_full(v)).unwrap_or(Variant::Exact)
    }

    /// The variant of this name, where it computes such heads.
    fn forced(name: Option<&str>, arch: u32, dtype: DType, e: Extents) -> Option<Self> {
        Self::ALL.into_iter().find(|v| Some(v.name()) == name && v.takes(arch, dtype, e))
    }

    /// Dynamic shared memory of the forward pass and of the backward pass. Of warps: a ring of three tiles; and two tiles of the block's own and two stages of twice as
    /// many rows as are met at once, with two numbers to a row. Of warpgroups: a ring of six tiles and the block's results; and twice the block's own rows and three
    /// stages of two tiles, with such numbers; both with barriers, each part a multiple of 1024.
    fn shared(self) -> [usize; 2] {
        const PART: usize = 1024;
        let rows = |rows: usize| rows * self.columns() * 2;
        let met = match self {
            Variant::Exact => return [0; 2],
            Variant::Mma64 => 64,
            Variant::Mma128 => 32,
            Variant::Wgmma64 | Variant::Wgmma128 => return [rows(6 * TILE + WGMMA_ROWS) + PART, rows(2 * WGMMA_ROWS) + 3 * (rows(2 * TILE) + PART) + PART],
        };
        [rows(3 * TILE), rows(2 * TILE) + 2 * (rows(2 * met) + 2 * met * 4)]
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
    arch: u32,
    /// The one that is asked for.
    forced: Option<Variant>,
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
        Problem { form, e, places, dtype: launch.dtype(), stored, arch, forced, told }
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

    /// What computes blocks of so many queries, or keys.
    fn variant(&self, rows: usize) -> Variant {
        self.forced.unwrap_or_else(|| Variant::choose(self.arch, self.stored, self.e, rows))
    }

    /// A tensor of heads as the tensor memory accelerator sees it: 64 rows of 64 columns of a head at once. Heads are a dimension of their own, `parts` times as many
    /// where so many tensors lie side by side, so that what is beyond a head is zeros.
    fn map(&self, operand: Operand, parts: usize, rows: usize, batch: usize) -> TensorMap {
        let (size, heads) = (self.e.size, parts * self.e.heads);
        let (dims, strides) = (vec![size, heads, rows, batch], [size, size * heads, size * heads * rows].map(|numbers| 2 * numbers).to_vec());
        TensorMap { operand, dtype: self.stored, dims, strides, tile: Tile::Box(vec![64, 1, TILE, 1]), swizzle: Swizzle::Bytes128 }
    }

    /// Queries, keys and values so.
    fn maps(&self) -> [TensorMap; 3] {
        let Extents { batch, group, queries, keys, .. } = self.e;
        let parts = if self.form.fused { 3 } else { 1 };
        let [q, k, v] = self.places.sources.map(Operand::Input);
        [self.map(q, parts, queries, batch), self.map(k, parts, keys, batch / group), self.map(v, parts, keys, batch / group)]
    }

    /// A launch by this variant of tiles of so many rows of all heads. What the variant's kernels begin with stands before the sizes: `sources` tells it, and `others`
    /// follow.
    fn tiles(&self, pass: Pass, variant: Variant, others: &[Operand], [batch, rows]: [usize; 2]) -> Dispatch {
        let blocks = |high: usize| batch * self.e.heads * rows.div_ceil(high);
        let name = if variant == Variant::Exact { pass.name.to_owned() } else { format!("{}_{}", pass.name, variant.name()) };
        let [forward, backward] = variant.shared();
        let dispatch = |image: &'static Image| self.dispatch(image, &name, []).shared(if pass.dy.is_some() { backward } else { forward });
        let [exact, mma, wgmma] = pass.images;
        let given = match variant {
            Variant::Exact => dispatch(exact).tensors(self.sources()).tensors(pass.dy).rows(blocks(TILE) * self.e.size.div_ceil(TILE)),
            Variant::Mma64 | Variant::Mma128 => dispatch(mma).tensors(self.sources()).tensors(pass.dy).block(MMA_THREADS).rows(blocks(TILE)),
            Variant::Wgmma64 | Variant::Wgmma128 => {
                let [q, k, v] = self.maps();
                let dispatch = dispatch(wgmma).overlaps().block(WGMMA_THREADS).rows(blocks(WGMMA_ROWS));
                let dispatch = match pass.dy {
                    None => dispatch.tensors([Operand::Input(self.places.sources[0])]).tensor_map(k).tensor_map(v),
                    Some(dy) => dispatch.tensor_map(q).tensor_map(k).tensor_map(v).tensor_map(self.map(dy, 1, self.e.queries, self.e.batch)),
                };
                dispatch.tensors(self.mask_and_lengths()).tensors([Self::given(self.places.rng)])
            }
        };
        given.tensors(others.iter().copied()).structure(self.told.clone())
    }
}

/// What the launches of one pass by tiles have in common.
#[derive(Clone, Copy)]
struct Pass {
    name: &'static str,
    /// By single numbers, by warps and by warpgroups.
    images: [&'static Image; 3],
    /// The gradient that it starts from, backward.
    dy: Option<Operand>,
}

/// y, lse and the mean of the probabilities.
pub fn forward(form: &Form, mean: bool, launch: &mut Launch) {
    let problem = Problem::new(form, launch, 0);
    let e = problem.e;
    let rows = e.batch * e.heads * e.queries;
    let lse = if mean && launch.out_ty(1).is_none() { launch.scratch(rows) } else { Operand::Output(1) };
    let y = Operand::Output(0);
    let variant = problem.variant(e.queries);
    match problem.pieces() {
        None => {
            let pass = Pass { name: "forward", images: [&FORWARD, &FORWARD_MMA, &FORWARD_WGMMA], dy: None };
            launch.add(problem.tiles(pass, variant, &[y, lse], [e.batch, e.queries]));
        }
        Some(pieces) => {
            let parts = if pieces > 1 { launch.scratch(rows * pieces * (e.size + 2)) } else { Operand::Nothing };
            let decode = problem.dispatch(&DECODE, "forward_decode", problem.sources()).tensors([parts, y, lse]);
            launch.add(decode.overlaps().structure(problem.told.clone()).rows(e.batch / e.group * e.heads * pieces));
            if pieces > 1 {
                let merge = problem.dispatch(&DECODE, "forward_merge", [parts, y, lse]).structure(problem.told.clone());
                launch.add(merge.overlaps().over(rows * e.size));
            }
        }
    }
    if mean {
        let [q, k, _] = problem.places.sources.map(Operand::Input);
        let [mask, lengths] = problem.mask_and_lengths();
        let tensors = [q, k, mask, lengths, lse, Operand::Output(2)];
        let dispatch = match variant.of_warps() {
            Variant::Exact => problem.dispatch(&FORWARD, "forward_probabilities", tensors),
            mma => {
                let [shared, _] = mma.shared();
                problem.dispatch(&FORWARD_MMA, &format!("forward_probabilities_{}", mma.name()), tensors).block(MMA_THREADS).shared(shared)
            }
        };
        launch.add(dispatch.structure(problem.told.clone()).grid([e.keys.div_ceil(TILE), e.queries.div_ceil(TILE), e.batch]));
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
    let pass = |name| Pass { name, images: [&BACKWARD, &BACKWARD_MMA, &BACKWARD_WGMMA], dy: Some(dy) };
    if wants_queries {
        launch.add(problem.tiles(pass("backward_query"), problem.variant(e.queries), &[lse, delta, dq], [e.batch, e.queries]));
    }
    if wants_others {
        launch.add(problem.tiles(pass("backward_key"), problem.variant(e.keys), &[lse, delta, dk, dv], [e.batch / e.group.max(1), e.keys]));
    }
}

#[cfg(test)]
mod tests {
    use super::{DType, Extents, Variant};
    use crate::ops::attention::ROW;

    fn heads_of(size: usize) -> Extents {
        Extents { batch: 2, group: 1, heads: 12, queries: 577, keys: 577, size }
    }

    #[test]
    fn tensor_cores_are_for_heads_of_multiples_of_8_columns_of_16_bits() {
        for dtype in [DType::F16, DType::BF16] {
            for arch in [80, 86, 89, 90, 100, 120] {
                let choose = |sizes: [usize; 4]| sizes.map(|size| Variant::choose(arch, dtype, heads_of(size), 63));
                assert_eq!(choose([8, 40, 56, 64]), [Variant::Mma64; 4]);
                assert_eq!(choose([72, 96, 120, 128]), [Variant::Mma128; 4]);
                assert_eq!(choose([1, 4, 60, 127]), [Variant::Exact; 4], "rows that begin elsewhere");
                assert_eq!(choose([132, 136, 192, 256]), [Variant::Exact; 4], "wider heads");
            }
            assert_eq!(Variant::choose(75, dtype, heads_of(64), 577), Variant::Exact);
        }
        assert_eq!(Variant::choose(90, DType::F32, heads_of(64), 577), Variant::Exact);
    }

    #[test]
    fn warpgroups_are_for_half_a_block_of_rows_and_more_on_hopper() {
        for dtype in [DType::F16, DType::BF16] {
            let choose = |size, rows| Variant::choose(90, dtype, heads_of(size), rows);
            assert_eq!([8, 56, 64].map(|size| choose(size, 64)), [Variant::Wgmma64; 3]);
            assert_eq!([72, 96, 128].map(|size| choose(size, 577)), [Variant::Wgmma128; 3]);
            assert_eq!([choose(64, 63), choose(128, 49)], [Variant::Mma64, Variant::Mma128], "a quarter of a block, or little more");
            assert_eq!([choose(60, 577), choose(136, 577)], [Variant::Exact; 2]);
            for nothing in [Extents { keys: 0, ..heads_of(64) }, Extents { queries: 0, ..heads_of(64) }] {
                assert_eq!(Variant::choose(90, dtype, nothing, 577), Variant::Mma64, "no map of nothing");
            }
            for arch in [80, 86, 89, 100, 120] {
                assert_eq!(Variant::choose(arch, dtype, heads_of(64), 577), Variant::Mma64);
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_taken_where_it_takes_the_heads() {
        let forced = |name, arch, dtype, size| Variant::forced(Some(name), arch, dtype, heads_of(size));
        assert_eq!(forced("mma128", 80, DType::F16, 64), Some(Variant::Mma128));
        assert_eq!(forced("exact", 90, DType::BF16, 64), Some(Variant::Exact));
        assert_eq!(forced("mma64", 90, DType::BF16, 72), None);
        assert_eq!(forced("mma64", 90, DType::F32, 64), None);
        assert_eq!(forced("mma64", 75, DType::F16, 64), None);
        assert_eq!(forced("wgmma128", 90, DType::F16, 64), Some(Variant::Wgmma128));
        assert_eq!(forced("wgmma64", 100, DType::F16, 64), None);
        assert_eq!(forced("wgmma64", 90, DType::F16, 72), None);
        assert_eq!(forced("skinny", 90, DType::F16, 64), None);
        assert_eq!(Variant::forced(None, 90, DType::F16, heads_of(64)), None);
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
