//! Linear layer with its activation: `y = act(x W^T + b + residual)`.
//!
//! x is [.., K], W is [N, K] as checkpoints store it, b is \[N\], y and residual are [.., N]; the leading dimensions are M rows. FLOPs: 2 M N K.
//! For GELU the pre-activation is saved for the backward pass; ReLU's gradient is read off y.
//!
//! Sums are finished where they are made, so that y is written once. Fusion makes use of that: it brings the residual, lets y come out in f32 of factors in 16 bits,
//! and gives the gradient of x what it is multiplied by next, the derivative of the activation that made x. Gradients of W and b are always f32, as what they are added to.

mod backward;
mod cases;
#[cfg(feature = "cuda")]
mod cuda;
mod fusion;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use backward::{LinearBackwardInput, LinearBackwardWeight};

use super::gelu::Gelu;
use super::relu::Relu;
use super::support::elementwise::Function;
use super::{Kernel, PRODUCTS, Row};
use crate::device::cpu::gemm::{Matrix, PackedB, Rhs, gemm};
use crate::device::cpu::{Args, Packed, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda::Launch as CudaLaunch;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward::backward),
    precision: Precision::Low,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    variants: &["exact", "mma64", "mma128", "wgmma128", "wgmma256", "wgmma256x2", "skinny"],
    wgpu_variants: PRODUCTS,
    fusion: Some((30, fusion::absorb)),
    golden: Some(|case, b, input| {
        Ok(vec![("y", linear(b, input("x")?, input("w")?, Some(input("b")?), case.kind("activation")?)?)])
    }),
    ..Row::new("linear", head!("mod.rs"), cases::cases)
};

/// What follows the product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(y, 0)
    Relu,
    /// y Phi(y), exact.
    Gelu,
}

/// The forward pass. Inputs: x, w, b with `bias`, residual with `residual`. Outputs: y, and with GELU the pre-activation in x's type (optional).
#[derive(Debug, Clone, Copy, Default)]
pub struct Linear {
    /// There is an input \[N\] added to each row.
    pub bias: bool,
    /// There is an input of y's shape and type, x's or f32, added before the activation.
    pub residual: bool,
    /// Applied to the sum.
    pub activation: Activation,
    /// y comes out in f32; with a residual it is of that one's type.
    pub wide: bool,
}

/// `act(x w^T + bias)`.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn linear(b: &mut Builder, x: Value, w: Value, bias: Option<Value>, activation: Activation) -> Result<Value> {
    let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
    b.apply1(Linear { bias: bias.is_some(), activation, ..Linear::default() }, &inputs)
}

impl Op for Linear {
    fn stem(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("linear");
        check.count(inputs, self.residual_at() + usize::from(self.residual))?;
        let (x, w) = (&inputs[0], &inputs[1]);
        check.float("x", x)?;
        check.rank("w", w, 2)?;
        let (_, k) = x.shape.rows_and_width();
        check.that(w.shape[1] == k && w.dtype == x.dtype, "w", format!("{}[_, {k}]", x.dtype), w)?;
        if self.bias {
            check.shape("b", &inputs[2], &[w.shape[0]])?;
        }
        let before = x.with_shape(x.shape.with_last(w.shape[0]));
        let wide = TensorType::new(DType::F32, before.shape);
        let y = if self.residual { inputs[self.residual_at()] } else if self.wide { wide } else { before };
        check.that(y == before || y == wide, "residual", format!("{before} or {wide}"), y)?;
        Ok(if self.activation == Activation::Gelu { vec![y, before] } else { vec![y] })
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let (m, k) = inputs[0].shape.rows_and_width();
        let n = inputs[1].shape[0];
        let each = u64::from(self.bias) + u64::from(self.residual) + self.activation.flops();
        Cost::streaming((2 * m * n * k) as u64 + (m * n) as u64 * each, inputs, &outputs[..1])
    }

