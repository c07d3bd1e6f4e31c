//! What the optimizers share: one node updates all parameters, as the device's own counters and flags say.

use super::case::Fill;
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, Side};
use crate::error::Result;
use crate::op::Check;
use crate::tensor::TensorType;

/// Elements of a parameter that are updated by one task.
pub const BLOCK: usize = 16 * 1024;

/// Elements of a workgroup on a GPU: four an invocation.
#[cfg(feature = "wgpu")]
pub const TASK: usize = 1024;

/// Numbers of a step's control on a GPU before the learning rates.
#[cfg(feature = "wgpu")]
const CONTROL: usize = 4;

/// Sizes of tensors around those of a workgroup and of what it takes, for cases.
pub const SIZES: [usize; 8] = [1, 7, 255, 256, 257, 1025, 40_001, 3];

/// Names for as many parameters, moments and gradients.
pub const NAMES: [[&str; 4]; 8] = [
    ["p0", "m0", "v0", "g0"],
    ["p1", "m1", "v1", "g1"],
    ["p2", "m2", "v2", "g2"],
    ["p3", "m3", "v3", "g3"],
    ["p4", "m4", "v4", "g4"],
    ["p5", "m5", "v5", "g5"],
    ["p6", "m6", "v6", "g6"],
    ["p7", "m7", "v7", "g7"],
];

/// How one parameter is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The group whose learning rate it takes.
    pub group: usize,
    /// Whether weight decay applies to it.
    pub decay: bool,
}

/// The control of one step, read.
pub struct Step<'a, T> {
    /// The learning rate of each group.
    pub lr: &'a [T],
    /// The number of this update, counted from 1.
    pub count: i32,
    /// What gradients are multiplied by to clip them.
    pub clip: T,
}

/// Checks an optimizer's inputs: for each role `each` tensors of one shape; then the control, lr f32\[G\], step i32\[1\], norm f32[] and
/// finite i32\[1\].
///
/// # Errors
/// [`crate::Error::Op`].
pub fn check(check: &Check, inputs: &[TensorType], roles: &[Role], each: usize) -> Result<()> {
    check.count(inputs, roles.len() * each + 4)?;
    let (parameters, control) = inputs.split_at(roles.len() * each);
    check.float("lr", &control[0])?;
    check.rank("lr", &control[0], 1)?;
    let groups = control[0].len();
    for (tensors, role) in parameters.chunks(each).zip(roles) {
        check.float("parameter", &tensors[0])?;
        for ty in &tensors[1..] {
            check.that(ty.shape == tensors[0].shape && ty.dtype.is_float(), "moment or gradient", tensors[0], ty)?;
        }
        check.that(role.group < groups, "group", format!("one of {groups}"), role.group)?;
    }
    for (name, ty) in [("step", &control[1]), ("finite", &control[3])] {
        check.int(name, ty)?;
        check.shape(name, ty, &[1])?;
    }
    check.float("norm", &control[2])?;
    check.shape("norm", &control[2], &[])
}

/// Checks the settings that both optimizers have.
///
/// # Errors
/// [`crate::Error::Op`].
pub fn check_settings(check: &Check, weight_decay: f64, clip_norm: Option<f64>) -> Result<()> {
    check.that(weight_decay >= 0.0 && weight_decay.is_finite(), "weight_decay", "a number of at least 0", weight_decay)?;
    let clip_norm = clip_norm.unwrap_or(f64::MAX);
    check.that(clip_norm > 0.0, "clip_norm", "a number above 0", clip_norm)
}

/// Reads the control that starts at input `first`; none where the step is to be skipped. Gradients are clipped as by PyTorch's
/// `clip_grad_norm_`: times `min(1, clip_norm / (norm + 1e-6))`.
///
/// # Errors
/// [`crate::Error::Graph`] where the inputs are not what [`check`] saw.
pub fn step<'a, T: Real>(args: &Args<'a, T>, first: usize, clip_norm: Option<f64>) -> Result<Option<Step<'a, T>>> {
    let (lr, count, norm) = (args.floats(first)?, args.ints(first + 1)?[0], args.floats(first + 2)?[0]);
    let clip = T::of(clip_norm.map_or(1.0, |most| (most / (norm.wide() + 1e-6)).min(1.0)));
    let finite = args.ints(first + 3)?[0] != 0;
    Ok(finite.then_some(Step { lr, count: count.saturating_add(1), clip }))
}

