//! What a linear layer launches through CUDA.

use super::{Activation, Linear, LinearBackwardInput};
use crate::device::cuda::{Columns, Dispatch, Image, Launch, Operand, Summed, image};
use crate::ops::support::gemm::{Factors, Gemm, Tensors};
use crate::tensor::DType;

static KERNELS: Image = image!("linear");
/// Of each product.
const FACTORS: [Operand; 2] = [Operand::Input(0), Operand::Input(1)];

/// y, and the pre-activation where it is wanted.
pub fn forward(op: &Linear, launch: &mut Launch) {
    let ((m, k), n) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[0]);
    let given = |there: bool, input: usize| if there { Operand::Input(input) } else { Operand::Nothing };
    let results = [given(op.bias, 2), given(op.residual, op.residual_at()), Operand::Output(1), Operand::Output(0)];
    let finish = finish(op.activation, launch);
    let tensors = Tensors { factors: Factors::Matrices(FACTORS, [true; 2]), results: &results };
    let names = ("linear_forward", "linear_forward_sum");
    Gemm { batch: 1, m, n, k }.launch(launch, &KERNELS, names, tensors, |dispatch| dispatch.structure(finish.clone()));
}

/// dx.
pub fn backward_input(op: &LinearBackwardInput, launch: &mut Launch) {
    let ((m, n), k) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[1]);
    let saved = if op.activation == Activation::None { Operand::Nothing } else { Operand::Input(2) };
    let finish = finish(op.activation, launch);
    let tensors = Tensors { factors: Factors::Matrices(FACTORS, [true, false]), results: &[saved, Operand::Output(0)] };
    let names = ("linear_backward_input", "linear_backward_input_sum");
    Gemm { batch: 1, m, n: k, k: n }.launch(launch, &KERNELS, names, tensors, |dispatch| dispatch.structure(finish.clone()));
}

/// dW, and db where it is wanted.
pub fn backward_weight(launch: &mut Launch) {
    let ((m, n), (_, k)) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape.rows_and_width());
    let tensors = Tensors { factors: Factors::Matrices(FACTORS, [false; 2]), results: &[Operand::Output(0)] };
    let names = ("linear_backward_weight", "linear_backward_weight_sum");
    Gemm { batch: 1, m: n, n: k, k: m }.launch(launch, &KERNELS, names, tensors, |dispatch| dispatch);
    if launch.out_ty(1).is_some() {
        let name = format!("linear_backward_bias_{}", launch.dtype());
        let kernel = |partials| Dispatch::new(&KERNELS, name.clone()).tensors([partials, Operand::Input(0), Operand::Output(1)]);
        launch.sum_columns(Columns::summed(m, n), Summed::Sums(1), kernel, |dispatch| dispatch);
    }
}

/// The structure `Finish` of the kernels: the activation, and whether the result is in f32, of factors that may not be.
fn finish(activation: Activation, launch: &Launch) -> Vec<usize> {
    vec![activation.number() as usize, usize::from(launch.out_ty(0).is_some_and(|ty| ty.dtype == DType::F32))]
}
