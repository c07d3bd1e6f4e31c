//! Hyperbolic tangent: `y = tanh(x)`, element by element.

use super::{Kernel, Row};
use super::support::case::Case;
use super::support::elementwise::{self, Function, Map};
use crate::device::cpu::Real;
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::shader;
use crate::error::Result;
use crate::graph::{Builder, Value};

/// Hyperbolic tangent.
#[derive(Debug, Clone, Copy)]
pub struct Tanh;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(elementwise::backward::<Tanh>),
    golden: Some(|_, b, input| Ok(vec![("y", tanh(b, input("x")?)?)])),
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    ..Row::new("tanh", head!("tanh.rs"), cases)
};

/// `tanh(x)` of any shape.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn tanh(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(Map(Tanh), &[x])
}

impl Function for Tanh {
    const STEM: &'static str = "tanh";
    const FLOPS: u64 = 8;
    const DERIVATIVE_OF_OUTPUT: bool = true;
    #[cfg(feature = "cuda")]
    const KERNELS: &'static cuda::Image = &cuda::image!("tanh");
    #[cfg(feature = "wgpu")]
    const SHADER: &'static str = shader!("common/in_place", "common/map", "common/map_backward", "tanh");

    #[inline(always)]
    fn value<T: Real>(&self, x: T) -> T {
        x.tanh()
    }

    #[inline(always)]
    fn derivative<T: Real>(&self, y: T) -> T {
        T::ONE - y * y
    }
}

fn cases() -> Vec<Case> {
    elementwise::cases(tanh)
}