/// The inputs that lie side by side, of so many sets with `each` tensors: all first ones, all second ones, and so on.
pub fn together(sets: usize, each: usize) -> Vec<Vec<usize>> {
    (0..each).map(|t| (0..sets).map(|i| i * each + t).collect()).collect()
}

/// A step's one launch over all parameters. `finish` adds what the optimizer's kernel takes beside what [`check_settings`] saw.
#[cfg(feature = "cuda")]
pub fn cuda_launch(
    launch: &mut cuda::Launch,
    kernel: cuda::Dispatch,
    (roles, each): (&[Role], usize),
    (weight_decay, clip_norm): (f64, Option<f64>),
    finish: impl Fn(cuda::Dispatch) -> cuda::Dispatch,
) {
    let inputs = roles.len() * each;
    let side = |(i, role): (usize, &Role)| {
        let decay = if role.decay { weight_decay as f32 } else { 0.0 };
        cuda::Side { inputs: (i * each..(i + 1) * each).collect(), notes: [role.group, decay.to_bits() as usize] }
    };
    let sides: Vec<cuda::Side> = roles.iter().enumerate().map(side).collect();
    let told = |dispatch: cuda::Dispatch| dispatch.tensors((inputs..inputs + 4).map(cuda::Operand::Input)).number(clip_norm.unwrap_or(0.0));
    launch.sweep(kernel, &sides, |dispatch| finish(told(dispatch)));
}

/// What benchmarks fill an optimizer's inputs with: of four tensors of a parameter the third is a mean of squares, and rates are small.
pub fn fill(parameters: usize, each: usize, inputs: &[TensorType], i: usize) -> Option<Fill> {
    let control = parameters * each;
    match i {
        _ if i < control => (each == 4 && i % each == 2).then_some(Fill::Uniform(0.0, 1.0)),
        _ if i == control => Some(Fill::Uniform(1e-4, 1e-3)),
        _ => inputs[i].dtype.is_float().then(|| Fill::Values(vec![1.0])),
    }
}

/// A step's launches: one that works out what depends on the step alone, then as many as the memory of parameters, moments and gradients asks for.
/// `finish` adds what the optimizer's `Size` has beside what [`check_settings`] saw.
///
/// # Errors
/// [`crate::Error::Graph`] where a tensor has no memory.
#[cfg(feature = "wgpu")]
pub fn launch(
    launch: &mut Launch,
    (source, stem): (&'static str, &str),
    (roles, each): (&[Role], usize),
    (weight_decay, clip_norm): (f64, Option<f64>),
    finish: impl Fn(Dispatch) -> Dispatch,
) -> Result<()> {
    let inputs = roles.len() * each;
    let rates = launch.ty(inputs).len();
    let control = launch.scratch(CONTROL + rates);
    let kernel = |pass: &str, operands: Vec<Operand>| {
        let dispatch = Dispatch::new(source, format!("{stem}_{pass}_f32"), operands).swept(each, TASK).constant("CLIP", clip_norm.is_some());
        finish(dispatch.size(rates).number(clip_norm.unwrap_or(0.0)))
    };
    launch.add(kernel("control", [control].into_iter().chain((inputs..inputs + 4).map(Operand::Input)).collect()));
    let side = |(i, role): (usize, &Role)| {
        let decay = if role.decay { weight_decay as f32 } else { 0.0 };
        Side { inputs: (i * each..(i + 1) * each).collect(), notes: [role.group as u32, decay.to_bits()] }
    };
    let sides: Vec<Side> = roles.iter().enumerate().map(side).collect();
    launch.sweep(&kernel("forward", vec![control]), &sides, each - 1, TASK, &[])
}
