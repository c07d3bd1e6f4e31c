//! One training step as a graph of two segments.
//!
//! *Accumulate* ([`Segment::Run`]): forward, loss, backward, add to the summed gradients; batch norm's statistics are staged.
//! *Apply* ([`Segment::Apply`]): gradient norm, clip, optimizer, moving averages, commit of the statistics; nothing happens where the norm
//! is not finite, but that the loss scale falls. What changes between replays is read from state:
//!
//! | state | who writes it |
//! |---|---|
//! | [`CONTROL`](crate::model::layers::CONTROL) i32 \[4\] | the host, before each *accumulate* |
//! | [`DENOMINATOR`] f32 [] | the host, before the first *accumulate* of a step |
//! | [`LEARNING_RATE`] f32 \[groups\] | the host, before *apply* |
//! | [`LOSS_SCALE`] f32 \[1\] | the host, once; then *apply* |
//! | [`STEP`], [`GOOD_STEPS`] i32 \[1\] | *apply*, from 0 |
//!
//! # Half precision
//! [`lower_precision`](crate::graph::lower_precision) makes products compute in bf16 or f16. Parameters, summed gradients, moments and
//! averages stay f32. In f16 small gradients would vanish: the loss's gradient is multiplied by the loss scale, and each gradient is
//! divided by it where it is added to its sum. What overflowed on the way is infinite there, the norm is not finite, the step is skipped,
//! and the scale falls by half. Both are exact, as the scale is a power of two.
//!
//! # Data parallel
//! Between *accumulate* and *apply* all gradients lie in the states that [`Step::gradient`] names, free of the loss scale. That is where
//! processes add theirs up: sums, not means, where each has written the count over all processes as the [`DENOMINATOR`]. Each gives
//! dropout another seed in `CONTROL`. Batch norm's statistics are each one's own: the staged ones, states `<statistic>.staged`, are averaged
//! in the same place. What overflowed in one process makes the sum infinite in all, so that all take, or skip, the same step.

mod options;

pub use options::{Optimizer, StepOptions};

use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Segment, StateKind, Value, gradients};
use crate::model::Training;
use crate::model::captioner::captioner;
use crate::model::config::{EscnetConfig, LossConfig, LossKind};
use crate::model::escnet::{Trained, classifier};
use crate::ops::accumulate::accumulate;
use crate::ops::advance::advance;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::ema::ema;
use crate::ops::grad_norm::grad_norm;
use crate::ops::loss_scale::loss_scale;
use crate::ops::reshape::reshape;
use crate::ops::top_k::top_k;
use crate::ops::variable_weight_loss::{self as weighted, variable_weight_loss};
use crate::ops::{adamw, rules, sgd};
use crate::tensor::{Tensor, TensorType};

/// The state that holds how many updates were applied: i32 \[1\].
pub const STEP: &str = "optimizer.step";
/// The state that holds the learning rate of each parameter group: f32 \[groups\].
pub const LEARNING_RATE: &str = "optimizer.lr";
/// The state that holds what the summed loss is divided by: f32 [], the counted tokens or pictures of all micro-steps together.
pub const DENOMINATOR: &str = "loss.denominator";
/// The state that holds what the loss's gradient is multiplied by, where [`StepOptions::loss_scale`] says so: f32 \[1\], a power of two.
/// A new run starts it at [`INITIAL_LOSS_SCALE`]; a run that goes on, with what it was.
pub const LOSS_SCALE: &str = "loss.scale";
/// Where the loss scale starts: 2^16, as in PyTorch.
pub const INITIAL_LOSS_SCALE: f32 = 65_536.0;
/// The state that holds how many steps were finite since the loss scale last moved: i32 \[1\].
pub const GOOD_STEPS: &str = "loss.good_steps";
/// Labels that do not count.
pub const IGNORED: i32 = -100;

/// Which stage is trained, and the extents of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The captioner on captions. Inputs: `caption_image`, `lm_ids`, `lm_mask` and `lm_labels`, each [batch, length] or its rows: the
    /// labels are the ids one to the left, [`IGNORED`] where they do not count.
    Caption {
        /// Pictures.
        batch: usize,
        /// Tokens that are predicted from: one less than the captions have.
        length: usize,
    },
    /// Backbone, text encoder and fusion on labelled pictures with captions. Inputs: those of [`classifier`] and `labels` \[batch\].
    Classify {
        /// Pictures.
        batch: usize,
        /// Tokens of a caption.
        words: usize,
        /// What is trained.
        trained: Trained,
    },
}

