//! The dynamic loss scale of mixed precision, as PyTorch's `torch.amp.GradScaler` moves it:
//!
//! ```text
//! not finite:            scale <- scale / 2, good <- 0
//! finite:                good <- good + 1
//! good = interval:       scale <- 2 scale, good <- 0
//! ```
//!
//! within [1, 2^24]. The loss's gradient is multiplied by the scale, so that small gradients do not vanish in half precision; powers of
//! two lose nothing on the way back. A gradient that is not finite is taken for an overflow.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("loss_scale");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("loss_scale");

/// The row of the table.
pub const ROW: Row = Row {
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    fill: |_, _, i| (i == 0).then(|| Fill::Values(vec![1024.0])),
    ..Row::new("loss_scale", head!("loss_scale.rs"), cases)
};

/// The bounds of the scale.
const BOUNDS: [f64; 2] = [1.0, 16_777_216.0];

/// Inputs: scale f32\[1\], good i32\[1\], finite i32\[1\]. Updates scale and good.
#[derive(Debug, Clone, Copy)]
pub struct LossScale {
    /// So many finite steps in a row double the scale.
    pub interval: i32,
}

/// Doubles the state `scale` f32\[1\] after `interval` finite steps in a row, halves it after one that is not.
///
/// * `good` i32\[1\], state: how many steps were finite since the scale last moved.
/// * `finite` i32\[1\]: 0 where this step was not.
///
/// # Errors
/// [`crate::Error::Op`] where a type differs or `interval` is below 1, [`crate::Error::Graph`] where `scale` or `good` is no state.
pub fn loss_scale(b: &mut Builder, scale: Value, good: Value, finite: Value, interval: i32) -> Result<()> {
    b.apply(LossScale { interval }, &[scale, good, finite]).map(drop)
}

impl LossScale {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let finite = args.ints(2)?[0] != 0;
        let (scale, good) = (&mut args.state(0)?[0], &mut args.state_ints(1)?[0]);
        *good = if finite { good.saturating_add(1) } else { 0 };
        let factor = match (finite, *good >= self.interval) {
            (false, _) => 0.5,
            (true, true) => 2.0,
            (true, false) => return Ok(()),
        };
        *good = 0;
        *scale = (*scale * T::of(factor)).max(T::of(BOUNDS[0])).min(T::of(BOUNDS[1]));
        Ok(())
    }
}

impl Op for LossScale {
    fn stem(&self) -> &'static str {
        "loss_scale"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("loss_scale");
        check.count(inputs, 3)?;
        check.that(self.interval >= 1, "interval", "at least 1", self.interval)?;
        check.float("scale", &inputs[0])?;
        check.int("good", &inputs[1])?;
        check.int("finite", &inputs[2])?;
        for (name, ty) in ["scale", "good", "finite"].into_iter().zip(inputs) {
            check.shape(name, ty, &[1])?;
        }
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(1, inputs, &inputs[..2])
    }

    fn updates(&self) -> Vec<usize> {
        vec![0, 1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let dispatch = cuda::Dispatch::new(&KERNELS, "loss_scale_forward_f32").tensors((0..3).map(cuda::Operand::Input)).word(self.interval as u32);
        launch.add(BOUNDS.into_iter().fold(dispatch, cuda::Dispatch::number).block(1));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Update(0), Operand::Update(1), Operand::Input(2)];
        let dispatch = Dispatch::new(SHADER, "loss_scale_forward_f32", operands).word(self.interval as u32);
        launch.add(BOUNDS.into_iter().fold(dispatch, Dispatch::number));
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, (scale, good): (f64, i32), finite: i32, (to, then): (f64, f64)| {
        Case::new(name, |b, v| loss_scale(b, v[0], v[1], v[2], 5).map(|()| Vec::new()))
            .state("scale", TensorType::f32([1]), Fill::Values(vec![scale]))
            .state("good", TensorType::i32([1]), Fill::Exact(vec![good]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
            .expects("scale", vec![to])
            .expects("good", vec![then])
    };
    vec![
        case("kept", (8.0, 3), 1, (8.0, 4.0)),
        case("doubled", (8.0, 4), 1, (16.0, 0.0)),
        case("halved", (8.0, 4), 0, (4.0, 0.0)),
        case("least", (1.0, 2), 0, (1.0, 0.0)),
        case("most", (16_777_216.0, 4), 1, (16_777_216.0, 0.0)),
    ]
}
