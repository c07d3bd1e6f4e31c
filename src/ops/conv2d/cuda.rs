//! What a convolution launches through CUDA: the three products, which differ in what their factors are.

use super::maps;
use super::patches::{Patches, Phase, phases};
use super::{Conv2d, Extents};
use crate::device::cuda::{Columns, Dispatch, Image, Launch, Operand, Summed, TensorMap, image};
use crate::ops::linear::Activation;
use crate::ops::support::gemm::{Factors, Gemm, Tensors, Variant};
use crate::ops::support::moments::ROWS;
use crate::tensor::DType;

static KERNELS: Image = image!("conv2d");
/// Of each product.
const FACTORS: [Operand; 2] = [Operand::Input(0), Operand::Input(1)];

/// y, and its moments where they are wanted: by the tiles that y is made in, or where those have but parts of the sums, by a launch of their own.
pub fn forward(op: &Conv2d, e: &Extents, launch: &mut Launch) {
    let given = |there: bool, input: usize| if there { Operand::Input(input) } else { Operand::Nothing };
    let moments = if op.moments { Operand::Output(1) } else { Operand::Nothing };
    let results = [given(op.bias, 2), given(op.residual, 2 + usize::from(op.bias)), Operand::Output(0), moments];
    let has_relu = op.activation == Activation::Relu;
    let (patches, dtype) = (Patches::of_input(e), launch.ty(0).dtype);
    let product = Gemm { batch: 1, m: patches.rows(), n: e.filters, k: e.patch() };
    let way = Way { product, seen: patches.have_map().then(|| Gemm { k: patches.depth(), ..product }), along_k: [true; 2] };
    let maps = |(high, wide): (usize, usize)| [patches.map(FACTORS[0], dtype, high), maps::filters(FACTORS[1], dtype, e.w(), wide)];
    let is_cut = add(launch, "forward", way, maps, &results, |dispatch| conv(e, 0, dispatch).flag(has_relu));
    if op.moments && is_cut {
        let kernel = Dispatch::new(&KERNELS, format!("conv2d_moments_{}", launch.dtype())).tensors([Operand::Output(0), moments]);
        launch.sum_parts(Columns::by(ROWS, product.m, product.n), kernel, |dispatch| dispatch);
    }
}

/// dx: a product for each phase; the first is the largest. Warpgroups' are launches of their own, since each has a map of its own.
pub fn backward_input(e: &Extents, launch: &mut Launch) {
    let [h, w, kh, kw] = [e.size[0], e.size[1], e.kernel[0], e.kernel[1]].map(|extent| extent.div_ceil(e.stride));
    let product = Gemm { batch: e.stride * e.stride, m: e.batch * h * w, n: e.channels, k: kh * kw * e.filters };
    let (phases, dtype, results) = (phases(e), launch.ty(0).dtype, [Operand::Output(0)]);
    let has_map = |phase: &Phase| phase.patches.depth() == 0 || phase.patches.have_map();
    let depth = phases.iter().map(|phase| phase.patches.depth()).max().filter(|_| phases.iter().all(has_map));
    let way = Way { product, seen: depth.map(|k| Gemm { k, ..product }), along_k: [true, false] };
    let variant = way.variant(launch.variant(), launch.arch(), dtype);
    if !variant.is_wgmma() {
        let gathered = Factors::Gathered(FACTORS);
        launch_as(variant, launch, "backward_input", product, Tensors { factors: gathered, results: &results }, |dispatch| conv(e, 0, dispatch));
        return;
    }
    for Phase { offset, patches, .. } in &phases {
        let product = Gemm { batch: 1, m: patches.rows(), n: e.channels, k: patches.depth() };
        let (variant, factors) = match product.k {
            // No tap meets these pixels: zeros.
            0 => (Variant::Exact, Factors::Gathered(FACTORS)),
            _ => (variant, Factors::Maps(Box::new([patches.map(FACTORS[0], dtype, variant.tile().0), maps::filters(FACTORS[1], dtype, e.w(), 64)]))),
        };
        let phase = offset[0] * e.stride + offset[1];
        launch_as(variant, launch, "backward_input", product, Tensors { factors, results: &results }, |dispatch| conv(e, phase, dispatch));
    }
}

/// dw, and db where it is wanted.
pub fn backward_weight(e: &Extents, launch: &mut Launch) {
    let (patches, dtype) = (Patches::of_input(e), launch.ty(0).dtype);
    let pixels = patches.rows();
    let product = Gemm { batch: 1, m: e.filters, n: e.patch(), k: pixels };
    let way = Way { product, seen: patches.have_map().then(|| Gemm { n: patches.depth(), ..product }), along_k: [false; 2] };
    let maps = |_: (usize, usize)| [product.map(FACTORS[0], dtype, e.filters, false, 64), patches.map(FACTORS[1], dtype, 64)];
    add(launch, "backward_weight", way, maps, &[Operand::Output(0)], |dispatch| conv(e, 0, dispatch));
    if launch.out_ty(1).is_some() {
        let name = format!("conv2d_backward_bias_{}", launch.dtype());
        let kernel = |partials| Dispatch::new(&KERNELS, name.clone()).tensors([partials, Operand::Input(0), Operand::Output(1)]);
        launch.sum_columns(Columns::summed(pixels, e.filters), Summed::Sums(1), kernel, |dispatch| dispatch);
    }
}

