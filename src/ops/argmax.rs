//! The index of the largest element of each row; among equals the lowest.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, Shape, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("argmax");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/order", "argmax");
/// Elements of a row that one workgroup looks through.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const SHARE: usize = 2048;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("argmax", head!("argmax.rs"), cases) };

/// Inputs: x [.., N]. Output: i32 [..]. NaN is never the largest.
#[derive(Debug, Clone, Copy)]
pub struct Argmax;

/// The index of the largest element of each row. It has no gradient.
///
/// # Errors
/// [`crate::Error::Op`] for rows without elements.
pub fn argmax(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(Argmax, &[x])
}

impl Op for Argmax {
    fn stem(&self) -> &'static str {
        "argmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("argmax");
        check.count(inputs, 1)?;
        check.float("x", &inputs[0])?;
        let (leading, row) = match inputs[0].shape.split_last() {
            Some((&row, leading)) => (leading, row),
            None => (&[][..], 0),
        };
        check.that(row > 0, "x", "rows of at least one element", inputs[0])?;
        Ok(vec![TensorType::new(DType::I32, Shape::new(leading)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let parts = width.div_ceil(SHARE);
        // Two words for each part.
        let firsts = if parts > 1 { launch.scratch(2 * rows * parts) } else { cuda::Operand::Nothing };
        let (x, y) = (cuda::Operand::Input(0), cuda::Operand::Output(0));
        launch.add(cuda::Dispatch::new(&KERNELS, "argmax_parts_f32").tensors([x, firsts, y]).sizes([width, parts]).rows(rows * parts));
        if parts > 1 {
            launch.add(cuda::Dispatch::new(&KERNELS, "argmax_forward_f32").tensors([firsts, y]).sizes([parts]).rows(rows));
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &[Operand::Input(0), Operand::Output(0)], |launch| {
            let (rows, width) = launch.ty(0).shape.rows_and_width();
            let parts = width.div_ceil(SHARE);
            let split = parts > 1;
            // Two words for each part.
            let firsts = if split { launch.scratch(2 * rows * parts) } else { Operand::Nowhere };
            let of = |entry: &str, x: Operand| {
                let dispatch = Dispatch::new(SHADER, entry, [x, firsts, Operand::Output(0)]).constant("SHARE", format!("{SHARE}u"));
                dispatch.size(rows).size(width).size(parts)
            };
            launch.add(of("argmax_parts_f32", Operand::Input(0)).rows(rows * parts));
            if split {
                launch.add(of("argmax_forward_f32", Operand::Nothing).rows(rows));
            }
        });
        Ok(())
    }
}

fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (_, n) = args.ty(0).shape.rows_and_width();
    let (x, y) = (args.floats(0)?, args.out_ints(0)?);
    y.par_iter_mut().zip(x.par_chunks(n)).for_each(|(y, x)| {
        let mut best = (T::LOWEST, 0);
        for (i, &v) in x.iter().enumerate() {
            if v > best.0 {
                best = (v, i);
            }
        }
        *y = best.1 as i32;
    });
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |name: &str, dims: &[usize], fill: Fill| Case::of(name, |b, v| argmax(b, v[0])).fixed("x", dims_of(dims), fill);
    vec![
        case("1", &[1], Fill::Normal(0.0, 1.0)),
        case("no rows", &[0, 7], Fill::Normal(0.0, 1.0)),
        case("128 rows", &[128, 64], Fill::Normal(0.0, 1.0)),
        case("5x7", &[5, 7], Fill::Normal(0.0, 1.0)),
        case("ties", &[2, 3], Fill::Values(vec![1.0, 2.0, 2.0, 5.0, 5.0, 5.0])),
        case("3x5000", &[3, 5000], Fill::Normal(0.0, 1.0)),
        case("ties far apart", &[1, 5000], Fill::Values((0..5000).map(|i| f64::from(u8::from(i % 1009 == 1000))).collect())),
        case("below zero", &[1, 300], Fill::Values((0..300).map(|i| -1.0 - f64::from((i - 280_i32).abs())).collect())),
        case("signed zeros", &[1, 3], Fill::Values(vec![-1.0, -0.0, 0.0])),
        case("nothing is a number", &[1, 3], Fill::Values(vec![f64::NAN; 3])),
        case("not a number", &[1, 3], Fill::Values(vec![f64::NAN, -1.0, f64::NAN])),
        case("2x3x1009", &[2, 3, 1009], Fill::Normal(0.0, 1.0)),
        case("8x30524", &[8, 30524], Fill::Normal(0.0, 1.0)).large(),
    ]
}
