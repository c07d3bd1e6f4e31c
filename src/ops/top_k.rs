//! The k largest elements of the last dimension, in falling order, with their indices: [.., k] and i32 [.., k] for [.., D].
//!
//! Of equal ones the first comes first. NaN is passed over while anything else is left. No gradient. Each row is searched in blocks: only
//! a block whose maximum exceeds the smallest of the k found so far is looked into, so a pass over a vocabulary is one vectorised maximum.

use super::Row;
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, max, vectorized};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, ..Row::new("top_k", cases) };

/// The operator. Outputs: values, indices.
#[derive(Debug, Clone, Copy)]
pub struct TopK {
    /// How many.
    pub k: usize,
}

/// The `k` largest elements of the last dimension, in falling order, and their indices.
///
/// # Errors
/// [`crate::Error::Op`] for integers, and where the last dimension has fewer than `k`.
pub fn top_k(b: &mut Builder, x: Value, k: usize) -> Result<(Value, Value)> {
    let outputs = b.apply(TopK { k }, &[x])?;
    Ok((outputs[0], outputs[1]))
}

impl Op for TopK {
    fn stem(&self) -> &'static str {
        "top_k"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("top_k");
        check.count(inputs, 1)?;
        let x = &inputs[0];
        check.float("x", x)?;
        let fits = x.shape.last().is_some_and(|&width| (1..=width).contains(&self.k));
        check.that(fits, "x", format!("at least {} in the last dimension", self.k.max(1)), x)?;
        let shape = x.shape.with_last(self.k);
        Ok(vec![x.with_shape(shape), TensorType::i32(shape)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

/// Elements of which the maximum is taken at once.
const BLOCK: usize = 512;

/// Calls `work(row, y)` for the result of each row of `width` elements, in parallel.
pub(super) fn each_row<E: Send>(y: &mut [E], width: usize, work: impl Fn(usize, &mut E) + Sync) {
    let rows = (16 * 1024 / width.max(1)).max(1);
    y.par_chunks_mut(rows).enumerate().for_each(|(task, y)| {
        vectorized(
            #[inline(always)]
            || {
                for (i, y) in y.iter_mut().enumerate() {
                    work(task * rows + i, y);
                }
            },
        );
    });
}

impl TopK {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (_, width) = args.ty(0).shape.rows_and_width();
        let (x, values, indices) = (args.floats(0)?, args.out(0)?, args.out_ints(1)?);
        let mut rows: Vec<_> = values.chunks_exact_mut(self.k).zip(indices.chunks_exact_mut(self.k)).collect();
        each_row(
            &mut rows,
            width,
            #[inline(always)]
            |row, (values, indices)| search(&x[row * width..][..width], values, indices),
        );
        Ok(())
    }
}

/// Fills `values` and `indices` with the largest of `x`.
#[inline(always)]
fn search<T: Real>(x: &[T], values: &mut [T], indices: &mut [i32]) {
    let last = values.len() - 1;
    let mut found = 0;
    for (b, block) in x.chunks(BLOCK).enumerate() {
        if found > last && !above(max(block), values[last]) {
            continue;
        }
        for (i, &x) in block.iter().enumerate() {
            if found <= last || above(x, values[last]) {
                found += 1;
                // Makes room from the back; equal ones keep their order.
                let mut at = (found - 1).min(last);
                while at > 0 && above(x, values[at - 1]) {
                    values[at] = values[at - 1];
                    indices[at] = indices[at - 1];
                    at -= 1;
                }
                values[at] = x;
                indices[at] = (b * BLOCK + i) as i32;
            }
        }
    }
}

/// Larger, where NaN counts as less than anything.
#[inline(always)]
#[allow(clippy::eq_op)]
fn above<T: Real>(a: T, b: T) -> bool {
    a > b || (b != b && a == a)
}

fn cases() -> Vec<Case> {
    let build = |name: String, k: usize| {
        Case::new(name, move |b, v| {
            let (values, indices) = top_k(b, v[0], k)?;
            Ok(vec![("values", values), ("indices", indices)])
        })
    };
    let case = |dims: &[usize], k: usize| build(format!("{dims:?}_{k}"), k).fixed("x", dims_of(dims), Fill::Distinct);
    let ties = build("ties".to_owned(), 3).fixed("x", [2, 5], Fill::Values(vec![1.0, 4.0, 1.0, 4.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    vec![
        case(&[1], 1),
        case(&[37], 1),
        case(&[37], 37),
        case(&[2, 3, 5], 2),
        case(&[67, 131], 7),
        case(&[3, 5003], 10),
        ties,
        case(&[3, 30524], 6).large(),
    ]
}
