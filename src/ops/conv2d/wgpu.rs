//! What a convolution launches: one kernel for the three products, which differ in what their factors are.

use super::{Conv2d, Extents};
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::ops::linear::Activation;
use crate::ops::reduce;
use crate::ops::support::moments::ROWS;
use crate::ops::support::product::{Lies, Product, Texts, product_texts};

const SHADER: Texts = product_texts!("conv2d");
const MOMENTS: &str = shader!("common/columns", "common/column_sums", "conv2d_moments");

/// What happens to the sums of the forward pass; nothing in the others.
#[derive(Default)]
struct Finish {
    bias: Option<Operand>,
    residual: Option<Operand>,
    in_place: bool,
    relu: bool,
}

/// y, of an execution's pictures or some of them.
pub fn forward(op: &Conv2d, e: &Extents, launch: &mut Launch) {
    let last = 2 + usize::from(op.bias);
    let finish = Finish {
        bias: op.bias.then_some(Operand::Input(2)),
        residual: op.residual.then_some(Operand::Input(last)),
        in_place: op.residual && launch.in_place(last),
        relu: op.activation == Activation::Relu,
    };
    let product = Product { batch: 1, m: e.batch * e.out[0] * e.out[1], n: e.filters, k: e.patch() };
    product.launch(launch, SHADER, (Lies::along_k(e.channels), Lies::along_k(e.patch())), dispatch(0, e, Operand::Output(0), &finish));
}

/// The moments of y, once all of it is there.
pub fn moments(e: &Extents, launch: &mut Launch) {
    let (columns, y) = (Columns::by(ROWS, e.batch * e.out[0] * e.out[1], e.filters), Operand::Output(0));
    launch.sum_each_part(columns, Summed::Moments, Dispatch::new(MOMENTS, "conv2d_moments_f32", [Operand::Output(1), y]), &[y]);
}

/// dx: a product for each phase, as large as the first, which is the largest.
pub fn backward_input(e: &Extents, launch: &mut Launch) {
    let [h, w, kh, kw] = [e.size[0], e.size[1], e.kernel[0], e.kernel[1]].map(|extent| extent.div_ceil(e.stride));
    let product = Product { batch: e.stride * e.stride, m: e.batch * h * w, n: e.channels, k: kh * kw * e.filters };
    product.launch(launch, SHADER, (Lies::along_k(e.filters), Lies::across_k(e.channels)), dispatch(1, e, Operand::Output(0), &Finish::default()));
}

/// dw, and db where it is wanted.
pub fn backward_weight(e: &Extents, launch: &mut Launch) {
    let product = Product { batch: 1, m: e.filters, n: e.patch(), k: e.batch * e.out[0] * e.out[1] };
    product.launch(launch, SHADER, (Lies::across_k(e.filters), Lies::across_k(e.channels)), dispatch(2, e, Operand::Output(0), &Finish::default()));
    if launch.out_ty(1).is_some() {
        let sums = reduce::leading([Operand::Input(0), Operand::Output(1)], 1.0, "Real");
        launch.sum_columns(Columns::summed(product.k, e.filters), Summed::Sums(1), sums, &[Operand::Input(0)]);
    }
}

fn dispatch(pass: usize, e: &Extents, to: Operand, finish: &Finish) -> Dispatch {
    let one_tap = e.kernel == [1, 1];
    let [bias, residual] = [finish.bias, finish.residual].map(|operand| operand.unwrap_or(Operand::Nothing));
    let dispatch = Dispatch::new(SHADER.scalars, "conv2d_product", [Operand::Input(0), Operand::Input(1), to, bias, residual]);
    let dispatch = dispatch.constant("PASS", pass).constant("STRIDE", format!("{}u", e.stride)).constant("ONE_TAP", one_tap);
    // No patch reaches beyond its picture.
    let dispatch = dispatch.constant("INSIDE", e.padding == 0 && (pass != 1 || one_tap));
    let dispatch = dispatch.constant("BIAS", finish.bias.is_some()).constant("RESIDUAL", finish.residual.is_some());
    let dispatch = dispatch.constant("IN_PLACE", finish.in_place).constant("RELU", finish.relu);
    let dispatch = dispatch.size(e.batch).size(e.size[0]).size(e.size[1]).size(e.channels).size(e.filters);
    dispatch.size(e.kernel[0]).size(e.kernel[1]).size(e.out[0]).size(e.out[1]).size(e.padding)
}
