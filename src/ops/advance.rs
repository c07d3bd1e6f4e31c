//! Counts applied updates: `step <- step + 1` where the flag is not 0.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("advance");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("advance");

/// The row of the table.
pub const ROW: Row = Row { wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("advance", head!("advance.rs"), cases) };

/// Inputs: step i32\[1\], finite i32\[1\]. Updates the step.
#[derive(Debug, Clone, Copy)]
pub struct Advance;

/// Adds 1 to the state `step` i32\[1\] where `finite` i32\[1\] is not 0.
///
/// # Errors
/// [`crate::Error::Op`] where either is not i32\[1\], [`crate::Error::Graph`] where `step` is no state.
pub fn advance(b: &mut Builder, step: Value, finite: Value) -> Result<()> {
    b.apply(Advance, &[step, finite]).map(drop)
}

impl Advance {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let finite = args.ints(1)?[0];
        let step = &mut args.state_ints(0)?[0];
        *step = step.saturating_add(i32::from(finite != 0));
        Ok(())
    }
}

impl Op for Advance {
    fn stem(&self) -> &'static str {
        "advance"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("advance");
        check.count(inputs, 2)?;
        for (name, ty) in ["step", "finite"].into_iter().zip(inputs) {
            check.int(name, ty)?;
            check.shape(name, ty, &[1])?;
        }
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, &inputs[..1])
    }

    fn updates(&self) -> Vec<usize> {
        vec![0]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        launch.add(cuda::Dispatch::new(&KERNELS, "advance_forward_i32").overlaps().tensors([cuda::Operand::Input(0), cuda::Operand::Input(1)]).block(1));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.add(Dispatch::new(SHADER, "advance_forward_i32", [Operand::Update(0), Operand::Input(1)]));
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, from: i32, finite: i32, want: f64| {
        Case::new(name, |b, v| advance(b, v[0], v[1]).map(|()| Vec::new()))
            .state("step", TensorType::i32([1]), Fill::Exact(vec![from]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
            .expects("step", vec![want])
    };
    vec![
        case("applied", 41, 1, 42.0),
        case("applied by any number", 41, -1, 42.0),
        case("skipped", 41, 0, 41.0),
        case("at the end", i32::MAX, 1, i32::MAX.into()),
    ]
}
