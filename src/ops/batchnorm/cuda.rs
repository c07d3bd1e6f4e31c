//! What is launched through CUDA.

use super::training::RESIDUAL;
use super::{BatchNorm, BatchNormBackward, BatchNormTraining, BatchNormTrainingBackward, FoldIntoConv2d, StageStatistics};
use crate::device::cuda::{Columns, Dispatch, Image, Launch, Operand, Summed, image};
use crate::ops::linear::Activation;

static KERNELS: Image = image!("batchnorm");

fn kernel(name: &str, tensors: impl IntoIterator<Item = Operand>) -> Dispatch {
    Dispatch::new(&KERNELS, format!("batchnorm_{name}_f32")).tensors(tensors)
}

/// An output, or memory in its place where it is not wanted.
fn kept(launch: &mut Launch, output: usize, len: usize) -> Operand {
    if launch.out_ty(output).is_some() { Operand::Output(output) } else { launch.scratch(len) }
}

fn inputs<const N: usize>(inputs: [usize; N]) -> impl Iterator<Item = Operand> {
    inputs.into_iter().map(Operand::Input)
}

pub(super) fn inference(op: &BatchNorm, launch: &mut Launch) {
    let (rows, c) = launch.ty(0).shape.rows_and_width();
    let dispatch = kernel("forward", inputs([0, 1, 2, 3, 4]).chain([Operand::Output(0)]));
    launch.map_columns(Columns::mapped(rows, c), dispatch, |dispatch| dispatch.number(op.eps));
}

pub(super) fn inference_backward(op: &BatchNormBackward, launch: &mut Launch) {
    let (rows, c) = launch.ty(1).shape.rows_and_width();
    if launch.out_ty(1).is_some() || launch.out_ty(2).is_some() {
        let sums = |partials| kernel("backward_weight", [partials].into_iter().chain(inputs([0, 1, 3, 4])).chain([1, 2].map(Operand::Output)));
        launch.sum_columns(Columns::summed(rows, c), Summed::Sums(2), sums, |dispatch| dispatch.number(op.eps));
    }
    // Last: dx may lie where dy does.
    if launch.out_ty(0).is_some() {
        let dispatch = kernel("backward_input", inputs([0, 2, 4]).chain([Operand::Output(0)]));
        launch.map_columns(Columns::mapped(rows, c), dispatch, |dispatch| dispatch.number(op.eps));
    }
}

pub(super) fn training(op: &BatchNormTraining, launch: &mut Launch) {
    let (rows, c) = launch.ty(0).shape.rows_and_width();
    let [mean, variance, rstd] = [1, 2, 3].map(|output| kept(launch, output, c));
    if op.moments {
        let at = op.moments_at();
        let join = |partials| kernel("join", [partials, Operand::Input(at), mean, variance, rstd]);
        let parts = launch.ty(at).shape[0];
        launch.sum_columns(Columns::summed(parts, c), Summed::Moments, join, |dispatch| dispatch.sizes([rows]).number(op.eps));
    } else {
        let statistics = |partials| kernel("statistics", [partials, Operand::Input(0), mean, variance, rstd]);
        launch.sum_columns(Columns::summed(rows, c), Summed::Moments, statistics, |dispatch| dispatch.number(op.eps));
    }
    let residual = if op.residual { Operand::Input(RESIDUAL) } else { Operand::Nothing };
    let dispatch = kernel("training", inputs([0, 1, 2]).chain([mean, rstd, residual, Operand::Output(0)]));
    launch.map_columns(Columns::mapped(rows, c), dispatch, |dispatch| dispatch.flag(op.activation == Activation::Relu));
}

pub(super) fn training_backward(op: &BatchNormTrainingBackward, launch: &mut Launch) {
    let (rows, c) = launch.ty(1).shape.rows_and_width();
    let has_relu = op.activation == Activation::Relu;
    let sums = if launch.out_ty(0).is_some() { launch.scratch(2 * c) } else { Operand::Nothing };
    let [y, dz] = if op.residual { [Operand::Input(6), Operand::Output(3)] } else { [Operand::Nothing; 2] };
    let outputs = [Operand::Output(1), Operand::Output(2), sums, dz];
    let weight = |partials| kernel("training_backward_weight", [partials].into_iter().chain(inputs([0, 1, 2, 3, 4, 5])).chain([y]).chain(outputs));
    launch.sum_columns(Columns::summed(rows, c), Summed::Sums(2), weight, |dispatch| dispatch.flag(has_relu));
    // Last: dx may lie where dy does.
    if launch.out_ty(0).is_some() {
        let passed = if op.residual { dz } else { Operand::Input(0) };
        let dispatch = kernel("training_backward_input", [passed].into_iter().chain(inputs([1, 2, 3, 4, 5])).chain([sums, Operand::Output(0)]));
        launch.map_columns(Columns::mapped(rows, c), dispatch, |dispatch| dispatch.flag(has_relu && !op.residual));
    }
}

pub(super) fn fold(op: &FoldIntoConv2d, launch: &mut Launch) {
    let (n, filters) = (launch.ty(0).len(), launch.ty(1).len());
    let c = if op.bias { Operand::Input(5) } else { Operand::Nothing };
    let dispatch = kernel("fold", inputs([0, 1, 2, 3, 4]).chain([c, Operand::Output(0), Operand::Output(1)]));
    launch.add(dispatch.count(n).sizes([filters]).number(op.eps).over(n.max(filters)));
}

pub(super) fn stage(op: &StageStatistics, launch: &mut Launch) {
    let n = launch.ty(0).len();
    launch.add(kernel("stage", inputs([0, 1, 2, 3])).count(n).number(1.0 - op.momentum).number(op.momentum).over(n));
}
