//! Product with a fixed number: `y = factor x`.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::{self, Function, Map};
use crate::device::cpu::Real;
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::shader;
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("scale", head!("scale.rs"), cases) };

/// Product with a fixed number.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The number.
    pub factor: f64,
}

/// `factor x`, any shape.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn scale(b: &mut Builder, x: Value, factor: f64) -> Result<Value> {
    b.apply1(Map(Scale { factor }), &[x])
}

impl Function for Scale {
    const STEM: &'static str = "scale";
    const FLOPS: u64 = 1;
    const DERIVATIVE_OF_OUTPUT: bool = false;
    #[cfg(feature = "cuda")]
    const KERNELS: &'static cuda::Image = &cuda::image!("scale");
    #[cfg(feature = "wgpu")]
    const SHADER: &'static str = shader!("common/in_place", "common/map", "scale");

    #[inline(always)]
    fn value<T: Real>(&self, x: T) -> T {
        x * T::of(self.factor)
    }

    #[inline(always)]
    fn derivative<T: Real>(&self, _: T) -> T {
        T::of(self.factor)
    }

    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn numbers(&self) -> Vec<f64> {
        vec![self.factor]
    }
}

/// The derivative does not need x: dx is dy scaled.
fn backward(cx: &mut Backward) -> Result<()> {
    let op: Map<Scale> = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        cx.set_by(0, op, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let known = Case::of("known", |b, v| scale(b, v[0], -0.25)).float("x", [2], Fill::Values(vec![2.0, -8.0])).expects("y", vec![-0.5, 2.0]);
    elementwise::cases(|b, x| scale(b, x, -0.3)).into_iter().chain([known]).collect()
}
