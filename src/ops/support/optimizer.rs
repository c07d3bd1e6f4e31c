//! What the optimizers share: one node updates all parameters, as the device's own counters and flags say.

use crate::device::cpu::{Args, Real};
use crate::error::Result;
use crate::graph::Value;
use crate::op::Check;
use crate::tensor::TensorType;

/// Elements of a parameter that are updated by one task.
pub const BLOCK: usize = 16 * 1024;

/// What a step reads beside parameters and gradients. All of it lies on the device, so that one graph serves every step.
#[derive(Debug, Clone, Copy)]
pub struct Control {
    /// f32[G]: the learning rate of each group of parameters.
    pub lr: Value,
    /// i32[1]: how many updates were applied before this one.
    pub step: Value,
    /// f32[]: the norm of all gradients, as scaled.
    pub norm: Value,
    /// i32[1]: 0 where some gradient is not finite. Then nothing changes.
    pub finite: Value,
    /// f32[]: multiplies the gradients first, such as the inverse of a loss scale.
    pub scale: Option<Value>,
}

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
    /// What gradients are multiplied by: scale and clipping together.
    pub coefficient: T,
}

impl Control {
    /// The values in the order in which an optimizer's node takes them, behind the parameters.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        [self.lr, self.step, self.norm, self.finite].into_iter().chain(self.scale)
    }
}

/// Checks an optimizer's inputs: for each role `each` tensors of one type, then the control.
///
/// # Errors
/// [`crate::Error::Op`].
pub fn check(check: &Check, inputs: &[TensorType], roles: &[Role], each: usize, scale: bool) -> Result<()> {
    check.count(inputs, roles.len() * each + 4 + usize::from(scale))?;
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
    for (name, i) in [("step", 1), ("finite", 3)] {
        check.int(name, &control[i])?;
        check.shape(name, &control[i], &[1])?;
    }
    for (name, ty) in ["norm", "scale"].into_iter().zip([Some(&control[2]), control.get(4)]) {
        ty.map_or(Ok(()), |ty| check.float(name, ty).and(check.shape(name, ty, &[])))?;
    }
    Ok(())
}

/// Reads the control that starts at input `first`; none where the step is to be skipped. Gradients are clipped as by PyTorch's
/// `clip_grad_norm_`: times `min(1, clip / (norm + 1e-6))`.
///
/// # Errors
/// [`crate::Error::Graph`] where the inputs are not what [`check`] saw.
pub fn step<'a, T: Real>(args: &Args<'a, T>, first: usize, clip_norm: Option<f64>, scale: bool) -> Result<Option<Step<'a, T>>> {
    let (lr, count, norm) = (args.floats(first)?, args.ints(first + 1)?[0], args.floats(first + 2)?[0]);
    if args.ints(first + 3)?[0] == 0 {
        return Ok(None);
    }
    let clip = clip_norm.map_or(1.0, |most| (most / (norm.wide() + 1e-6)).min(1.0));
    let scale = if scale { args.floats(first + 4)?[0].wide() } else { 1.0 };
    Ok(Some(Step { lr, count: count.saturating_add(1), coefficient: T::of(clip * scale) }))
}
