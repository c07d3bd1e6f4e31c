//! Batch normalisation over the last dimension: `y = (x - mean) rstd w + b` with `rstd = 1 / sqrt(var + eps)`.
//!
//! x is [.., C], its n rows the pixels of all pictures; the rest is \[C\]. In inference mean and var are running statistics
//! (`inference.rs`), in training those of the rows themselves (`training.rs`, Ioffe and Szegedy 2015, arXiv:1502.03167), which are
//! staged for the running ones (`stage.rs`). In inference the normalisation folds into the filters of the convolution before it
//! (`fold.rs`); in training that convolution takes the statistics (`moments.rs`).

#[cfg(feature = "cuda")]
mod cuda;
mod fold;
mod inference;
mod moments;
mod stage;
mod training;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use fold::FoldIntoConv2d;
pub use inference::{BatchNorm, BatchNormBackward, batchnorm};
pub use stage::{StageStatistics, stage_statistics};
pub use training::{BatchNormTraining, BatchNormTrainingBackward, BatchStats, batchnorm_training};

use super::conv2d::{Conv2d, NCHW_TO_NHWC, NHWC_TO_NCHW};
use super::linear::Activation;
use super::support::case::{Case, Fill, Golden};
use super::scale::scale;
use super::tanh::tanh;
use super::transpose::transpose;
use super::{Kernel, Row};
use crate::device::cpu::Real;
use crate::error::{Error, Result};
use crate::graph::{Backward, Builder, Precision, StateKind, Value};
use crate::op::Check;
use crate::tensor::{Tensor, TensorType};

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    fusion: Some((10, |graph, index| Ok(fold::fold_into_conv2d(graph, index)? || moments::take_from_conv2d(graph, index)?))),
    golden: Some(golden),
    // The variance, and moments, where there are some: of these no count is less than 1.
    fill: |op, _, i| match i {
        4 => Some(Fill::Uniform(0.5, 2.0)),
        3 if op.pass() == "training" => Some(Fill::Uniform(1.0, 2.0)),
        _ => None,
    },
    ..Row::new("batchnorm", head!("mod.rs"), cases)
};

const CHECK: Check = Check("batchnorm");

/// x is floating point with rows, the others are \[C\].
fn check(x: &TensorType, of_channel: &[(&str, &TensorType)]) -> Result<()> {
    CHECK.float("x", x)?;
    CHECK.that(x.shape.iter().count() >= 2, "x", "at least 2 dimensions", x)?;
    let (_, c) = x.shape.rows_and_width();
    of_channel.iter().try_for_each(|(name, ty)| CHECK.same(name, ty, &x.with_shape([c])))
}

/// `1 / sqrt(var + eps)`
#[inline(always)]
fn rstd<T: Real>(var: T, eps: f64) -> T {
    T::ONE / (var + T::of(eps)).sqrt()
}

/// A factor for each channel.
fn scales<T: Real>(w: &[T], rstd: impl Fn(usize) -> T) -> Vec<T> {
    w.iter().enumerate().map(|(c, &w)| w * rstd(c)).collect()
}

/// `y[i] = f(i, x[i])` for one row, where y may hold x already.
#[inline(always)]
fn map_row<T: Real>(x: Option<&[T]>, y: &mut [T], f: impl Fn(usize, T) -> T) {
    match x {
        Some(x) => {
            for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                *y = f(i, x);
            }
        }
        None => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = f(i, *y);
            }
        }
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    match cx.op::<BatchNorm>() {
        Ok(op) => inference::backward(cx, op),
        Err(_) => training::backward(cx),
    }
}

