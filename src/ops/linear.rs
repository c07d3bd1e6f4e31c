//! Linear layer with its activation: `y = act(x W^T + b)`.
//!
//! x is [.., K], W is [N, K] as checkpoints store it, b is \[N\], y is [.., N]; the leading dimensions are M rows. FLOPs: 2 M N K.
//! For GELU the pre-activation is saved for the backward pass; ReLU's gradient is read off y.

use super::gelu::Gelu;
use super::relu::Relu;
use super::support::case::Case;
#[cfg(feature = "cuda")]
use super::support::gemm::{Factors, Gemm, Tensors};
use super::support::elementwise::{Function, MapBackward};
#[cfg(feature = "wgpu")]
use super::support::product::{Lies, Product, Texts, product_texts};
use super::{Kernel, Row};
use crate::device::cpu::gemm::{Matrix, PackedB, Rhs, gemm};
use crate::device::cpu::{Args, Packed, for_rows, sum_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("linear");
#[cfg(feature = "wgpu")]
const SHADER: Texts = product_texts!("linear");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Low,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    variants: &["exact", "mma64", "mma128", "wgmma128", "wgmma256", "wgmma256x2", "skinny"],
    golden: Some(|case, b, input| {
        Ok(vec![("y", linear(b, input("x")?, input("w")?, Some(input("b")?), case.kind("activation")?)?)])
    }),
    ..Row::new("linear", head!("linear.rs"), cases)
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

/// The forward pass. Inputs: x, w, and b with `bias`. Outputs: y, and with GELU the pre-activation (optional).
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// There is a third input, added to each row.
    pub bias: bool,
    /// Applied to the sum.
    pub activation: Activation,
}

/// The gradient of x: `dx = dy W`. Inputs: dy [.., N], w [N, K].
#[derive(Debug, Clone, Copy)]
pub struct LinearBackwardInput;

/// The gradients of the parameters: `dW = dy^T x`, `db = sum of the rows of dy`. Inputs: dy [.., N], x [.., K]. Outputs: dW, db
/// (optional).
#[derive(Debug, Clone, Copy)]
pub struct LinearBackwardWeight;

/// `act(x w^T + bias)`.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn linear(b: &mut Builder, x: Value, w: Value, bias: Option<Value>, activation: Activation) -> Result<Value> {
    let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
    b.apply1(Linear { bias: bias.is_some(), activation }, &inputs)
}