/// A training step's graph. Results: `loss` [] of the micro-step; after apply `grad_norm` [] and `finite` i32 \[1\].
#[derive(Debug)]
pub struct Step {
    /// The graph, not yet lowered or fused.
    pub graph: Graph,
    /// The names of the trained parameters. The summed gradient of each is the state [`Step::gradient`] names.
    pub parameters: Vec<String>,
}

impl Step {
    /// The state that holds a parameter's summed gradient.
    pub fn gradient(parameter: &str) -> String {
        format!("grad.{parameter}")
    }

    /// The state that holds a parameter's moving average, where there is one. It starts with the first applied update, as the parameter
    /// itself; a store that goes on from a later step must hold it.
    pub fn average(parameter: &str) -> String {
        format!("ema.{parameter}")
    }
}

/// Builds a training step.
///
/// # Errors
/// Those of the model's builders; [`Error::Graph`] where nothing is trained, or for a parameter that the loss does not depend on;
/// [`Error::Op`] for settings that an operator refuses, such as a group without a learning rate.
pub fn build(config: &EscnetConfig, stage: Stage, options: &StepOptions) -> Result<Step> {
    let parameters = trained_parameters(config, stage, options)?;
    let mut b = Builder::new();
    let mut training = Training::new(&mut b)?.only(parameters.clone());
    let denominator = b.global_state(DENOMINATOR, TensorType::f32([]), StateKind::Control)?;
    let loss = loss(&mut b, config, stage, denominator, &mut training)?;
    b.output("loss", loss);
    let scale = match options.loss_scale {
        true => Some(b.global_state(LOSS_SCALE, TensorType::f32([1]), StateKind::Control)?),
        false => None,
    };
    let tuned = accumulated(&mut b, loss, &parameters, training.control, scale)?;
    b.set_segment(Segment::Apply);
    let sums: Vec<Value> = tuned.iter().map(|t| t.gradient).collect();
    let (norm, finite) = grad_norm(&mut b, &sums)?;
    let step = b.global_state(STEP, TensorType::i32([1]), StateKind::Control)?;
    optimizer(&mut b, options, &tuned, step, norm, finite)?;
    if let Some(decay) = options.ema {
        let average = |b: &mut Builder, t: &Tuned| b.global_state(&Step::average(t.name), b.ty(t.parameter), StateKind::Moment);
        let pairs = tuned.iter().map(|t| Ok((average(&mut b, t)?, t.parameter))).collect::<Result<Vec<_>>>()?;
        ema(&mut b, &pairs, decay, step, finite)?;
    }
    training.commit(&mut b, finite)?;
    if let Some(scale) = scale {
        let good = b.global_state(GOOD_STEPS, TensorType::i32([1]), StateKind::Control)?;
        loss_scale(&mut b, scale, good, finite, i32::try_from(options.growth_interval).unwrap_or(i32::MAX))?;
    }
    advance(&mut b, step, finite)?;
    b.output("grad_norm", norm);
    b.output("finite", finite);
    Ok(Step { graph: b.finish(), parameters })
}

/// A parameter and its summed gradient.
struct Tuned<'a> {
    name: &'a str,
    parameter: Value,
    gradient: Value,
}

/// The names of what is trained, in the order in which the forward pass, built here as in inference, asks for it.
fn trained_parameters(config: &EscnetConfig, stage: Stage, options: &StepOptions) -> Result<Vec<String>> {
    let mut b = Builder::new();
    match stage {
        Stage::Caption { batch, length } => drop(captioner(&mut b, &config.captioner, batch, length, None)?),
        Stage::Classify { batch, words, .. } => drop(classifier(&mut b, config, batch, words, None)?),
    }
    let of_stage = |name: &str| match stage {
        Stage::Caption { .. } => true,
        Stage::Classify { trained, .. } => trained.contains(name),
    };
    let parameters = b.graph().states().filter(|(.., kind)| *kind == StateKind::Parameter).map(|(_, info, _)| info.name.as_str());
    let trained: Vec<String> = parameters.filter(|name| of_stage(name) && !(options.frozen)(name)).map(str::to_owned).collect();
    if trained.is_empty() {
        return Err(Error::graph("parameters", "at least one that is trained", "all of them frozen"));
    }
    Ok(trained)
}

fn loss(b: &mut Builder, config: &EscnetConfig, stage: Stage, denominator: Value, training: &mut Training) -> Result<Value> {
    match stage {
        Stage::Caption { batch, length } => caption_loss(b, config, batch, length, denominator, training),
        Stage::Classify { batch, words, .. } => {
            let built = classifier(b, config, batch, words, Some(training))?;
            let labels = b.input("labels", TensorType::i32([batch]))?;
            predicted(b, built.fused.logits)?;
            variable_weight_loss(b, built.fused.logits, labels, weighting(&config.loss), Some(denominator))
        }
    }
}

