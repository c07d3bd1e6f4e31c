//! Mean over the positions of a sequence that count: `y[b, d] = sum over l of m[b, l] x[b, l, d] / sum over l of m[b, l]`.
//!
//! x is [B, L, D]; the mask i32[B, L] is not 0 where a position counts. Positions that do not count are not read, whatever they hold.
//! Where none counts, y and the gradient are 0. `dx[b, l, d] = dy[b, d] / n_b` where the position counts, else 0.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_heavy_rows, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("masked_mean");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/columns", "common/column_sums", "masked_mean");

/// Positions of a workgroup of the backward pass.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const POSITIONS: usize = 8;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|_, b, input| Ok(vec![("y", masked_mean(b, input("x")?, input("mask")?)?)])),
    ..Row::new("masked_mean", head!("masked_mean.rs"), cases)
};

/// The forward pass. Inputs: x [B, L, D], mask i32[B, L]. Output: y [B, D].
#[derive(Debug, Clone, Copy)]
pub struct MaskedMean;

/// The gradient of x [B, L, D]. Inputs: dy [B, D], mask i32[B, L].
#[derive(Debug, Clone, Copy)]
pub struct MaskedMeanBackward;

/// The mean of `x` [B, L, D] over the positions where `mask` i32[B, L] is not 0.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn masked_mean(b: &mut Builder, x: Value, mask: Value) -> Result<Value> {
    b.apply1(MaskedMean, &[x, mask])
}

/// 1 / the number of positions that count, or 0.
fn share<T: Real>(mask: &[i32]) -> T {
    match mask.iter().filter(|&&m| m != 0).count() {
        0 => T::ZERO,
        n => T::ONE / T::of(n as f64),
    }
}

impl MaskedMean {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let (length, width) = (args.shape(0)[1], args.shape(0)[2]);
        let (x, mask) = (args.floats(0)?, args.ints(1)?);
        for_heavy_rows(
            args.out(0)?,
            width,
            length * width,
            #[inline(always)]
            |b, y| {
                let mask = &mask[b * length..][..length];
                y.fill(T::ZERO);
                for (l, _) in mask.iter().enumerate().filter(|(_, m)| **m != 0) {
                    for (y, &x) in y.iter_mut().zip(&x[(b * length + l) * width..]) {
                        *y += x;
                    }
                }
                let share = share(mask);
                for y in y {
                    *y *= share;
                }
            },
        );
        Ok(())
    }
}

impl Op for MaskedMean {
    fn stem(&self) -> &'static str {
        "masked_mean"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("masked_mean");
        check.count(inputs, 2)?;
        let (x, mask) = (&inputs[0], &inputs[1]);
        check.float("x", x)?;
        check.rank("x", x, 3)?;
        check.int("mask", mask)?;
        check.shape("mask", mask, &x.shape[..2])?;
        Ok(vec![x.with_shape([x.shape[0], x.shape[2]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming((inputs[0].len() + outputs[0].len()) as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let [batch, length, width] = [0, 1, 2].map(|d| launch.ty(0).shape[d]);
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        if batch > 0 {
            let kernel = cuda::Dispatch::new(&KERNELS, "masked_mean_forward_f32").tensors(tensors);
            launch.sum_parts(cuda::Columns::by(length, batch * length, width), kernel, |dispatch| dispatch);
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.in_pieces(launch.ty(0).shape[0], &[Operand::Input(0), Operand::Input(1), Operand::Output(0)], |launch| {
            let extents = [0, 1, 2].map(|d| launch.ty(0).shape[d]);
            let (columns, dispatch) = dispatch("masked_mean_forward_f32", extents);
            launch.sum_parts(columns, Summed::Sums(2), dispatch);
        });
        Ok(())
    }
}

/// A kernel on [B, L, D], and that as a matrix whose parts are the B.
#[cfg(feature = "wgpu")]
fn dispatch(entry: &str, [batch, length, width]: [usize; 3]) -> (Columns, Dispatch) {
    let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
    let dispatch = Dispatch::new(SHADER, entry, operands).constant("POSITIONS", format!("{POSITIONS}u"));
    (Columns::by(length, batch * length, width), dispatch)
}

impl MaskedMeanBackward {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let (length, width) = (args.shape(1)[1], args.shape(0)[1]);
        let (dy, mask) = (args.floats(0)?, args.ints(1)?);
        for_rows(
            args.out(0)?,
            length * width,
            #[inline(always)]
            |b, dx| {
                let mask = &mask[b * length..][..length];
                let share = share(mask);
                for (dx, &counts) in dx.chunks_mut(width).zip(mask) {
                    let share = if counts == 0 { T::ZERO } else { share };
                    for (dx, &dy) in dx.iter_mut().zip(&dy[b * width..]) {
                        *dx = dy * share;
                    }
                }
            },
        );
        Ok(())
    }
}

impl Op for MaskedMeanBackward {
    fn stem(&self) -> &'static str {
        "masked_mean"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("masked_mean");
        check.count(inputs, 2)?;
        let (dy, mask) = (&inputs[0], &inputs[1]);
        check.rank("dy", dy, 2)?;
        check.rank("mask", mask, 2)?;
        check.that(dy.shape[0] == mask.shape[0], "dy", format!("{} rows", mask.shape[0]), dy)?;
        Ok(vec![dy.with_shape([mask.shape[0], mask.shape[1], dy.shape[1]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (mask, width) = (launch.ty(1).shape, launch.ty(0).shape[1]);
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        let dispatch = cuda::Dispatch::new(&KERNELS, "masked_mean_backward_f32").tensors(tensors).sizes([mask[1], width]);
        launch.add(dispatch.rows(mask[0] * mask[1].div_ceil(POSITIONS)));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.in_pieces(launch.ty(0).shape[0], &[Operand::Input(0), Operand::Input(1), Operand::Output(0)], |launch| {
            let (mask, width) = (launch.ty(1).shape, launch.ty(0).shape[1]);
            let extents = [mask[0], mask[1], width];
            let (columns, mut dispatch) = dispatch("masked_mean_backward_f32", extents);
            dispatch.operands.insert(0, Operand::Nowhere);
            launch.add(columns.sum(0, Summed::Sums(2), dispatch).rows(mask[0] * mask[1].div_ceil(POSITIONS)));
        });
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op = MaskedMeanBackward;
    let mask = cx.input(1);
    if let Some(dy) = cx.grad(0) {
        cx.set_by(0, op, &[dy, mask])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |b: usize, l: usize, d: usize, mask: Fill| {
        Case::of(format!("{b}x{l}x{d}"), |b, v| masked_mean(b, v[0], v[1])).normal("x", [b, l, d]).ints("mask", [b, l], mask)
    };
    vec![
        case(1, 1, 1, Fill::PrefixMask),
        case(3, 5, 7, Fill::PrefixMask),
        case(0, 5, 7, Fill::PrefixMask),
        case(6, 64, 64, Fill::PrefixMask),
        case(2, 6, 3, Fill::Exact(vec![0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0])),
        case(2, 5, 3, Fill::Exact(vec![2, 0, -1, 3, 0, 0, 0, -7, 0, 0])),
        case(7, 61, 130, Fill::PrefixMask),
        case(2, 301, 259, Fill::Exact((0..602).map(|i| i32::from(i % 7 != 3)).collect())),
        case(32, 61, 768, Fill::PrefixMask).large(),
    ]
}
