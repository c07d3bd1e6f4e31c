//! Gaussian error linear unit, exact: `y = x Phi(x) = x/2 (1 + erf(x / sqrt 2))`, element by element (Hendrycks and Gimpel 2016).

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
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// Gaussian error linear unit.
#[derive(Debug, Clone, Copy)]
pub struct Gelu;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(elementwise::backward::<Gelu>),
    golden: Some(|_, b, input| Ok(vec![("y", gelu(b, input("x")?)?)])),
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    ..Row::new("gelu", head!("gelu.rs"), cases)
};

/// `x Phi(x)` of any shape.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn gelu(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(Map(Gelu), &[x])
}

impl Function for Gelu {
    const STEM: &'static str = "gelu";
    const FLOPS: u64 = 20;
    const DERIVATIVE_OF_OUTPUT: bool = false;
    #[cfg(feature = "cuda")]
    const KERNELS: &'static cuda::Image = &cuda::image!("gelu");
    #[cfg(feature = "wgpu")]
    const SHADER: &'static str = shader!("common/in_place", "common/map", "common/map_backward", "gelu");

    #[inline(always)]
    fn value<T: Real>(&self, x: T) -> T {
        x * T::of(0.5) * (T::ONE + (x * T::of(FRAC_1_SQRT_2)).erf())
    }

    #[inline(always)]
    fn derivative<T: Real>(&self, x: T) -> T {
        // Phi(x) + x phi(x), with phi the normal density.
        let below = T::of(0.5) * (T::ONE + (x * T::of(FRAC_1_SQRT_2)).erf());
        let density = T::of(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) * (-T::of(0.5) * x * x).exp();
        below + x * density
    }
}

fn cases() -> Vec<Case> {
    elementwise::cases(gelu)
}
