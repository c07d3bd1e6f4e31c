//! One training step as a graph of two segments.
//!
//! *Accumulate* ([`Segment::Run`]): forward, loss, backward, add to the summed gradients; batch norm's statistics are staged.
//! *Apply* ([`Segment::Apply`]): gradient norm, clip, optimizer, commit of the statistics; nothing happens where the norm is not finite.
//! What changes between replays is read from state: [`CONTROL`](crate::model::layers::CONTROL), [`STEP`], [`LEARNING_RATE`], [`DENOMINATOR`].

use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Segment, Source, StateKind, Value, gradients};
use crate::model::Training;
use crate::model::captioner::captioner;
use crate::model::config::{EscnetConfig, LossConfig, LossKind};
use crate::model::escnet::{Trained, classifier};
use crate::ops::accumulate::accumulate;
use crate::ops::adamw::{AdamW, Tuned, adamw};
use crate::ops::advance::advance;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::grad_norm::grad_norm;
use crate::ops::reshape::reshape;
use crate::ops::rules;
use crate::ops::variable_weight_loss::{self as weighted, variable_weight_loss};
use crate::tensor::{Tensor, TensorType};

/// The state that holds how many updates were applied: i32 \[1\].
pub const STEP: &str = "optimizer.step";
/// The state that holds the learning rate of each parameter group: f32 \[groups\].
pub const LEARNING_RATE: &str = "optimizer.lr";
/// The state that holds what the summed loss is divided by: f32 [], the counted tokens or pictures of all micro-steps together.
pub const DENOMINATOR: &str = "loss.denominator";
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

/// AdamW's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerOptions {
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay of every tensor of two or more dimensions.
    pub weight_decay: f64,
    /// The most the gradient's norm may be.
    pub clip_norm: Option<f64>,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        OptimizerOptions { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.05, clip_norm: Some(1.0) }
    }
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
}

/// Builds a training step. `group` says for each parameter which learning rate is its own.
///
/// # Errors
/// Those of the model's builders; [`Error::Graph`] for a parameter that the loss does not depend on.
pub fn build(config: &EscnetConfig, stage: Stage, optimizer: &OptimizerOptions, groups: usize, group: &dyn Fn(&str) -> usize) -> Result<Step> {
    let mut b = Builder::new();
    let mut training = Training::new(&mut b)?;
    let denominator = b.global_state(DENOMINATOR, TensorType::f32([]), StateKind::Control)?;
    let loss = match stage {
        Stage::Caption { batch, length } => caption_loss(&mut b, config, batch, length, denominator, &training)?,
        Stage::Classify { batch, words, trained } => {
            let built = classifier(&mut b, config, batch, words, Some((&mut training, trained)))?;
            let labels = b.input("labels", TensorType::i32([batch]))?;
            variable_weight_loss(&mut b, built.fused.logits, labels, weighting(&config.loss), Some(denominator))?
        }
    };
    b.output("loss", loss);
    let parameters: Vec<(String, Value)> = trained_parameters(b.graph(), stage);
    let one = b.constant(Tensor::scalar(1.0));
    let wrt: Vec<Value> = parameters.iter().map(|(_, v)| *v).collect();
    let grads = gradients(&mut b, &rules(), &[(loss, one)], &wrt)?;
    let mut tuned = Vec::with_capacity(parameters.len());
    for ((name, parameter), grad) in parameters.iter().zip(grads) {
        let grad = grad.ok_or_else(|| Error::graph(name, "a parameter that the loss depends on", "none"))?;
        let ty = b.ty(*parameter);
        let sum = b.global_state(&Step::gradient(name), ty, StateKind::Gradient)?;
        accumulate(&mut b, sum, grad, training.control)?;
        let m = b.global_state(&format!("adamw.m.{name}"), ty, StateKind::Moment)?;
        let v = b.global_state(&format!("adamw.v.{name}"), ty, StateKind::Moment)?;
        tuned.push(Tuned { parameter: *parameter, m, v, gradient: sum, group: group(name), decay: ty.shape.rank() >= 2 });
    }
    b.set_segment(Segment::Apply);
    let sums: Vec<Value> = tuned.iter().map(|t| t.gradient).collect();
    let (norm, finite) = grad_norm(&mut b, &sums)?;
    let step = b.global_state(STEP, TensorType::i32([1]), StateKind::Control)?;
    let rate = b.global_state(LEARNING_RATE, TensorType::f32([groups]), StateKind::Control)?;
    let OptimizerOptions { betas, eps, weight_decay, clip_norm } = *optimizer;
    adamw(&mut b, AdamW { betas, eps, weight_decay, clip_norm }, &tuned, rate, step, norm, finite)?;
    training.commit(&mut b, finite)?;
    advance(&mut b, step, finite)?;
    b.output("grad_norm", norm);
    b.output("finite", finite);
    Ok(Step { graph: b.finish(), parameters: parameters.into_iter().map(|(name, _)| name).collect() })
}

/// Next-token cross-entropy. The last token of a caption predicts nothing, so the decoder is not run on it.
fn caption_loss(b: &mut Builder, config: &EscnetConfig, batch: usize, length: usize, denominator: Value, training: &Training) -> Result<Value> {
    let built = captioner(b, &config.captioner, batch, length, Some(training))?;
    let labels = b.input("lm_labels", TensorType::i32([batch * length]))?;
    let text = &config.captioner.text_config;
    let logits = reshape(b, built.logits, [batch * length, text.vocab_size])?;
    cross_entropy(b, logits, labels, Some(denominator), text.label_smoothing, IGNORED)
}

fn trained_parameters(graph: &Graph, stage: Stage) -> Vec<(String, Value)> {
    let is_trained = |name: &str| match stage {
        Stage::Caption { .. } => name.starts_with("captioner."),
        Stage::Classify { trained, .. } => {
            (trained.backbone && name.starts_with("backbone."))
                || (trained.text_encoder && name.starts_with("text_encoder."))
                || (trained.fusion && name.starts_with("fusion."))
        }
    };
    let parameters = graph.values().filter(|(_, v)| v.source == Source::State(StateKind::Parameter) && is_trained(&v.name));
    parameters.map(|(value, v)| (v.name.clone(), value)).collect()
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
