//! Rectified linear unit: `y = max(x, 0)`, element by element.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::{self, Function, Map, MapBackward};
use crate::device::cpu::Real;
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::shader;
use crate::error::Result;
use crate::graph::{Builder, Value};

/// Rectified linear unit.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(elementwise::backward::<Relu>),
    golden: Some(|_, b, input| Ok(vec![("y", relu(b, input("x")?)?)])),
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    ..Row::new("relu", head!("relu.rs"), cases)
};

/// `max(x, 0)` of any shape.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn relu(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(Map(Relu), &[x])
}

impl Function for Relu {
    const STEM: &'static str = "relu";
    const FLOPS: u64 = 1;
    const DERIVATIVE_OF_OUTPUT: bool = false;
    #[cfg(feature = "cuda")]
    const KERNELS: &'static cuda::Image = &cuda::image!("relu");
    #[cfg(feature = "wgpu")]
    const SHADER: &'static str = shader!("common/in_place", "common/map", "common/map_backward", "relu");

    #[inline(always)]
    fn value<T: Real>(&self, x: T) -> T {
        // NaN comes through: a broken step must not look whole.
        if x < T::ZERO { T::ZERO } else { x }
    }

    #[inline(always)]
    fn derivative<T: Real>(&self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { T::ZERO }
    }
}

fn cases() -> Vec<Case> {
    // Neither side of the kink: the gradient there is 0, as PyTorch's, and no finite difference's.
    let at_zero = Case::of("gradient at 0", |b, v| b.apply1(MapBackward(Relu), &[v[0], v[1]])).expects("y", vec![0.0, 0.0, 5.0]);
    let at_zero = at_zero.fixed("dy", [3], Fill::Values(vec![3.0, 4.0, 5.0])).fixed("x", [3], Fill::Values(vec![0.0, -1.0, 1.0]));
    elementwise::cases(relu).into_iter().chain([at_zero]).collect()
}
