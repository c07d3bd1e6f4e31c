//! What several parts are made of: a layer with its parameters, under its name.

use crate::error::Result;
use crate::graph::{Builder, Segment, StateKind, Value};
use crate::ops::add_layernorm::add_layernorm;
use crate::ops::assign::assign_if;
use crate::ops::attention::Dropout;
use crate::ops::dropout::{dropout, stable_key};
use crate::ops::layernorm::layernorm;
use crate::ops::linear::{self, Activation};
use crate::ops::slice::slice;
use crate::tensor::TensorType;

/// What a forward pass needs to know to be trained. A part of which nothing is trained is built without.
#[derive(Debug)]
pub struct Training {
    /// i32 \[4\]: seed (low, high), step, micro-step.
    pub control: Value,
    /// i32 \[1\]: the last of them.
    pub micro_step: Value,
    /// Batch statistics that wait for the optimizer step: (running, staged).
    statistics: Vec<(Value, Value)>,
    /// The parameters that are trained; none stands for all.
    trained: Option<Vec<String>>,
}

/// The name of the control state: i32 \[4\], seed (low, high), step, micro-step.
pub const CONTROL: &str = "control";

impl Training {
    /// Adds the control state to the graph. Everything is trained.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] where its name stands for something else.
    pub fn new(b: &mut Builder) -> Result<Self> {
        let control = b.global_state(CONTROL, TensorType::i32([4]), StateKind::Control)?;
        Ok(Training { control, micro_step: slice(b, control, 0, 3, 1)?, statistics: Vec::new(), trained: None })
    }

    /// The same where only the parameters of these names are trained.
    pub fn only(self, parameters: Vec<String>) -> Self {
        Training { trained: Some(parameters), ..self }
    }

    /// True where some parameter is trained whose name starts with `prefix`.
    pub fn trains(&self, prefix: &str) -> bool {
        self.trained.as_ref().is_none_or(|names| names.iter().any(|n| n.starts_with(prefix)))
    }

    /// Remembers a staged statistic for [`Training::commit`].
    pub fn stage(&mut self, running: Value, staged: Value) {
        self.statistics.push((running, staged));
    }

    /// Appends, to the apply segment, the nodes that make the staged statistics the running ones where the step was `finite`.
    ///
    /// # Errors
    /// Those of [`Builder::apply`].
    pub fn commit(&mut self, b: &mut Builder, finite: Value) -> Result<()> {
        let segment = b.set_segment(Segment::Apply);
        for (running, staged) in self.statistics.drain(..) {
            assign_if(b, running, staged, finite)?;
        }
        b.set_segment(segment);
        Ok(())
    }
}

/// `x W^T + b` with the parameters `<name>.weight` [out, in] and `<name>.bias` \[out\].
pub fn dense(b: &mut Builder, name: &str, x: Value, out: usize, activation: Activation) -> Result<Value> {
    let (_, width) = b.shape(x).rows_and_width();
    b.scoped(name, |b| {
        let weight = b.parameter("weight", [out, width])?;
        let bias = b.parameter("bias", [out])?;
        linear::linear(b, x, weight, Some(bias), activation)
    })
}

/// Layer norm over the last dimension with the parameters `<name>.weight` and `<name>.bias`.
pub fn norm(b: &mut Builder, name: &str, x: Value, eps: f64) -> Result<Value> {
    let (_, width) = b.shape(x).rows_and_width();
    b.scoped(name, |b| {
        let weight = b.parameter("weight", [width])?;
        let bias = b.parameter("bias", [width])?;
        layernorm(b, x, weight, bias, eps)
    })
}

/// (norm(x + residual), x + residual) with the parameters of [`norm`].
pub fn add_norm(b: &mut Builder, name: &str, x: Value, residual: Value, eps: f64) -> Result<(Value, Value)> {
    let (_, width) = b.shape(x).rows_and_width();
    b.scoped(name, |b| {
        let weight = b.parameter("weight", [width])?;
        let bias = b.parameter("bias", [width])?;
        add_layernorm(b, x, residual, weight, bias, eps)
    })
}

/// Dropout in training, keyed by `<scope>.<name>`; nothing elsewhere.
pub fn drop(b: &mut Builder, name: &str, x: Value, p: f64, training: Option<&Training>) -> Result<Value> {
    match training {
        Some(t) if p > 0.0 => dropout(b, x, p, t.control, key(b, name)),
        _ => Ok(x),
    }
}

/// Dropout of an attention's probabilities, where it is to be.
pub fn drop_attention(b: &Builder, p: f64, training: Option<&Training>) -> Option<Dropout> {
    training.filter(|_| p > 0.0).map(|t| Dropout { p, rng: t.control, key: key(b, "probabilities") })
}

fn key(b: &Builder, name: &str) -> u64 {
    stable_key(&format!("{}.{name}", b.scope()))
}