/// Appends the backward pass of the loss, times `scale`, and adds each gradient, without the scale, to its state.
fn accumulated<'a>(b: &mut Builder, loss: Value, parameters: &'a [String], control: Value, scale: Option<Value>) -> Result<Vec<Tuned<'a>>> {
    let seed = match scale {
        Some(scale) => reshape(b, scale, [])?,
        None => b.constant(Tensor::scalar(1.0)),
    };
    let of_graph = |name: &String| b.graph().named(name).ok_or_else(|| Error::graph(name, "a parameter of the model in training", "none"));
    let wrt = parameters.iter().map(of_graph).collect::<Result<Vec<Value>>>()?;
    let grads = gradients(b, &rules(), &[(loss, seed)], &wrt)?;
    let mut tuned = Vec::with_capacity(parameters.len());
    for ((name, parameter), grad) in parameters.iter().zip(wrt).zip(grads) {
        let grad = grad.ok_or_else(|| Error::graph(name, "a parameter that the loss depends on", "none"))?;
        let gradient = b.global_state(&Step::gradient(name), b.ty(parameter), StateKind::Gradient)?;
        accumulate(b, gradient, grad, control, scale)?;
        tuned.push(Tuned { name, parameter, gradient });
    }
    Ok(tuned)
}

fn optimizer(b: &mut Builder, options: &StepOptions, tuned: &[Tuned], step: Value, norm: Value, finite: Value) -> Result<()> {
    let rate = b.global_state(LEARNING_RATE, TensorType::f32([options.groups]), StateKind::Control)?;
    let moment = |b: &mut Builder, which: &str, t: &Tuned| b.global_state(&format!("{which}.{}", t.name), b.ty(t.parameter), StateKind::Moment);
    let StepOptions { weight_decay, clip_norm, .. } = *options;
    let role = |b: &Builder, t: &Tuned| ((options.group)(t.name), (options.decayed)(t.name, &b.shape(t.parameter)));
    match options.optimizer {
        Optimizer::AdamW { betas, eps } => {
            let mut all = Vec::with_capacity(tuned.len());
            for t in tuned {
                let (m, v) = (moment(b, "adamw.m", t)?, moment(b, "adamw.v", t)?);
                let (group, decay) = role(b, t);
                all.push(adamw::Tuned { parameter: t.parameter, m, v, gradient: t.gradient, group, decay });
            }
            adamw::adamw(b, adamw::AdamW { betas, eps, weight_decay, clip_norm }, &all, rate, step, norm, finite)
        }
        Optimizer::Sgd { momentum, nesterov } => {
            let mut all = Vec::with_capacity(tuned.len());
            for t in tuned {
                let m = moment(b, "sgd.m", t)?;
                let (group, decay) = role(b, t);
                all.push(sgd::Tuned { parameter: t.parameter, m, gradient: t.gradient, group, decay });
            }
            sgd::sgd(b, sgd::Sgd { momentum, nesterov, weight_decay, clip_norm }, &all, rate, step, norm, finite)
        }
    }
}

/// Next-token cross-entropy. The last token of a caption predicts nothing, so the decoder is not run on it.
fn caption_loss(b: &mut Builder, config: &EscnetConfig, batch: usize, length: usize, denominator: Value, training: &Training) -> Result<Value> {
    let built = captioner(b, &config.captioner, batch, length, Some(training))?;
    let labels = b.input("lm_labels", TensorType::i32([batch * length]))?;
    let text = &config.captioner.text_config;
    let logits = reshape(b, built.logits, [batch * length, text.vocab_size])?;
    predicted(b, logits)?;
    cross_entropy(b, logits, labels, Some(denominator), text.label_smoothing, IGNORED)
}

/// The likeliest answer of each row, for the share of right ones.
fn predicted(b: &mut Builder, logits: Value) -> Result<()> {
    let (_, ids) = top_k(b, logits, 1)?;
    b.output("predicted", ids);
    Ok(())
}

fn weighting(loss: &LossConfig) -> weighted::LossConfig {
    weighted::LossConfig {
        kind: match loss.kind {
            LossKind::VariableWeight => weighted::LossKind::VariableWeight,
            LossKind::Focal => weighted::LossKind::Focal,
            LossKind::CrossEntropy => weighted::LossKind::CrossEntropy,
        },
        lambda: loss.lambda,
        gamma: loss.gamma,
        label_smoothing: loss.label_smoothing,
        class_weights: loss.class_weights.as_ref().map(|w| w.iter().map(|&w| w as f32).collect()),
    }
}