    /// The residual: sums over many layers, of which 16 bits would lose what each adds.
    fn exact_inputs(&self) -> &'static [usize] {
        match (self.residual, self.bias) {
            (false, _) => &[],
            (true, false) => &[2],
            (true, true) => &[3],
        }
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let ((m, k), n) = (args.ty(0).shape.rows_and_width(), args.shape(1)[0]);
        let (x, w, residual, y) = (args.floats(0)?, args.floats(1)?, self.residual(args)?, args.out(0)?);
        let bias = if self.bias { Some(args.floats(2)?) } else { None };
        for row in 0..m {
            for col in 0..n {
                let dot: f64 = (0..k).map(|p| x[row * k + p] * w[col * k + p]).sum();
                let i = row * n + col;
                y[i] = dot + bias.map_or(0.0, |b| b[col]) + residual.map_or(0.0, |r| r[i]);
            }
        }
        if let Some(before) = args.optional_out(1) {
            before.copy_from_slice(y);
        }
        y.iter_mut().for_each(|y| *y = self.activation.value(*y));
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let ((m, k), n) = (args.ty(0).shape.rows_and_width(), args.shape(1)[0]);
        let (x, residual, y) = (args.floats(0)?, self.residual(args)?, args.out(0)?);
        let bias = if self.bias { Some(args.floats(2)?) } else { None };
        let w = match args.packed::<PackedB>(1) {
            Some(packed) => Rhs::Packed(packed),
            None => Rhs::View(Matrix::new(args.floats(1)?, n, k).t()),
        };
        gemm(y, Matrix::new(x, m, k), w, 0.0, bias)?;
        if let Some(residual) = residual {
            for_rows(
                y,
                n,
                #[inline(always)]
                |row, y| {
                    for (y, &r) in y.iter_mut().zip(&residual[row * n..]) {
                        *y += r;
                    }
                },
            );
        }
        if let Some(before) = args.optional_out(1) {
            before.copy_from_slice(y);
        }
        if self.activation != Activation::None {
            for_rows(
                y,
                n,
                #[inline(always)]
                |_, row| {
                    for y in row {
                        *y = self.activation.value(*y);
                    }
                },
            );
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        cuda::forward(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        wgpu::forward(self, launch);
        Ok(())
    }

    fn pack_layout(&self, input: usize) -> Option<&'static str> {
        (input == 1).then_some("gemm right, from [N, K]")
    }

    fn pack(&self, _input: usize, ty: &TensorType, data: &[f32]) -> Option<Packed> {
        let packed = PackedB::new(Matrix::new(data, ty.shape[0], ty.shape[1]).t()).ok()?;
        Some(packed)
    }
}

impl Linear {
    /// The number of the input behind those that are always there.
    fn residual_at(&self) -> usize {
        2 + usize::from(self.bias)
    }

    fn residual<'a, T: Real>(&self, args: &Args<'a, T>) -> Result<Option<&'a [T]>> {
        if self.residual { args.floats(self.residual_at()).map(Some) } else { Ok(None) }
    }
}

impl Activation {
    /// The activation of one number.
    #[inline(always)]
    pub fn value<T: Real>(self, x: T) -> T {
        match self {
            Activation::None => x,
            Activation::Relu => Relu.value(x),
            Activation::Gelu => Gelu.value(x),
        }
    }

    /// Its derivative, from what is saved for it: of GELU what it is applied to, of ReLU what it gives.
    #[inline(always)]
    fn derivative<T: Real>(self, saved: T) -> T {
        match self {
            Activation::None => T::ONE,
            Activation::Relu => Relu.derivative(saved),
            Activation::Gelu => Gelu.derivative(saved),
        }
    }

    /// FLOPs of either.
    fn flops(self) -> u64 {
        match self {
            Activation::None => 0,
            Activation::Relu => Relu::FLOPS,
            Activation::Gelu => Gelu::FLOPS,
        }
    }

    /// What kernels know it by.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn number(self) -> u32 {
        match self {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Gelu => 2,
        }
    }
}
