//! What a device can do at most: every number goes through `rounds` of `v <- a v + b`, and with none of them is copied.
//!
//! The model does not run it. `escnet peaks` measures the roofs with it that other operators are held against: with no rounds the rate at which memory is
//! read and written, with many that of multiply-adds in f32. Numbers stay near `b / (1 - a)`, so that any number of rounds is exact enough to be checked.

use super::support::case::{Case, Fill};
use super::{Kernel, Row};
use crate::device::cpu::{Args, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("peak", head!("peak.rs"), cases) };

const A: f32 = 0.75;
const B: f32 = 0.125;
/// Numbers of an invocation: they go through their rounds side by side.
const EACH: usize = 4;
/// Numbers that a core takes through their rounds at once: more than the latency of a multiply-add hides behind.
const SIDE_BY_SIDE: usize = 256;

/// Inputs: x, of a multiple of four numbers. Output: y of its type.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// How often a number is multiplied and added to.
    pub rounds: usize,
}

/// `x` after so many rounds.
///
/// # Errors
/// [`crate::Error::Op`] where x is not f32, or its length no multiple of four.
pub fn peak(b: &mut Builder, x: Value, rounds: usize) -> Result<Value> {
    b.apply1(Peak { rounds }, &[x])
}

impl Op for Peak {
    fn stem(&self) -> &'static str {
        "peak"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("peak");
        check.count(inputs, 1)?;
        check.that(inputs[0] == TensorType::f32(inputs[0].shape) && inputs[0].len().is_multiple_of(EACH), "x", "f32, a multiple of four numbers", inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(2 * (self.rounds * inputs[0].len()) as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let (x, y) = args.in_out(0, 0)?;
        for (i, y) in y.iter_mut().enumerate() {
            *y = (0..self.rounds).fold(x.map_or(*y, |x| x[i]), |v, _| v * f64::from(A) + f64::from(B));
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let (x, y) = args.in_out(0, 0)?;
        let rounds = self.rounds;
        for_rows(
            y,
            SIDE_BY_SIDE,
            #[inline(always)]
            |row, y| {
                if let Some(x) = x {
                    y.copy_from_slice(&x[row * SIDE_BY_SIDE..][..y.len()]);
                }
                let Ok(y) = <&mut [f32; SIDE_BY_SIDE]>::try_from(&mut *y) else {
                    return y.iter_mut().for_each(|y| *y = (0..rounds).fold(*y, |v, _| v.mul_add(A, B)));
                };
                let mut v = *y;
                for _ in 0..rounds {
                    v.iter_mut().for_each(|v| *v = v.mul_add(A, B));
                }
                *y = v;
            },
        );
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        const KERNELS: cuda::Image = cuda::image!("peak");
        let fours = launch.ty(0).len() / EACH;
        let dispatch = cuda::Dispatch::new(&KERNELS, "peak_forward_f32").tensors([cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        launch.add(dispatch.count(fours).sizes([self.rounds]).number(A.into()).number(B.into()).over(fours));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Input(0), Operand::Output(0)];
        launch.in_pieces(launch.ty(0).len() / EACH, &operands, |launch| {
            let fours = launch.ty(0).len() / EACH;
            let dispatch = Dispatch::new(shader!("peak"), "peak_forward_f32", operands);
            launch.add(dispatch.size(fours).size(self.rounds).number(A.into()).number(B.into()).over(fours));
        });
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let case = |n: usize, rounds: usize| Case::of(format!("{n}, {rounds} rounds"), move |b, v| peak(b, v[0], rounds)).fixed("x", [n], Fill::Normal(0.0, 1.0));
    let known = Case::of("known", |b, v| peak(b, v[0], 2)).fixed("x", [4], Fill::Values(vec![0.0, 16.0, -16.0, 0.5]));
    let known = known.expects("y", vec![0.21875, 9.21875, -8.78125, 0.5]);
    vec![known, case(4, 0), case(1028, 0), case(260, 1), case(2052, 33)]
}
