//! What a convolution launches through CUDA: the three products, which differ in what their factors are.

use super::{Conv2d, Extents};
use crate::device::cuda::{Columns, Dispatch, Image, Launch, Operand, Summed, image};
use crate::ops::linear::Activation;
use crate::ops::support::gemm::{Gemm, Tensors};

static KERNELS: Image = image!("conv2d");

/// y.
pub fn forward(op: &Conv2d, e: &Extents, launch: &mut Launch) {
    let given = |there: bool, input: usize| if there { Operand::Input(input) } else { Operand::Nothing };
    let results = [given(op.bias, 2), given(op.residual, 2 + usize::from(op.bias)), Operand::Output(0)];
    let has_relu = op.activation == Activation::Relu;
    let product = Gemm { batch: 1, m: e.batch * e.out[0] * e.out[1], n: e.filters, k: e.patch() };
    add(launch, "forward", product, &results, |dispatch| conv(e, dispatch).flag(has_relu));
}

/// dx: a product for each phase; the first is the largest.
pub fn backward_input(e: &Extents, launch: &mut Launch) {
    let [h, w, kh, kw] = [e.size[0], e.size[1], e.kernel[0], e.kernel[1]].map(|extent| extent.div_ceil(e.stride));
    let product = Gemm { batch: e.stride * e.stride, m: e.batch * h * w, n: e.channels, k: kh * kw * e.filters };
    add(launch, "backward_input", product, &[Operand::Output(0)], |dispatch| conv(e, dispatch));
}

/// dw, and db where it is wanted.
pub fn backward_weight(e: &Extents, launch: &mut Launch) {
    let pixels = e.batch * e.out[0] * e.out[1];
    let product = Gemm { batch: 1, m: e.filters, n: e.patch(), k: pixels };
    add(launch, "backward_weight", product, &[Operand::Output(0)], |dispatch| conv(e, dispatch));
    if launch.out_ty(1).is_some() {
        let name = format!("conv2d_backward_bias_{}", launch.dtype());
        let kernel = |partials| Dispatch::new(&KERNELS, name.clone()).tensors([partials, Operand::Input(0), Operand::Output(1)]);
        launch.sum_columns(Columns::summed(pixels, e.filters), Summed::Sums(1), kernel, |dispatch| dispatch);
    }
}

/// A product of the first two inputs.
fn add(launch: &mut Launch, pass: &str, product: Gemm, results: &[Operand], finish: impl Fn(Dispatch) -> Dispatch) {
    let (name, sum) = (format!("conv2d_{pass}"), format!("conv2d_{pass}_sum"));
    let tensors = Tensors { factors: [Operand::Input(0), Operand::Input(1)], along_k: None, results };
    product.launch(launch, &KERNELS, (&name, &sum), tensors, finish);
}

/// The structure `Conv` of the kernels.
fn conv(e: &Extents, dispatch: Dispatch) -> Dispatch {
    dispatch.structure(vec![e.size[0], e.size[1], e.channels, e.filters, e.kernel[0], e.kernel[1], e.out[0], e.out[1], e.stride, e.padding])
}