fn golden(case: &Golden, b: &mut Builder, input: &dyn Fn(&str) -> Result<Value>) -> Result<Vec<(&'static str, Value)>> {
    let (x, w, bias, eps) = (transpose(b, input("x")?, &NCHW_TO_NHWC)?, input("w")?, input("b")?, case.number("eps")?);
    let numbers = |key: &str| -> Result<Tensor> {
        let list = case.attributes.get(key).and_then(serde_json::Value::as_array).ok_or_else(|| Error::graph(case.name, key, "none"))?;
        Tensor::from_f32([list.len()], list.iter().filter_map(|v| v.as_f64().map(|v| v as f32)).collect())
    };
    let (mean, var) = (b.constant(numbers("running_mean")?), b.constant(numbers("running_var")?));
    let (y, mean, var) = if case.flag("training")? {
        let stats = batchnorm_training(b, x, w, bias, eps, Activation::None)?;
        let micro_step = b.constant(Tensor::from_i32([1], vec![0])?);
        let mut stage = |name: &str, running: Value, batch: Value| -> Result<Value> {
            let staged = b.global_state(name, b.ty(running), StateKind::Cache)?;
            stage_statistics(b, staged, running, batch, case.number("momentum")?, micro_step)?;
            Ok(staged)
        };
        (stats.y, stage("mean", mean, stats.mean)?, stage("var", var, stats.var)?)
    } else {
        (batchnorm(b, x, w, bias, mean, var, eps)?, mean, var)
    };
    Ok(vec![("y", transpose(b, y, &NHWC_TO_NCHW)?), ("running_mean", mean), ("running_var", var)])
}