/// A product as most kernels compute it, and as warpgroups do, who multiply zeros besides, where there are maps for them.
#[derive(Debug, Clone, Copy)]
struct Way {
    product: Gemm,
    seen: Option<Gemm>,
    /// Whether lines of the factors run along K, for warpgroups.
    along_k: [bool; 2],
}

impl Way {
    /// What computes it: the variant of this name, or the best; not warpgroups where more than a fifth of what they multiply would be zeros.
    fn variant(self, told: Option<&str>, arch: u32, dtype: DType) -> Variant {
        let Way { product, seen, along_k } = self;
        let takes = |variant: Variant| match seen {
            _ if !super::ROW.variants.contains(&variant.name()) => false,
            Some(seen) if variant.is_wgmma() => variant.takes(arch, dtype, seen, Some(along_k)),
            _ => variant.takes(arch, dtype, product, None),
        };
        let is_worth = seen.is_some_and(|seen| 4 * seen.n * seen.k <= 5 * product.n * product.k);
        Variant::forced(told, takes).unwrap_or_else(|| Variant::best(product, |variant| takes(variant) && (is_worth || !variant.is_wgmma())))
    }
}

/// A product of the first two inputs; `maps` are those for tiles of this height and width. True where K is cut.
fn add(
    launch: &mut Launch,
    pass: &str,
    way: Way,
    maps: impl Fn((usize, usize)) -> [TensorMap; 2],
    results: &[Operand],
    finish: impl Fn(Dispatch) -> Dispatch,
) -> bool {
    let variant = way.variant(launch.variant(), launch.arch(), launch.ty(0).dtype);
    let (product, factors) = match way.seen {
        Some(seen) if variant.is_wgmma() => (seen, Factors::Maps(Box::new(maps(variant.tile())))),
        _ => (way.product, Factors::Gathered(FACTORS)),
    };
    launch_as(variant, launch, pass, product, Tensors { factors, results }, finish)
}

fn launch_as(variant: Variant, launch: &mut Launch, pass: &str, product: Gemm, tensors: Tensors, finish: impl Fn(Dispatch) -> Dispatch) -> bool {
    let (name, sum) = (format!("conv2d_{pass}"), format!("conv2d_{pass}_sum"));
    product.launch_as(variant, launch, &KERNELS, (&name, &sum), tensors, finish)
}

/// The structure `Conv` of the kernels, for products from this phase on.
fn conv(e: &Extents, phase: usize, dispatch: Dispatch) -> Dispatch {
    let [[height, width], [kernel_height, kernel_width], [out_height, out_width]] = [e.size, e.kernel, e.out];
    dispatch.structure(vec![height, width, e.channels, e.filters, kernel_height, kernel_width, out_height, out_width, e.stride, e.padding, phase])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(x: [usize; 4], w: [usize; 4]) -> Way {
        let e = Extents::new(&x, &w, 1, 1);
        let patches = Patches::of_input(&e);
        let product = Gemm { batch: 1, m: patches.rows(), n: e.filters, k: e.patch() };
        Way { product, seen: patches.have_map().then(|| Gemm { k: patches.depth(), ..product }), along_k: [true; 2] }
    }

    #[test]
    fn warpgroups_are_for_channels_in_eights_on_hopper_and_best_in_sixty_fours() {
        let [full, ragged, odd] = [128, 72, 12].map(|channels| forward([8, 28, 28, channels], [128, 3, 3, channels]));
        let of = |way: Way, told, arch, dtype| way.variant(told, arch, dtype);
        assert_eq!(of(full, None, 90, DType::F16), Variant::Wgmma128);
        assert_eq!(of(full, Some("exact"), 90, DType::F16), Variant::Exact);
        assert_eq!(of(full, None, 80, DType::F16), Variant::Mma64);
        assert_eq!(of(full, Some("wgmma128"), 80, DType::F16), Variant::Mma64);
        assert_eq!(of(full, None, 90, DType::F32), Variant::Exact);
        assert_eq!(of(ragged, None, 90, DType::BF16), Variant::Mma64, "56 of 128 channels would be zeros");
        assert_eq!(of(ragged, Some("wgmma256"), 90, DType::BF16), Variant::Wgmma256);
        assert_eq!(of(odd, Some("wgmma256"), 90, DType::BF16), Variant::Mma64);
        assert_eq!(of(full, Some("wgmma256x2"), 90, DType::BF16), of(full, None, 90, DType::BF16), "no clusters");
        assert_eq!(of(forward([0, 28, 28, 128], [128, 3, 3, 128]), Some("wgmma128"), 90, DType::F16), Variant::Mma64, "no picture");
    }
}