impl Op for Linear {
    fn stem(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("linear");
        check.count(inputs, if self.bias { 3 } else { 2 })?;
        let (x, w) = (&inputs[0], &inputs[1]);
        check.float("x", x)?;
        check.rank("w", w, 2)?;
        let (_, k) = x.shape.rows_and_width();
        check.that(w.shape[1] == k && w.dtype == x.dtype, "w", format!("{}[_, {k}]", x.dtype), w)?;
        if self.bias {
            check.shape("b", &inputs[2], &[w.shape[0]])?;
        }
        let y = x.with_shape(x.shape.with_last(w.shape[0]));
        Ok(if self.activation == Activation::Gelu { vec![y, y] } else { vec![y] })
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let (m, k) = inputs[0].shape.rows_and_width();
        let n = inputs[1].shape[0];
        let activation = match self.activation {
            Activation::None => 0,
            Activation::Relu => Relu::FLOPS,
            Activation::Gelu => Gelu::FLOPS,
        };
        Cost::streaming((2 * m * n * k + m * n * usize::from(self.bias)) as u64 + (m * n) as u64 * activation, inputs, &outputs[..1])
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let ((m, k), n) = (args.ty(0).shape.rows_and_width(), args.shape(1)[0]);
        let (x, w, y) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        let bias = if self.bias { Some(args.floats(2)?) } else { None };
        for row in 0..m {
            for col in 0..n {
                let dot: f64 = (0..k).map(|p| x[row * k + p] * w[col * k + p]).sum();
                y[row * n + col] = dot + bias.map_or(0.0, |b| b[col]);
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
        let (x, y) = (args.floats(0)?, args.out(0)?);
        let bias = if self.bias { Some(args.floats(2)?) } else { None };
        let w = match args.packed::<PackedB>(1) {
            Some(packed) => Rhs::Packed(packed),
            None => Rhs::View(Matrix::new(args.floats(1)?, n, k).t()),
        };
        gemm(y, Matrix::new(x, m, k), w, 0.0, bias)?;
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
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let ((m, k), n) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[0]);
        let bias = if self.bias { cuda::Operand::Input(2) } else { cuda::Operand::Nothing };
        let results = [bias, cuda::Operand::Output(1), cuda::Operand::Output(0)];
        let activation = match self.activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Gelu => 2,
        };
        let tensors = Tensors { factors: Factors::Matrices([0, 1].map(cuda::Operand::Input), [true; 2]), results: &results };
        let names = ("linear_forward", "linear_forward_sum");
        Gemm { batch: 1, m, n, k }.launch(launch, &KERNELS, names, tensors, |dispatch| dispatch.word(activation));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (left, right) = (Operand::Input(0), Operand::Input(1));
        let bias = if self.bias { Operand::Input(2) } else { Operand::Nothing };
        let dispatch = product(0, [left, right, Operand::Output(0), bias, Operand::Output(1)]);
        let activation = match self.activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Gelu => 2,
        };
        let save = launch.out_ty(1).is_some();
        let dispatch = dispatch.constant("BIAS", self.bias).constant("SAVE", save).constant("ACTIVATION", activation);
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &[left, Operand::Output(0), Operand::Output(1)], |launch| {
            let ((m, k), n) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[0]);
            Product { batch: 1, m, n, k }.launch(launch, SHADER, (Lies::along_k(k), Lies::along_k(k)), dispatch.clone());
        });
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

impl Activation {
    /// The activation of one number.
    #[inline(always)]
    pub fn value<T: crate::device::cpu::Real>(self, x: T) -> T {
        match self {
            Activation::None => x,
            Activation::Relu => Relu.value(x),
            Activation::Gelu => Gelu.value(x),
        }
    }
}

impl Op for LinearBackwardInput {
    fn stem(&self) -> &'static str {
        "linear"
    }

    fn pass(&self) -> &'static str {
        "backward_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("linear");
        check.count(inputs, 2)?;
        let (dy, w) = (&inputs[0], &inputs[1]);
        check.rank("w", w, 2)?;
        check.that(dy.shape.rows_and_width().1 == w.shape[0], "dy", format!("a last extent of {}", w.shape[0]), dy)?;
        Ok(vec![dy.with_shape(dy.shape.with_last(w.shape[1]))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let (m, n) = inputs[0].shape.rows_and_width();
        Cost::streaming(2 * (m * n * inputs[1].shape[1]) as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let ((m, n), k) = (args.ty(0).shape.rows_and_width(), args.shape(1)[1]);
        let (dy, w, dx) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        for row in 0..m {
            for col in 0..k {
                dx[row * k + col] = (0..n).map(|p| dy[row * n + p] * w[p * k + col]).sum();
            }
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let ((m, n), k) = (args.ty(0).shape.rows_and_width(), args.shape(1)[1]);
        let (dy, w, dx) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        gemm(dx, Matrix::new(dy, m, n), Rhs::View(Matrix::new(w, n, k)), 0.0, None)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let ((m, n), k) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[1]);
        cuda_gradient(launch, "linear_backward_input", Gemm { batch: 1, m, n: k, k: n }, [true, false]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &[Operand::Input(0), Operand::Output(0)], |launch| {
            let ((m, n), k) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[1]);
            Product { batch: 1, m, n: k, k: n }.launch(launch, SHADER, (Lies::along_k(n), Lies::across_k(k)), gradient(1, Operand::Output(0)));
        });
        Ok(())
    }
}

