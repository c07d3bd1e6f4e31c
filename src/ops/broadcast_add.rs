//! A sum in which one tensor is repeated: `y = x + r`, where r's extents are the last extents of x. A position table onto a batch, a bias
//! onto rows.

use super::{Kernel, Row};
use super::support::case::Case;
use super::support::elementwise::dims_of;
#[cfg(feature = "wgpu")]
use super::support::elementwise::{Runs, pairwise};
use crate::device::cpu::{Args, Real, for_rows, sum_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Launch, Operand, Summed, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("broadcast_add");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/in_place", "common/map", "broadcast_add");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("broadcast_add", head!("broadcast_add.rs"), cases) };

/// The sum; in place of x. Inputs: x, r.
#[derive(Debug, Clone, Copy)]
pub struct BroadcastAdd;

/// The gradient of r: the sum of dy over the leading dimensions.
#[derive(Debug, Clone, Copy)]
pub struct BroadcastAddBackward {
    /// The extents of r.
    pub shape: Shape,
}

/// `x` plus `repeated` at every index of the dimensions that `repeated` lacks.
///
/// # Errors
/// [`crate::Error::Op`] where the last extents of x are not those of `repeated`.
pub fn broadcast_add(b: &mut Builder, x: Value, repeated: Value) -> Result<Value> {
    b.apply1(BroadcastAdd, &[x, repeated])
}

impl Op for BroadcastAdd {
    fn stem(&self) -> &'static str {
        "broadcast_add"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("broadcast_add");
        check.count(inputs, 2)?;
        let (x, r) = (&inputs[0], &inputs[1]);
        check.float("x", x)?;
        check.that(x.shape.ends_with(&r.shape) && r.dtype == x.dtype && !r.is_empty(), "repeated", format!("the last extents of {x}"), r)?;
        Ok(vec![*x])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        forward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        forward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (n, inner) = (launch.ty(0).len(), launch.ty(1).len());
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        let kernel = format!("broadcast_add_forward_{}", launch.dtype());
        launch.add(cuda::Dispatch::new(&KERNELS, kernel).tensors(tensors).count(n).sizes([inner]).over_fours(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let inner = launch.ty(1).len();
        let runs = Runs::Alike(launch.ty(0).len() / inner.max(1));
        pairwise(launch, SHADER, "broadcast_add_forward_f32", runs, |dispatch| dispatch.size(inner));
        Ok(())
    }
}

fn forward<T: Real>(args: &mut Args<T>) -> Result<()> {
    let r = args.floats(1)?;
    let (x, y) = args.in_out(0, 0)?;
    let n = r.len();
    for_rows(
        y,
        n,
        #[inline(always)]
        |row, y| match x {
            Some(x) => {
                for ((y, &x), &r) in y.iter_mut().zip(&x[row * n..]).zip(r) {
                    *y = x + r;
                }
            }
            None => {
                for (y, &r) in y.iter_mut().zip(r) {
                    *y += r;
                }
            }
        },
    );
    Ok(())
}

impl Op for BroadcastAddBackward {
    fn stem(&self) -> &'static str {
        "broadcast_add"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("broadcast_add");
        check.count(inputs, 1)?;
        check.that(inputs[0].shape.ends_with(&self.shape), "dy", format!("last extents {}", self.shape), inputs[0])?;
        Ok(vec![inputs[0].with_shape(self.shape)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        fold(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        fold(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (n, inner) = (launch.ty(0).len(), self.shape.len());
        let name = format!("broadcast_add_backward_{}", launch.dtype());
        let kernel = |partials| cuda::Dispatch::new(&KERNELS, name.clone()).tensors([partials, cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        launch.sum_columns(cuda::Columns::summed(n / inner.max(1), inner), cuda::Summed::Sums(1), kernel, |dispatch| dispatch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (n, inner) = (launch.ty(0).len(), self.shape.len());
        let sums = super::reduce::leading([Operand::Input(0), Operand::Output(0)], 1.0, "Real");
        launch.sum_columns(Columns::summed(n / inner.max(1), inner), Summed::Sums(1), sums, &[Operand::Input(0)]);
        Ok(())
    }
}

fn fold<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (dy, dr) = (args.floats(0)?, args.out(0)?);
    let n = dr.len();
    sum_rows(
        dr,
        dy.len() / n.max(1),
        #[inline(always)]
        |row, sum| {
            for (s, &d) in sum.iter_mut().zip(&dy[row * n..]) {
                *s += d;
            }
        },
    );
    Ok(())
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    cx.set(0, dy);
    let r = cx.input(1);
    let shape = cx.builder().shape(r);
    cx.set_by(1, BroadcastAddBackward { shape }, &[dy])
}

fn cases() -> Vec<Case> {
    let case = |x: &[usize], r: &[usize]| Case::of(format!("{x:?}+{r:?}"), |b, v| broadcast_add(b, v[0], v[1])).normal("x", dims_of(x)).normal("r", dims_of(r));
    vec![
        case(&[0, 7], &[7]),
        case(&[1], &[1]),
        case(&[3, 7], &[7]),
        case(&[2, 5, 3], &[5, 3]),
        case(&[4, 3], &[4, 3]),
        case(&[301, 33], &[33]),
        case(&[256, 64], &[64]),
        case(&[8, 577, 768], &[577, 768]).large(),
    ]
}
