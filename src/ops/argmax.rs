//! Where the largest element of the last dimension stands: i32 [..] for [.., D]. Of equal ones the first; NaN is passed over, and a row of
//! NaN alone gives 0. No gradient.

use super::Row;
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, max};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, ..Row::new("argmax", cases) };

/// The operator.
#[derive(Debug, Clone, Copy)]
pub struct ArgMax;

/// The index of the largest element of the last dimension.
///
/// # Errors
/// [`crate::Error::Op`] for integers, and where the last dimension is empty.
pub fn argmax(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(ArgMax, &[x])
}

impl Op for ArgMax {
    fn stem(&self) -> &'static str {
        "argmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("argmax");
        check.count(inputs, 1)?;
        check.float("x", &inputs[0])?;
        let rows = inputs[0].shape.split_last().filter(|(width, _)| **width > 0).map(|(_, rows)| rows);
        check.that(rows.is_some(), "x", "a last dimension that is not empty", inputs[0])?;
        Ok(vec![TensorType::new(DType::I32, dims_of(rows.unwrap_or(&[])))])
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
}

fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (_, width) = args.ty(0).shape.rows_and_width();
    let (x, y) = (args.floats(0)?, args.out_ints(0)?);
    super::top_k::each_row(y, width, |row, y| {
        let x = &x[row * width..][..width];
        let top = max(x);
        *y = x.iter().position(|&x| x == top).unwrap_or(0) as i32;
    });
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &[usize]| Case::new(format!("{dims:?}"), |b, v| Ok(vec![("y", argmax(b, v[0])?)])).fixed("x", dims_of(dims), Fill::Distinct);
    let x = vec![2.0, 5.0, 5.0, -1.0, -3.0, -1.0, 7.0, 7.0, 7.0, -9.0, f64::NEG_INFINITY, -8.0];
    let ties = Case::new("ties", |b, v| Ok(vec![("y", argmax(b, v[0])?)])).fixed("x", [4, 3], Fill::Values(x));
    vec![case(&[1]), case(&[37]), case(&[2, 3, 5]), case(&[67, 131]), ties, case(&[3, 30524]).large()]
}