fn cases() -> Vec<Case> {
    const EPS: f64 = 1e-5;
    let shapes: [&[usize]; 6] = [&[256, 64], &[3, 1], &[7, 3], &[2, 5, 4, 6], &[3, 33], &[1300, 17]];
    let resnet: [&[usize]; 3] = [&[8, 112, 112, 64], &[8, 28, 28, 512], &[8, 7, 7, 2048]];
    let inputs = |case: Case, dims: &[usize]| {
        let c = dims[dims.len() - 1];
        let dims = super::support::elementwise::dims_of(dims);
        case.float("x", dims, Fill::Normal(0.5, 2.0)).normal("w", [c]).normal("b", [c])
    };
    let eval = |dims: &[usize]| {
        let c = dims[dims.len() - 1];
        let case = inputs(Case::of(format!("eval {dims:?}"), |b, v| batchnorm(b, v[0], v[1], v[2], v[3], v[4], EPS)), dims);
        case.fixed("mean", [c], Fill::Normal(0.0, 1.0)).fixed("var", [c], Fill::Uniform(0.2, 3.0))
    };
    let train = |dims: &[usize], activation: Activation| {
        let build = move |b: &mut Builder, v: &[Value]| Ok(batchnorm_training(b, v[0], v[1], v[2], EPS, activation)?.y);
        inputs(Case::of(format!("train {dims:?} {activation:?}").to_lowercase(), build), dims)
    };
    // The statistics come out as state, staged over the running ones, or over what was staged before.
    let stage = |dims: &[usize], micro_step: i32| {
        let c = dims[dims.len() - 1];
        let case = Case::of(format!("stage {dims:?} {micro_step}"), |b, v| {
            let stats = batchnorm_training(b, v[0], v[1], v[2], EPS, Activation::None)?;
            stage_statistics(b, v[5], v[3], stats.mean, 0.1, v[7])?;
            stage_statistics(b, v[6], v[4], stats.var, 0.1, v[7])?;
            Ok(stats.y)
        });
        let (mean, var) = (Fill::Normal(0.0, 1.0), Fill::Uniform(0.2, 3.0));
        let case = inputs(case, dims).fixed("mean", [c], mean.clone()).fixed("var", [c], var.clone());
        let case = case.state("staged_mean", TensorType::f32([c]), mean).state("staged_var", TensorType::f32([c]), var);
        case.ints("micro_step", [1], Fill::Exact(vec![micro_step]))
    };
    // In place, where x or dy is nobody else's; and with some of the gradients unwanted.
    let made = |name: &str, [rows, c]: [usize; 2], training: bool, backward: bool| {
        let case = Case::of(name, move |b, v| {
            let x = if backward { v[0] } else { tanh(b, v[0])? };
            let y = match training {
                true => batchnorm_training(b, x, v[1], v[2], EPS, Activation::Relu)?.y,
                false => batchnorm(b, x, v[1], v[2], v[3], v[4], EPS)?,
            };
            if backward { scale(b, y, 0.5) } else { Ok(y) }
        });
        let (mean, var) = (Fill::Normal(0.0, 1.0), Fill::Uniform(0.2, 3.0));
        let mut case = inputs(case, &[rows, c]).fixed("mean", [c], mean).fixed("var", [c], var);
        case.inputs.iter_mut().for_each(|input| input.gradient &= backward);
        case
    };
    // A channel is let through or held back as a whole: where single numbers lie near ReLU's corner, finite differences say nothing.
    let apart = |mut case: Case| {
        let b = case.inputs.iter_mut().find(|input| input.name == "b");
        b.into_iter().for_each(|b| b.fill = Fill::Values((0..b.ty.len()).map(|c| if c % 3 == 0 { -12.0 } else { 12.0 }).collect()));
        case
    };
    let only = |case: Case, name: &str, wanted: &[&str]| {
        let mut case = Case { name: name.to_owned(), ..case };
        case.inputs.iter_mut().for_each(|input| input.gradient = wanted.contains(&input.name));
        case
    };
    let fold = |name: &str, bias: bool| {
        let outputs = move |b: &mut Builder, v: &[Value]| b.apply(FoldIntoConv2d { eps: EPS, bias }, v).map(|o| vec![("w", o[0]), ("b", o[1])]);
        let normal = Fill::Normal(0.0, 1.0);
        let case = Case::new(name, outputs).fixed("filters", [19, 3, 3, 2], normal.clone()).fixed("weight", [19], normal.clone());
        let case = case.fixed("bias", [19], normal.clone()).fixed("mean", [19], normal.clone()).fixed("var", [19], Fill::Uniform(0.2, 3.0));
        if bias { case.fixed("before", [19], normal) } else { case }
    };
    // With the moments that a convolution leaves.
    let from_conv2d = |[batch, h, w, i]: [usize; 4], filters: usize, statistics: bool| {
        let name = format!("train from conv2d {batch}x{h}x{w}x{i}_{filters}{}", if statistics { " statistics" } else { "" });
        let case = Case::new(name, move |b, v| {
            let conv = Conv2d { stride: 1, padding: 1, bias: false, residual: false, activation: Activation::None, moments: true };
            let made = b.apply(conv, &v[..2])?;
            let norm = BatchNormTraining { eps: EPS, activation: Activation::None, moments: true };
            let outputs = b.apply(norm, &[made[0], v[2], v[3], made[1]])?;
            let names = if statistics { vec!["y", "mean", "var"] } else { vec!["y"] };
            Ok(names.into_iter().zip(outputs).collect())
        });
        let case = case.normal("x", [batch, h, w, i]).normal("filters", [filters, 3, 3, i]).normal("w", [filters]).normal("b", [filters]);
        // No gradient goes through statistics.
        if statistics { case.without_gradients() } else { case }
    };
    let mut far = train(&[300, 5], Activation::None);
    far.name = "train far from 0".to_owned();
    far.inputs[0].fill = Fill::Normal(30.0, 1.0);
    let mut cases: Vec<Case> = shapes.iter().flat_map(|dims| [eval(dims), train(dims, Activation::None), stage(dims, 0)]).collect();
    cases.extend([stage(&[7, 3], 1), stage(&[7, 3], 4), train(&[2, 3, 2, 5], Activation::Relu), train(&[13, 9], Activation::Relu)]);
    cases.extend([apart(train(&[200, 70], Activation::Relu)), eval(&[200, 70]), far, fold("fold", false), fold("fold bias", true)]);
    for (in_pieces, size) in [("", [70, 33]), (" and in pieces", [160, 64])] {
        let made = |name: &str, training: bool, backward: bool| made(&format!("{name} in place{in_pieces}"), size, training, backward);
        cases.extend([made("eval", false, false), made("train", true, false), made("eval dy", false, true), apart(made("train dy", true, true))]);
    }
    cases.push(eval(&[0, 7]));
    // One part, some of which the last has a row, and more than one block joins.
    cases.extend([from_conv2d([1, 3, 4, 2], 5, false), from_conv2d([2, 5, 7, 3], 33, false)]);
    cases.extend([from_conv2d([1, 5, 13, 3], 7, true), from_conv2d([5, 29, 30, 1], 35, true)]);
    cases.extend([only(eval(&[70, 33]), "eval dw", &["w"]), only(eval(&[70, 33]), "eval dx", &["x"])]);
    let relu = || apart(train(&[70, 33], Activation::Relu));
    cases.extend([only(relu(), "train db", &["b"]), only(relu(), "train dx", &["x"])]);
    cases.extend(resnet.iter().flat_map(|dims| [eval(dims).large(), train(dims, Activation::Relu).large()]));
    cases
}
