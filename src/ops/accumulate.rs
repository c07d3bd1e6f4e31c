//! Adds a gradient to its state over micro-steps: `state <- grad` in the first, `state <- state + grad` in the others. Where the loss
//! was scaled, the gradient is divided by the scale on its way.
//!
//! Which micro-step it is stands on the device, as the last number of `[seed_lo, seed_hi, step, micro_step]`; no pass is needed to clear
//! the state.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("accumulate");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("accumulate");

/// The row of the table.
pub const ROW: Row = Row {
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    fill: |_, _, i| (i == 3).then(|| Fill::Values(vec![1024.0])),
    ..Row::new("accumulate", head!("accumulate.rs"), cases)
};

/// Inputs: state, the gradient of the same shape, control i32\[4\] and, where there is one, the loss scale f32\[1\]. Updates the state.
#[derive(Debug, Clone, Copy)]
pub struct Accumulate;

/// Adds `grad` to `state`, or puts it there where `control` i32\[4\], `[seed_lo, seed_hi, step, micro_step]`, is at micro-step 0.
///
/// * `scale` f32\[1\]: what the loss was multiplied by. A power of two, so that dividing by it is exact; what overflowed stays infinite.
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ, [`crate::Error::Graph`] where `state` is none.
pub fn accumulate(b: &mut Builder, state: Value, grad: Value, control: Value, scale: Option<Value>) -> Result<()> {
    let inputs: Vec<Value> = [state, grad, control].into_iter().chain(scale).collect();
    b.apply(Accumulate, &inputs).map(drop)
}

const BLOCK: usize = 4096;

impl Accumulate {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let (grad, first) = (args.floats(1)?, args.ints(2)?[3] == 0);
        let unscale = if args.count() > 3 { T::ONE / args.floats(3)?[0] } else { T::ONE };
        for_rows(
            args.state(0)?,
            BLOCK,
            #[inline(always)]
            |block, sum| {
                let grad = &grad[block * BLOCK..][..sum.len()];
                if first {
                    sum.iter_mut().zip(grad).for_each(|(s, &g)| *s = g * unscale);
                } else {
                    sum.iter_mut().zip(grad).for_each(|(s, &g)| *s += g * unscale);
                }
            },
        );
        Ok(())
    }
}

impl Op for Accumulate {
    fn stem(&self) -> &'static str {
        "accumulate"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("accumulate");
        check.count(inputs, inputs.len().clamp(3, 4))?;
        check.float("state", &inputs[0])?;
        check.float("grad", &inputs[1])?;
        check.shape("grad", &inputs[1], &inputs[0].shape)?;
        check.int("control", &inputs[2])?;
        check.shape("control", &inputs[2], &[4])?;
        if let Some(scale) = inputs.get(3) {
            check.float("scale", scale)?;
            check.shape("scale", scale, &[1])?;
        }
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(2 * inputs[0].len() as u64, inputs, &inputs[..1])
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
        let n = launch.ty(0).len();
        let scale = if launch.inputs() > 3 { cuda::Operand::Input(3) } else { cuda::Operand::Nothing };
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Input(2), scale];
        launch.add(cuda::Dispatch::new(&KERNELS, "accumulate_forward_f32").tensors(tensors).count(n).over_fours(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let scaled = launch.inputs() > 3;
        let scale = if scaled { Operand::Input(3) } else { Operand::Nothing };
        launch.in_pieces(launch.ty(0).len(), &[Operand::Update(0), Operand::Input(1)], |launch| {
            let n = launch.ty(0).len();
            let dispatch = Dispatch::new(SHADER, "accumulate_forward_f32", [Operand::Update(0), Operand::Input(1), Operand::Input(2), scale]);
            launch.add(dispatch.constant("SCALED", scaled).size(n).over(n));
        });
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, n: usize, micro_step: i32| {
        Case::new(name, |b, v| accumulate(b, v[0], v[1], v[2], None).map(|()| Vec::new()))
            .state("state", TensorType::f32([n]), Fill::Normal(0.0, 1.0))
            .fixed("grad", [n], Fill::Normal(0.0, 1.0))
            .ints("control", [4], Fill::Exact(vec![1, 2, 3, micro_step]))
    };
    let known = |name: &str, micro_step: i32, scale: f64, want: f64| {
        Case::new(name, |b, v| accumulate(b, v[0], v[1], v[2], Some(v[3])).map(|()| Vec::new()))
            .state("state", TensorType::f32([1]), Fill::Values(vec![3.0]))
            .fixed("grad", [1], Fill::Values(vec![-0.5]))
            .ints("control", [4], Fill::Exact(vec![9, 9, 9, micro_step]))
            .fixed("scale", [1], Fill::Values(vec![scale]))
            .expects("state", vec![want])
    };
    vec![
        known("known first", 0, 1.0, -0.5),
        known("known second", 1, 1.0, 2.5),
        known("known first scaled", 0, 65536.0, -0.5 / 65536.0),
        known("known second scaled", 1, 4.0, 2.875),
        case("nothing", 0, 1),
        case("first", 1, 0),
        case("first of 9001", 9001, 0),
        case("second", 17, 1),
        case("seventh of 20000", 20_000, 6),
        case("3072x768", 3072 * 768, 1).large(),
    ]
}
