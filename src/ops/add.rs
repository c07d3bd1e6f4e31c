//! Sum of two tensors: `y = a + b`, element by element.

use super::{Kernel, Row};
use super::support::case::Case;
use super::support::elementwise::{dims_of, zip};
#[cfg(feature = "wgpu")]
use super::support::elementwise::{Runs, pairwise};
use crate::device::cpu::Args;
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Launch, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("add");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("add", head!("add.rs"), cases) };

/// `a + b` of one shape and type; in place of either.
#[derive(Debug, Clone, Copy)]
pub struct Add;

/// `a + b`, both of one shape and type.
///
/// # Errors
/// [`crate::Error::Op`] where they differ.
pub fn add(b: &mut Builder, x: Value, y: Value) -> Result<Value> {
    b.apply1(Add, &[x, y])
}

impl Op for Add {
    fn stem(&self) -> &'static str {
        "add"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("add");
        check.count(inputs, 2)?;
        check.float("a", &inputs[0])?;
        check.same("b", &inputs[1], &inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0), (1, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        zip(
            args,
            #[inline(always)]
            |a, b| a + b,
        )
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        zip(
            args,
            #[inline(always)]
            |a, b| a + b,
        )
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let n = launch.ty(0).len();
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        launch.add(cuda::Dispatch::new(&KERNELS, format!("add_forward_{}", launch.dtype())).tensors(tensors).count(n).over_fours(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let runs = Runs::Apart(launch.ty(0).len());
        pairwise(launch, shader!("common/in_place", "common/map", "add"), "add_forward_f32", runs, |dispatch| dispatch);
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        cx.set(0, dy);
        cx.set(1, dy);
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 5] = [&[0, 7], &[1], &[17], &[3, 5, 7], &[9001]];
    let case = |dims: &[usize]| Case::of(format!("{dims:?}"), |b, v| add(b, v[0], v[1])).normal("a", dims_of(dims)).normal("b", dims_of(dims));
    let twice = Case::of("a+a", |b, v| add(b, v[0], v[0])).normal("a", [33]);
    shapes.iter().map(|d| case(d)).chain([twice, case(&[577, 768]).large()]).collect()
}