impl Op for LinearBackwardWeight {
    fn stem(&self) -> &'static str {
        "linear"
    }

    fn pass(&self) -> &'static str {
        "backward_weight"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("linear");
        check.count(inputs, 2)?;
        let ((m, n), (rows, k)) = (inputs[0].shape.rows_and_width(), inputs[1].shape.rows_and_width());
        check.that(m == rows, "x", format!("{m} rows"), inputs[1])?;
        Ok(vec![inputs[0].with_shape([n, k]), inputs[0].with_shape([n])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let ((m, n), (_, k)) = (inputs[0].shape.rows_and_width(), inputs[1].shape.rows_and_width());
        Cost::streaming((2 * m * n * k + m * n) as u64, inputs, outputs)
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let ((m, n), (_, k)) = (args.ty(0).shape.rows_and_width(), args.ty(1).shape.rows_and_width());
        let (dy, x, dw) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        for row in 0..n {
            for col in 0..k {
                dw[row * k + col] = (0..m).map(|p| dy[p * n + row] * x[p * k + col]).sum();
            }
        }
        if let Some(db) = args.optional_out(1) {
            (0..n).for_each(|col| db[col] = (0..m).map(|p| dy[p * n + col]).sum());
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let ((m, n), (_, k)) = (args.ty(0).shape.rows_and_width(), args.ty(1).shape.rows_and_width());
        let (dy, x, dw) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        gemm(dw, Matrix::new(dy, m, n).t(), Rhs::View(Matrix::new(x, m, k)), 0.0, None)?;
        if let Some(db) = args.optional_out(1) {
            sum_rows(
                db,
                m,
                #[inline(always)]
                |row, sum| {
                    for (s, &d) in sum.iter_mut().zip(&dy[row * n..]) {
                        *s += d;
                    }
                },
            );
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let ((m, n), (_, k)) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape.rows_and_width());
        cuda_gradient(launch, "linear_backward_weight", Gemm { batch: 1, m: n, n: k, k: m }, [false; 2]);
        if launch.out_ty(1).is_some() {
            let name = format!("linear_backward_bias_{}", launch.dtype());
            let kernel = |partials| cuda::Dispatch::new(&KERNELS, name.clone()).tensors([partials, cuda::Operand::Input(0), cuda::Operand::Output(1)]);
            launch.sum_columns(cuda::Columns::summed(m, n), cuda::Summed::Sums(1), kernel, |dispatch| dispatch);
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [dy, x, dw, db] = [Operand::Input(0), Operand::Input(1), Operand::Output(0), Operand::Output(1)];
        let (m, n) = launch.ty(0).shape.rows_and_width();
        launch.in_summed_pieces(m, &[dy, x], &[dw], |launch| {
            let ((m, n), (_, k)) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape.rows_and_width());
            Product { batch: 1, m: n, n: k, k: m }.launch(launch, SHADER, (Lies::across_k(n), Lies::across_k(k)), gradient(2, dw));
        });
        if launch.out_ty(1).is_some() {
            launch.sum_columns(Columns::summed(m, n), Summed::Sums(1), super::reduce::leading([dy, db], 1.0), &[dy]);
        }
        Ok(())
    }
}

/// A gradient from the first two inputs: the bare product.
#[cfg(feature = "cuda")]
fn cuda_gradient(launch: &mut cuda::Launch, name: &str, product: Gemm, along_k: [bool; 2]) {
    let tensors = Tensors { factors: Factors::Matrices([0, 1].map(cuda::Operand::Input), along_k), results: &[cuda::Operand::Output(0)] };
    product.launch(launch, &KERNELS, (name, "linear_backward_sum"), tensors, |dispatch| dispatch);
}

/// A product of the shader's `PASS`.
#[cfg(feature = "wgpu")]
fn product(pass: usize, operands: [Operand; 5]) -> Dispatch {
    Dispatch::new(SHADER.scalars, "linear_product", operands).constant("PASS", pass)
}

/// A gradient from the first two inputs: the bare product.
#[cfg(feature = "wgpu")]
fn gradient(pass: usize, to: Operand) -> Dispatch {
    let dispatch = product(pass, [Operand::Input(0), Operand::Input(1), to, Operand::Nothing, Operand::Nowhere]);
    dispatch.constant("BIAS", false).constant("SAVE", false).constant("ACTIVATION", 0)
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: Linear = cx.op()?;
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let (x, w) = (cx.input(0), cx.input(1));
    let dy = match op.activation {
        Activation::None => dy,
        Activation::Relu => {
            let y = cx.output(0);
            cx.builder().apply1(MapBackward(Relu), &[dy, y])?
        }
        Activation::Gelu => {
            let before = cx.output(1);
            cx.builder().apply1(MapBackward(Gelu), &[dy, before])?
        }
    };
    cx.set_by(0, LinearBackwardInput, &[dy, w])?;
    if cx.needs(1) || cx.needs(2) {
        let grads = cx.builder().apply(LinearBackwardWeight, &[dy, x])?;
        cx.set(1, grads[0]);
        if op.bias {
            cx.set(2, grads[1]);
        }
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |m: usize, n: usize, k: usize, activation: Activation, bias: bool| {
        let name = format!("{m}x{n}x{k}_{activation:?}{}", if bias { "_bias" } else { "" }).to_lowercase();
        let case = Case::of(name, move |b, v| linear(b, v[0], v[1], v.get(2).copied(), activation)).normal("x", [m, k]).normal("w", [n, k]);
        if bias { case.normal("b", [n]) } else { case }
    };
    let mut cases = Vec::new();
    for (m, n, k) in [(1, 1, 1), (5, 3, 7), (33, 17, 65), (1, 97, 130)] {
        for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
            cases.push(case(m, n, k, activation, true));
        }
        cases.push(case(m, n, k, Activation::None, false));
    }
    // What GPUs share out in other ways: long sums of few rows, of few columns, of both, and many rows of a bias' gradient.
    for (m, n, k) in [(2, 40, 600), (12, 40, 600), (40, 12, 600), (20, 40, 600), (1100, 40, 3)] {
        cases.push(case(m, n, k, Activation::Gelu, true));
    }
    // By fours: a few rows, slices, long sums, tiles, and tiles that are twice as tall.
    for (m, n, k) in [(1, 37, 132), (3, 36, 600), (12, 40, 600), (20, 36, 600), (577, 68, 40)] {
        cases.push(case(m, n, k, Activation::Gelu, true));
    }
    // By eights: more tiles than blocks, none of them full; long sums.
    for (m, n, k) in [(328, 264, 72), (24, 40, 3080)] {
        cases.push(case(m, n, k, Activation::Gelu, true));
    }
    cases.push(case(32_770, 36, 8, Activation::Gelu, true).without_gradients());
    // Up to 16 rows on CUDA: lines of odd numbers, of multiples of 2, 4 and 8; edges of blocks, rounds of all warps, and long sums that blocks share.
    for (m, n, k) in [(1, 3, 257), (16, 9, 259), (3, 13, 514), (9, 7, 1036), (16, 20, 1540), (3, 8, 3080), (2, 5, 8202)] {
        let activation = if m == 3 { Activation::Relu } else { Activation::Gelu };
        cases.push(case(m, n, k, activation, m != 9).without_gradients());
    }
    // Rows that GPUs can cut, and none.
    cases.extend([case(160, 64, 64, Activation::Gelu, true), case(0, 3, 7, Activation::Gelu, true)]);
    cases.push(Case::of("rank 4", |b, v| linear(b, v[0], v[1], None, Activation::None)).normal("x", [2, 3, 5, 7]).normal("w", [11, 7]));
    for (m, n, k) in [(577, 2304, 768), (577, 3072, 768), (577, 768, 3072), (1, 768, 768), (20, 30524, 768)] {
        cases.push(case(m, n, k, if n == 3072 { Activation::Gelu } else { Activation::None }, true).large());
    }
    cases
}
