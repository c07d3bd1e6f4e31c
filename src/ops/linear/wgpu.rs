//! What a linear layer launches through wgpu: one shader for the three products, which differ in how their factors lie and in what becomes of the sums.

use super::{Activation, Linear, LinearBackwardInput};
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed};
use crate::ops::reduce;
use crate::ops::support::product::{Lies, Product, Texts, product_texts};
use crate::tensor::DType;

const SHADER: Texts = product_texts!("linear");
/// Of each product.
const FACTORS: [Operand; 2] = [Operand::Input(0), Operand::Input(1)];

/// What happens to the sums; nothing by default.
#[derive(Default)]
struct Finish {
    /// The bias, or what is saved for a derivative.
    given: Option<Operand>,
    residual: Option<Operand>,
    /// Where the pre-activation goes.
    before: Option<Operand>,
    activation: Activation,
}

/// y, and the pre-activation where it is wanted.
pub fn forward(op: &Linear, launch: &mut Launch) {
    let finish = Finish {
        given: op.bias.then_some(Operand::Input(2)),
        residual: op.residual.then_some(Operand::Input(op.residual_at())),
        before: launch.out_ty(1).map(|_| Operand::Output(1)),
        activation: op.activation,
    };
    let mut tensors = vec![FACTORS[0], Operand::Output(0), Operand::Output(1)];
    tensors.extend(finish.residual);
    launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &tensors, |launch| {
        let ((m, k), n) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[0]);
        let dispatch = dispatch(0, launch, &finish);
        Product { batch: 1, m, n, k }.launch(launch, SHADER, (Lies::along_k(k), Lies::along_k(k)), dispatch);
    });
}

/// dx.
pub fn backward_input(op: &LinearBackwardInput, launch: &mut Launch) {
    let saved = (op.activation != Activation::None).then_some(Operand::Input(2));
    let finish = Finish { given: saved, activation: op.activation, ..Finish::default() };
    let mut tensors = vec![FACTORS[0], Operand::Output(0)];
    tensors.extend(saved);
    launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &tensors, |launch| {
        let ((m, n), k) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape[1]);
        let dispatch = dispatch(1, launch, &finish);
        Product { batch: 1, m, n: k, k: n }.launch(launch, SHADER, (Lies::along_k(n), Lies::across_k(k)), dispatch);
    });
}

/// dW, and db where it is wanted.
pub fn backward_weight(launch: &mut Launch) {
    let [dy, dw, db] = [FACTORS[0], Operand::Output(0), Operand::Output(1)];
    let (m, n) = launch.ty(0).shape.rows_and_width();
    launch.in_summed_pieces(m, &FACTORS, &[dw], |launch| {
        let ((m, n), (_, k)) = (launch.ty(0).shape.rows_and_width(), launch.ty(1).shape.rows_and_width());
        let dispatch = dispatch(2, launch, &Finish::default());
        Product { batch: 1, m: n, n: k, k: m }.launch(launch, SHADER, (Lies::across_k(n), Lies::across_k(k)), dispatch);
    });
    if launch.out_ty(1).is_some() {
        launch.sum_columns(Columns::summed(m, n), Summed::Sums(1), reduce::leading([dy, db], 1.0, "f32"), &[dy]);
    }
}

/// A product of the shader's `PASS`.
fn dispatch(pass: usize, launch: &Launch, finish: &Finish) -> Dispatch {
    let [given, residual] = [finish.given, finish.residual].map(|operand| operand.unwrap_or(Operand::Nothing));
    let operands = [FACTORS[0], FACTORS[1], Operand::Output(0), given, finish.before.unwrap_or(Operand::Nowhere), residual];
    let dispatch = Dispatch::new(SHADER.scalars, "linear_product", operands).constant("PASS", pass);
    let dispatch = dispatch.constant("GIVEN", finish.given.is_some()).constant("RESIDUAL", finish.residual.is_some());
    let dispatch = dispatch.constant("SAVE", finish.before.is_some());
    let is_wide = launch.out_ty(0).is_some_and(|ty| ty.dtype == DType::F32);
    dispatch.constant("ACTIVATION", finish.activation.number()).alias("Result", if is_wide { "f32" } else { "Real" })
}
