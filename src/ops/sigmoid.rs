//! Logistic function: `y = 1 / (1 + e^-x)`, element by element.

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

/// Logistic function.
#[derive(Debug, Clone, Copy)]
pub struct Sigmoid;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(elementwise::backward::<Sigmoid>),
    golden: Some(|_, b, input| Ok(vec![("y", sigmoid(b, input("x")?)?)])),
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    ..Row::new("sigmoid", head!("sigmoid.rs"), cases)
};

/// `1 / (1 + e^-x)` of any shape.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn sigmoid(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(Map(Sigmoid), &[x])
}

impl Function for Sigmoid {
    const STEM: &'static str = "sigmoid";
    const FLOPS: u64 = 6;
    const DERIVATIVE_OF_OUTPUT: bool = true;
    #[cfg(feature = "cuda")]
    const KERNELS: &'static cuda::Image = &cuda::image!("sigmoid");
    #[cfg(feature = "wgpu")]
    const SHADER: &'static str = shader!("common/in_place", "common/map", "common/map_backward", "sigmoid");

    #[inline(always)]
    fn value<T: Real>(&self, x: T) -> T {
        x.sigmoid()
    }

    #[inline(always)]
    fn derivative<T: Real>(&self, y: T) -> T {
        y * (T::ONE - y)
    }
}

fn cases() -> Vec<Case> {
    elementwise::cases(sigmoid)
}
