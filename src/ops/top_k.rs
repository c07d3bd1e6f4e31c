//! The k largest of each row, falling, with their indices; among equals the lower index first.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::{Error, Result};
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("top_k");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/order", "top_k");
/// Elements of a row that one invocation holds.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const EACH: usize = 8;
/// Elements of a row that one workgroup of 256 looks through.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const PART: usize = 256 * EACH;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("top_k", head!("top_k.rs"), cases) };

/// Inputs: x [.., N]. Outputs: values [.., k] and indices i32 [.., k]. NaN counts as the smallest.
#[derive(Debug, Clone, Copy)]
pub struct TopK {
    /// How many of each row.
    pub k: usize,
}

/// (values, indices) of the `k` largest of each row. It has no gradient.
///
/// # Errors
/// [`crate::Error::Op`] where a row has fewer than `k`.
pub fn top_k(b: &mut Builder, x: Value, k: usize) -> Result<(Value, Value)> {
    match b.apply(TopK { k }, &[x])?[..] {
        [values, indices] => Ok((values, indices)),
        _ => Err(Error::graph("top_k", "two outputs", "another number")),
    }
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
        check.that((1..=x.shape.rows_and_width().1).contains(&self.k), "x", format!("at least {} a row", self.k), x)?;
        let values = x.with_shape(x.shape.with_last(self.k));
        Ok(vec![values, TensorType::new(DType::I32, values.shape)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args, self.k)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args, self.k)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let parts = width.div_ceil(PART);
        // Two words for each that was found.
        let found = if parts > 1 { launch.scratch(2 * rows * parts * self.k) } else { cuda::Operand::Nothing };
        let tensors = [cuda::Operand::Input(0), found, cuda::Operand::Output(0), cuda::Operand::Output(1)];
        let of = |kernel: &str| cuda::Dispatch::new(&KERNELS, kernel).overlaps().tensors(tensors).sizes([width, parts, self.k]);
        launch.add(of("top_k_parts_f32").rows(rows * parts));
        if parts > 1 {
            launch.add(of("top_k_forward_f32").rows(rows));
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [x, values, indices] = [Operand::Input(0), Operand::Output(0), Operand::Output(1)];
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &[x, values, indices], |launch| {
            let (rows, width) = launch.ty(0).shape.rows_and_width();
            let parts = width.div_ceil(PART);
            let split = parts > 1;
            // Two words for each that was found.
            let found = if split { launch.scratch(2 * rows * parts * self.k) } else { Operand::Nowhere };
            let of = |entry: &str| {
                let dispatch = Dispatch::new(SHADER, entry, [x, found, values, indices]).constant("EACH", format!("{EACH}u"));
                dispatch.size(rows).size(width).size(parts).size(self.k)
            };
            launch.add(of("top_k_parts_f32").rows(rows * parts));
            if split {
                launch.add(of("top_k_forward_f32").rows(rows));
            }
        });
        Ok(())
    }
}

/// One pass a row: most elements are not larger than the least of the best so far, and cost one comparison.
fn run<T: Real>(args: &mut Args<T>, k: usize) -> Result<()> {
    let (_, n) = args.ty(0).shape.rows_and_width();
    let (x, values, indices) = (args.floats(0)?, args.out(0)?, args.out_ints(1)?);
    let rows = values.par_chunks_mut(k).zip(indices.par_chunks_mut(k)).zip(x.par_chunks(n));
    rows.for_each(|((values, indices), x)| {
        let mut held = 0;
        for (i, &v) in x.iter().enumerate() {
            let v = v.max(T::LOWEST);
            if held == k && v <= values[k - 1] {
                continue;
            }
            let mut at = held.min(k - 1);
            while at > 0 && values[at - 1] < v {
                (values[at], indices[at]) = (values[at - 1], indices[at - 1]);
                at -= 1;
            }
            (values[at], indices[at]) = (v, i as i32);
            held = (held + 1).min(k);
        }
    });
    Ok(())
}

/// The cases of [`super::argmax`] too: ties, one element, rows longer than any block.
fn cases() -> Vec<Case> {
    let case = |name: &str, dims: &[usize], k: usize, fill: Fill| {
        Case::new(name, move |b, v| {
            let (values, indices) = top_k(b, v[0], k)?;
            Ok(vec![("values", values), ("indices", indices)])
        })
        .fixed("x", dims_of(dims), fill)
    };
    vec![
        case("1 of 1", &[1], 1, Fill::Normal(0.0, 1.0)),
        case("3 of none", &[0, 7], 3, Fill::Normal(0.0, 1.0)),
        case("16 rows", &[16, 64], 8, Fill::Normal(0.0, 1.0)),
        case("3 of 7", &[5, 7], 3, Fill::Normal(0.0, 1.0)),
        case("ties", &[2, 6], 4, Fill::Values(vec![1.0, 2.0, 2.0, 0.0, 2.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])),
        case("7 of 1009", &[2, 3, 1009], 7, Fill::Normal(0.0, 1.0)),
        case("5 of 5000", &[3, 5000], 5, Fill::Normal(0.0, 1.0)),
        case("1000 of 5000", &[1, 5000], 1000, Fill::Normal(0.0, 1.0)),
        case("ties far apart", &[1, 5000], 6, Fill::Values((0..5000).map(|i| f64::from(u8::from(i % 1009 == 1000))).collect())),
        case("all", &[3, 5], 5, Fill::Distinct),
        case("7 of 30524", &[3, 30524], 7, Fill::Normal(0.0, 1.0)).large(),
    ]
}
