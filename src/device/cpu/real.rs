//! The two number types an operator's code is written for: f64 for the reference, f32 for the CPU device.
//!
//! The f64 functions are the C library's. The f32 ones are branch-free polynomials of a few units in the last place, written so that
//! the compiler can run eight or sixteen of them at once inside [`super::vectorized`].

use crate::tensor::DType;
use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// A real number an operator can compute with.
pub trait Real:
    Copy
    + bytemuck::Zeroable
    + Debug
    + Display
    + Default
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + 'static
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Negative infinity: a masked logit, the start of a maximum.
    const LOWEST: Self;
    /// Not a number: what unwritten outputs are filled with in tests.
    const NAN: Self;

    /// The nearest number of this type.
    fn of(x: f64) -> Self;
    /// The number as f64.
    fn wide(self) -> f64;
    /// e^x
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x), exact for small x.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function, 2/sqrt(pi) * integral of e^(-t^2) from 0 to x.
    fn erf(self) -> Self;
    /// Raised to a power.
    fn powf(self, y: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// The larger of two; the other where one is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller of two; the other where one is NaN.
    fn min(self, other: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// The nearest number that `dtype` can hold: how storage in half precision is rehearsed on the CPU.
    fn rounded_to(self, dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::of(half::bf16::from_f64(self.wide()).to_f64()),
            DType::F16 => Self::of(half::f16::from_f64(self.wide()).to_f64()),
            DType::F32 | DType::I32 => self,
        }
    }

    /// 1 / (1 + e^-x)
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f64::NEG_INFINITY;
    const NAN: Self = f64::NAN;
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
    fn powf(self, y: Self) -> Self {
        f64::powf(self, y)
    }
    fn abs(self) -> Self {
        f64::abs(self)
    }
    fn max(self, other: Self) -> Self {
        f64::max(self, other)
    }
    fn min(self, other: Self) -> Self {
        f64::min(self, other)
    }
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f32::NEG_INFINITY;
    const NAN: Self = f32::NAN;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self as f64
    }

    /// e^x = 2^n * e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7. Results below the
    /// smallest normal number become 0.
    #[inline(always)]
    fn exp(self) -> Self {
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the fraction.
        const ROUND: f32 = 12_582_912.0;
        // Not `clamp`, and in this order, so that NaN comes through.
        let x = if self > 89.0 { 89.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN2_HIGH) - n * LN2_LOW;
        let p = 1.0 / 5040.0;
        let p = p * r + 1.0 / 720.0;
        let p = p * r + 1.0 / 120.0;
        let p = p * r + 1.0 / 24.0;
        let p = p * r + 1.0 / 6.0;
        let p = p * r + 0.5;
        let p = p * r + 1.0;
        let p = p * r + 1.0;
        // 2^n in two factors, since n itself may be outside the exponent's range.
        let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let half = n >> 1;
        let power = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
        p * power(half) * power(n.wrapping_sub(half))
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f32::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    /// Near zero by the odd Taylor-like polynomial of Cephes' tanhf, elsewhere 1 - 2 / (e^2x + 1).
    #[inline(always)]
    fn tanh(self) -> Self {
        let a = f32::abs(self);
        let s = a * a;
        let p = -5.704_988_7e-3;
        let p = p * s + 2.063_909e-2;
        let p = p * s - 5.373_971_5e-2;
        let p = p * s + 1.333_144_2e-1;
        let p = p * s - 3.333_328e-1;
        let small = a + a * s * p;
        let large = 1.0 - 2.0 / (Real::exp(2.0 * a) + 1.0);
        (if a < 0.625 { small } else { large }).copysign(self)
    }

    /// x P(x^2) / Q(x^2), clamped to |x| <= 4: the rational minimax approximation that XLA and Eigen use.
    #[inline(always)]
    fn erf(self) -> Self {
        let x = if self > 4.0 { 4.0 } else { self };
        let x = if x < -4.0 { -4.0 } else { x };
        let s = x * x;
        let p = -2.726_142_3e-10;
        let p = p * s + 2.770_681_5e-8;
        let p = p * s - 2.101_024e-6;
        let p = p * s - 5.692_506_5e-5;
        let p = p * s - 7.349_906_4e-4;
        let p = p * s - 2.954_6e-3;
        let p = p * s - 1.609_603_4e-2;
        let q = -1.456_607_2e-5;
        let q = q * s - 2.133_740_5e-4;
        let q = q * s - 1.682_827e-3;
        let q = q * s - 7.373_329e-3;
        let q = q * s - 1.426_474e-2;
        x * p / q
    }
    #[inline(always)]
    fn powf(self, y: Self) -> Self {
        f32::powf(self, y)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f32::max(self, other)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        f32::min(self, other)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    #[inline(always)]
    fn rounded_to(self, dtype: DType) -> Self {
        match dtype {
            DType::BF16 => half::bf16::from_f32(self).to_f32(),
            DType::F16 => half::f16::from_f32(self).to_f32(),
            DType::F32 | DType::I32 => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Real;

    /// The worst relative error of `f` against `truth` over an even grid, where the truth is a normal number.
    fn worst(f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, low: f32, high: f32) -> f64 {
        (0..=200_000)
            .map(|i| low + (high - low) * i as f32 / 200_000.0)
            .filter(|&x| truth(x.into()).abs() > f64::from(f32::MIN_POSITIVE))
            .map(|x| ((f64::from(f(x)) - truth(x.into())) / truth(x.into())).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn f32_functions_are_within_a_few_ulp() {
        let ulp = f64::from(f32::EPSILON);
        assert!(worst(Real::exp, f64::exp, -87.0, 88.5) < 2.0 * ulp);
        assert!(worst(Real::tanh, f64::tanh, -10.0, 10.0) < 4.0 * ulp);
        assert!(worst(Real::erf, libm::erf, -5.0, 5.0) < 6.0 * ulp);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(f32::INFINITY), f32::INFINITY);
        assert!(Real::exp(f32::NAN).is_nan() && Real::erf(f32::NAN).is_nan() && Real::tanh(f32::NAN).is_nan());
    }
}
