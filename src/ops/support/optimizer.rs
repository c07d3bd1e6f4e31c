//! What the optimizers share: one node updates all parameters, as the device's own counters and flags say.

use crate::device::cpu::{Args, Real};
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand};
use crate::error::Result;
use crate::op::Check;
use crate::tensor::TensorType;

/// Elements of a parameter that are updated by one task.
pub const BLOCK: usize = 16 * 1024;

/// Elements of an invocation on a GPU.
#[cfg(feature = "wgpu")]
pub const SPAN: usize = 4;

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

/// A step's launches, one a parameter; `finish` adds what the optimizer's `Size` has beside what [`check_settings`] saw.
#[cfg(feature = "wgpu")]
pub fn launch(
    launch: &mut Launch,
    (source, entry): (&'static str, &str),
    (roles, each): (&[Role], usize),
    (weight_decay, clip_norm): (f64, Option<f64>),
    finish: impl Fn(Dispatch) -> Dispatch,
) {
    let control = roles.len() * each;
    for (i, role) in roles.iter().enumerate() {
        let at = i * each;
        let tensors: Vec<Operand> = (at..at + each - 1).map(Operand::Update).chain([Operand::Input(at + each - 1)]).collect();
        let operands: Vec<Operand> = (control..control + 4).map(Operand::Input).chain(tensors.iter().copied()).collect();
        let dispatch = Dispatch::new(source, entry, operands).constant("SPAN", SPAN).constant("CLIP", clip_norm.is_some());
        let decay = if role.decay { weight_decay } else { 0.0 };
        launch.in_pieces(launch.ty(at).len(), &tensors, |launch| {
            let n = launch.ty(at).len();
            let dispatch = dispatch.clone().size(n).size(role.group).number(decay).number(clip_norm.unwrap_or(0.0));
            launch.add(finish(dispatch).over(n.div_ceil(SPAN)));
        });
    }
}
