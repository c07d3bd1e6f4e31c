//! Extents of all kinds, with every epilogue.

use super::{Activation, Linear, LinearBackwardInput, linear};
use crate::ops::cast::cast;
use crate::ops::support::case::Case;
use crate::tensor::DType;

pub fn cases() -> Vec<Case> {
    let case = |m: usize, n: usize, k: usize, activation: Activation, bias: bool| {
        let name = format!("{m}x{n}x{k}_{activation:?}{}", if bias { "_bias" } else { "" }).to_lowercase();
        let case = Case::of(name, move |b, v| linear(b, v[0], v[1], v.get(2).copied(), activation)).normal("x", [m, k]).normal("w", [n, k]);
        if bias { case.normal("b", [n]) } else { case }
    };
    let mut cases = Vec::new();
    for (m, n, k) in [(1, 1, 1), (5, 3, 7), (33, 17, 65), (1, 97, 130)] {
        for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
            cases.push(case(m, n, k, activation, true));
        }
        cases.push(case(m, n, k, Activation::None, false));
    }
    // What GPUs share out in other ways: long sums of few rows, of few columns, of both, and many rows of a bias' gradient.
    for (m, n, k) in [(2, 40, 600), (12, 40, 600), (40, 12, 600), (20, 40, 600), (1100, 40, 3)] {
        cases.push(case(m, n, k, Activation::Gelu, true));
    }
    // By fours: a few rows, slices, long sums, tiles, and tiles that are twice as tall.
    for (m, n, k) in [(1, 37, 132), (3, 36, 600), (12, 40, 600), (20, 36, 600), (577, 68, 40)] {
        cases.push(case(m, n, k, Activation::Gelu, true));
    }
    // By eights: more tiles than blocks, none of them full; long sums.
    for (m, n, k) in [(328, 264, 72), (24, 40, 3080)] {
        cases.push(case(m, n, k, Activation::Gelu, true));
    }
    // Rows for more than one strip of warpgroups' tiles, the last of which is lower.
    cases.push(case(2180, 264, 8, Activation::None, true).without_gradients());
    cases.push(case(32_770, 36, 8, Activation::Gelu, true).without_gradients());
    // Up to 16 rows on CUDA: lines of odd numbers, of multiples of 2, 4 and 8; edges of blocks, rounds of all warps, and long sums that blocks share.
    for (m, n, k) in [(1, 3, 257), (16, 9, 259), (3, 13, 514), (9, 7, 1036), (16, 20, 1540), (3, 8, 3080), (2, 5, 8202)] {
        let activation = if m == 3 { Activation::Relu } else { Activation::Gelu };
        cases.push(case(m, n, k, activation, m != 9).without_gradients());
    }
    // Rows that GPUs can cut, and none.
    cases.extend([case(160, 64, 64, Activation::Gelu, true), case(0, 3, 7, Activation::Gelu, true)]);
    cases.push(Case::of("rank 4", |b, v| linear(b, v[0], v[1], None, Activation::None)).normal("x", [2, 3, 5, 7]).normal("w", [11, 7]));
    cases.extend(fused());
    for (m, n, k) in [(577, 2304, 768), (577, 3072, 768), (577, 768, 3072), (1, 768, 768), (20, 30524, 768)] {
        cases.push(case(m, n, k, if n == 3072 { Activation::Gelu } else { Activation::None }, true).large());
    }
    cases
}

/// What fusion can ask for: a residual, which may be in f32 where all else is not; y in f32; and the derivative of an activation behind the gradient.
/// Of each: one tile, several, few rows, sums that are cut, and lines of multiples of eight.
fn fused() -> Vec<Case> {
    let residual = |[m, n, k]: [usize; 3], activation: Activation, bias: bool, wide: bool| {
        let flags = [("_bias", bias), ("_wide", wide)].map(|(name, is_so)| if is_so { name } else { "" });
        let case = Case::of(format!("residual {m}x{n}x{k}_{activation:?}{}", flags.concat()).to_lowercase(), move |b, v| {
            let mut inputs = v.to_vec();
            if let Some(residual) = inputs.last_mut() {
                *residual = if wide { cast(b, *residual, DType::F32)? } else { *residual };
            }
            b.apply1(Linear { bias, residual: true, activation, wide }, &inputs)
        });
        let case = case.normal("x", [m, k]).normal("w", [n, k]);
        let case = if bias { case.normal("b", [n]) } else { case };
        case.normal("residual", [m, n])
    };
    let wide = |[m, n, k]: [usize; 3], activation: Activation| {
        let op = Linear { bias: true, activation, wide: true, ..Linear::default() };
        let case = Case::of(format!("wide {m}x{n}x{k}_{activation:?}").to_lowercase(), move |b, v| b.apply1(op, v));
        case.normal("x", [m, k]).normal("w", [n, k]).normal("b", [n])
    };
    let derivative = |[m, n, k]: [usize; 3], activation: Activation, wide: bool| {
        let op = LinearBackwardInput { activation, wide };
        let name = format!("derivative {m}x{n}x{k}_{activation:?}{}", if wide { "_wide" } else { "" }).to_lowercase();
        let case = Case::of(name, move |b, v| b.apply1(op, v)).normal("dy", [m, n]).normal("w", [n, k]);
        let case = if activation == Activation::None { case } else { case.normal("saved", [m, k]) };
        case.without_gradients()
    };
    use Activation::{Gelu, None, Relu};
    let mut cases = vec![
        residual([5, 3, 7], None, true, false),
        residual([5, 3, 7], Gelu, false, false),
        residual([33, 17, 65], None, false, true),
        residual([1, 97, 130], Relu, true, true).without_gradients(),
        residual([3, 40, 600], None, true, false).without_gradients(),
        residual([16, 9, 1036], Gelu, true, true).without_gradients(),
        residual([20, 40, 600], None, true, true),
        residual([160, 64, 64], Gelu, true, true),
        residual([160, 64, 64], None, true, false),
        residual([328, 264, 72], None, true, true).without_gradients(),
        residual([328, 264, 72], Relu, true, false).without_gradients(),
        residual([24, 40, 3080], None, true, true).without_gradients(),
        residual([0, 3, 7], None, true, false),
        wide([5, 3, 7], None),
        wide([160, 64, 64], Gelu),
        wide([328, 264, 72], Relu).without_gradients(),
        wide([24, 40, 3080], None).without_gradients(),
        wide([3, 40, 600], None).without_gradients(),
    ];
    for (extents, activation, is_wide) in [
        ([5, 3, 7], Gelu, false),
        ([5, 3, 7], Relu, true),
        ([160, 64, 64], Relu, false),
        ([160, 64, 64], None, true),
        ([328, 72, 264], Gelu, true),
        ([24, 3080, 40], Gelu, false),
        ([3, 600, 40], Relu, false),
        ([0, 3, 7], Gelu, false),
    ] {
        cases.push(derivative(extents, activation, is_wide));
    }
    cases
}
