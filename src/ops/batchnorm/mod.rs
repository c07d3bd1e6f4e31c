//! Batch normalisation over the last dimension: `y = (x - mean) rstd w + b` with `rstd = 1 / sqrt(var + eps)`.
//!
//! x is [.., C], its n rows the pixels of all pictures; the rest is \[C\]. In inference mean and var are running statistics
//! (`inference.rs`), in training those of the rows themselves (`training.rs`, Ioffe and Szegedy 2015, arXiv:1502.03167), which are
//! staged for the running ones (`stage.rs`). In inference the normalisation folds into the filters of the convolution before it
//! (`fold.rs`); in training that convolution takes the statistics (`moments.rs`), and a residual and ReLU behind it are part of it.

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
    // Moments, where there are some: of these no count is less than 1. And the variance.
    fill: |op, _, i| match op.downcast::<BatchNormTraining>() {
        Some(op) => (op.moments && i == op.moments_at()).then_some(Fill::Uniform(1.0, 2.0)),
        None => (i == 4).then_some(Fill::Uniform(0.5, 2.0)),
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

/// `y[i] = f(i, a[i], b[i])` for one row, where y may hold either already.
#[inline(always)]
fn zip_row<T: Real>(a: Option<&[T]>, b: Option<&[T]>, y: &mut [T], f: impl Fn(usize, T, T) -> T) {
    match (a, b) {
        (Some(a), Some(b)) => {
            for (i, ((y, &a), &b)) in y.iter_mut().zip(a).zip(b).enumerate() {
                *y = f(i, a, b);
            }
        }
        (None, Some(b)) => {
            for (i, (y, &b)) in y.iter_mut().zip(b).enumerate() {
                *y = f(i, *y, b);
            }
        }
        (Some(a), None) => {
            for (i, (y, &a)) in y.iter_mut().zip(a).enumerate() {
                *y = f(i, a, *y);
            }
        }
        (None, None) => {}
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
        let stats = batchnorm_training(b, x, w, bias, None, eps, Activation::None)?;
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
        let build = move |b: &mut Builder, v: &[Value]| Ok(batchnorm_training(b, v[0], v[1], v[2], None, EPS, activation)?.y);
        inputs(Case::of(format!("train {dims:?} {activation:?}").to_lowercase(), build), dims)
    };
    // The statistics come out as state, staged over the running ones, or over what was staged before.
    let stage = |dims: &[usize], micro_step: i32| {
        let c = dims[dims.len() - 1];
        let case = Case::of(format!("stage {dims:?} {micro_step}"), |b, v| {
            let stats = batchnorm_training(b, v[0], v[1], v[2], None, EPS, Activation::None)?;
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
                true => batchnorm_training(b, x, v[1], v[2], None, EPS, Activation::Relu)?.y,
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
    // The residual's numbers are far enough from 0 that none lies near ReLU's corner, and which are let through differs from row to row.
    let far_from_0 = |dims: &[usize]| {
        let c = dims[dims.len() - 1];
        let number = |i: usize| if (2 * (i / c) + i % c).is_multiple_of(3) { -20.0 } else { 20.0 } * (1.0 + (i % 7) as f64 / 8.0);
        Fill::Values((0..dims.iter().product()).map(number).collect())
    };
    let with_residual = |case: Case, dims: &[usize]| case.float("residual", super::support::elementwise::dims_of(dims), far_from_0(dims));
    let train_residual = |dims: &[usize], activation: Activation| {
        let build = move |b: &mut Builder, v: &[Value]| Ok(batchnorm_training(b, v[0], v[1], v[2], Some(v[3]), EPS, activation)?.y);
        inputs(Case::of(format!("residual {dims:?} {activation:?}").to_lowercase(), build), dims)
    };
    let residual = |dims: &[usize], activation: Activation| with_residual(train_residual(dims, activation), dims);
    // No differences are taken of the large ones, and their numbers would be 83 MB in each process that looks for a case.
    let large_residual = |dims: &[usize]| {
        let residual = super::support::elementwise::dims_of(dims);
        train_residual(dims, Activation::Relu).float("residual", residual, Fill::Normal(0.0, 20.0)).large()
    };
    // y in place of x, which the backward pass would read; y in place of the residual, and dz in that of dy.
    let residual_in_place = |name: &str, dims: [usize; 2], of_x: bool| {
        let case = Case::of(name, move |b, v| {
            let x = if of_x { tanh(b, v[0])? } else { v[0] };
            let residual = if of_x { v[3] } else { scale(b, v[3], 2.0)? };
            let y = batchnorm_training(b, x, v[1], v[2], Some(residual), EPS, Activation::Relu)?.y;
            if of_x { Ok(y) } else { scale(b, y, 0.5) }
        });
        let case = with_residual(inputs(case, &dims), &dims);
        if of_x { case.without_gradients() } else { case }
    };
    let itself = Case::of("residual x", |b, v| {
        let x = tanh(b, v[0])?;
        Ok(batchnorm_training(b, x, v[1], v[2], Some(x), EPS, Activation::None)?.y)
    });
    // z is -1 and 3.
    let known = Case::of("residual known", |b, v| Ok(batchnorm_training(b, v[0], v[1], v[2], Some(v[3]), 0.0, Activation::Relu)?.y));
    let values = |values: &[f64]| Fill::Values(values.to_vec());
    let known = known.fixed("x", [2, 1], values(&[1.0, 3.0])).fixed("w", [1], values(&[2.0])).fixed("b", [1], values(&[1.0]));
    let known = known.fixed("residual", [2, 1], values(&[2.5, -4.0])).expects("y", vec![1.5, 0.0]);
    // With the moments that a convolution leaves.
    let from_conv2d = |[batch, h, w, i]: [usize; 4], filters: usize, statistics: bool| {
        let name = format!("train from conv2d {batch}x{h}x{w}x{i}_{filters}{}", if statistics { " statistics" } else { "" });
        let case = Case::new(name, move |b, v| {
            let conv = Conv2d { stride: 1, padding: 1, bias: false, residual: false, activation: Activation::None, moments: true };
            let made = b.apply(conv, &v[..2])?;
            let norm = BatchNormTraining { eps: EPS, activation: Activation::None, residual: false, moments: true };
            let outputs = b.apply(norm, &[made[0], v[2], v[3], made[1]])?;
            let names = if statistics { vec!["y", "mean", "var"] } else { vec!["y"] };
            Ok(names.into_iter().zip(outputs).collect())
        });
        let case = case.normal("x", [batch, h, w, i]).normal("filters", [filters, 3, 3, i]).normal("w", [filters]).normal("b", [filters]);
        // No gradient goes through statistics.
        if statistics { case.without_gradients() } else { case }
    };
    let residual_from_conv2d = Case::of("residual from conv2d", |b, v| {
        let conv = Conv2d { stride: 1, padding: 0, bias: false, residual: false, activation: Activation::None, moments: true };
        let made = b.apply(conv, &v[..2])?;
        let norm = BatchNormTraining { eps: EPS, activation: Activation::Relu, residual: true, moments: true };
        Ok(b.apply(norm, &[made[0], v[2], v[3], v[4], made[1]])?[0])
    });
    let residual_from_conv2d = residual_from_conv2d.normal("x", [2, 5, 7, 3]).normal("filters", [33, 1, 1, 3]).normal("w", [33]).normal("b", [33]);
    let mut far = train(&[300, 5], Activation::None);
    far.name = "train far from 0".to_owned();
    far.inputs[0].fill = Fill::Normal(30.0, 1.0);
    let mut cases: Vec<Case> = shapes.iter().flat_map(|dims| [eval(dims), train(dims, Activation::None), stage(dims, 0)]).collect();
    cases.extend([stage(&[7, 3], 1), stage(&[7, 3], 4), train(&[2, 3, 2, 5], Activation::Relu), train(&[13, 9], Activation::Relu)]);
    cases.extend([apart(train(&[200, 70], Activation::Relu)), eval(&[200, 70]), far, fold("fold", false), fold("fold bias", true)]);
    for (in_pieces, size) in [("", [70, 33]), (" and in pieces", [160, 64])] {
        let made = |name: &str, training: bool, backward: bool| made(&format!("{name} in place{in_pieces}"), size, training, backward);
        cases.extend([made("eval", false, false), made("train", true, false), made("eval dy", false, true), apart(made("train dy", true, true))]);
        let residual = |name: &str, of_x: bool| residual_in_place(&format!("{name} in place{in_pieces}"), size, of_x);
        cases.extend([residual("residual x", true), residual("residual dy", false)]);
    }
    cases.extend([residual(&[7, 3], Activation::None), residual(&[2, 5, 4, 6], Activation::None), residual(&[2, 3, 2, 5], Activation::Relu)]);
    cases.extend([residual(&[13, 9], Activation::Relu), residual(&[200, 70], Activation::Relu), residual(&[1300, 17], Activation::Relu)]);
    cases.extend([inputs(itself, &[21, 35]), known, with_residual(residual_from_conv2d, &[2, 5, 7, 33])]);
    let one = |name: &str, wanted: &str| only(residual(&[70, 33], Activation::Relu), name, &[wanted]);
    cases.extend([one("residual dw", "w"), one("residual dx", "x"), one("residual dr", "residual")]);
    cases.push(eval(&[0, 7]));
    // One part, some of which the last has a row, and more than one block joins.
    cases.extend([from_conv2d([1, 3, 4, 2], 5, false), from_conv2d([2, 5, 7, 3], 33, false)]);
    cases.extend([from_conv2d([1, 5, 13, 3], 7, true), from_conv2d([5, 29, 30, 1], 35, true)]);
    cases.extend([only(eval(&[70, 33]), "eval dw", &["w"]), only(eval(&[70, 33]), "eval dx", &["x"])]);
    let relu = || apart(train(&[70, 33], Activation::Relu));
    cases.extend([only(relu(), "train db", &["b"]), only(relu(), "train dx", &["x"])]);
    cases.extend(resnet.iter().flat_map(|dims| [eval(dims).large(), train(dims, Activation::Relu).large(), large_residual(dims)]));
    cases
}
