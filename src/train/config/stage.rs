//! The settings that both stages have.

use super::mirrored;
use crate::data::augment::Augment;
use serde::{Deserialize, Serialize};

/// How a stage is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// How often each picture is seen.
    pub epochs: f64,
    /// Pictures of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// The learning rate after the warm-up.
    pub rate: f64,
    /// How it changes.
    pub schedule: ScheduleConfig,
    /// What applies gradients.
    pub optimizer: OptimizerConfig,
    /// The most the gradient's norm may be; 0: as it comes.
    pub clip_norm: f64,
    /// Decay of a moving average of the weights, which is then what is judged and kept; 0: none.
    pub ema: f64,
    /// Parameters that learn at another rate, or not at all; the first prefix that fits counts.
    pub groups: Vec<GroupConfig>,
    /// How pictures are varied.
    pub augment: Augment,
    /// In what order pictures come.
    pub sampling: Sampling,
    /// What the step computes in: `f32`, `bf16`, or `f16` with a loss scale; weights are f32 always.
    pub dtype: String,
    /// Steps between checkpoints; there is one at the end of each epoch anyway. 0: only there.
    pub checkpoint_steps: u64,
    /// Which weights the model folder gets.
    pub keep: Keep,
    /// Stops after so many epochs without a better validation; 0: never.
    pub patience: usize,
    /// Stops after so many steps in a row whose loss or gradient is not finite.
    pub max_skipped: u64,
}

impl Default for StageConfig {
    fn default() -> Self {
        StageConfig {
            epochs: 10.0,
            batch: 32,
            accumulate: 1,
            rate: 1e-4,
            schedule: ScheduleConfig::default(),
            optimizer: OptimizerConfig::default(),
            clip_norm: 1.0,
            ema: 0.0,
            groups: Vec::new(),
            augment: mirrored(),
            sampling: Sampling::default(),
            dtype: "f32".to_owned(),
            checkpoint_steps: 0,
            keep: Keep::default(),
            patience: 0,
            max_skipped: 20,
        }
    }
}

/// How the learning rate changes over the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The form after the warm-up.
    pub kind: ScheduleKind,
    /// Epochs over which the rate rises linearly.
    pub warmup_epochs: f64,
    /// Steps over which it does, added to those.
    pub warmup_steps: u64,
    /// The share of the rate that is left at the end, for `cosine` and `linear`.
    pub floor: f64,
    /// For `step`: epochs between two cuts.
    pub every_epochs: f64,
    /// For `step`: what is left after each.
    pub factor: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig { kind: ScheduleKind::Cosine, warmup_epochs: 0.0, warmup_steps: 0, floor: 0.0, every_epochs: 10.0, factor: 0.1 }
    }
}

/// The form of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine from the rate to the floor.
    Cosine,
    /// A straight line from the rate to the floor.
    Linear,
    /// Cut by a factor every so many epochs.
    Step,
    /// The same to the end.
    Constant,
}

/// What applies gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Which one.
    pub kind: OptimizerKind,
    /// Decay of AdamW's moments.
    pub betas: [f64; 2],
    /// Added to the root of AdamW's second moment.
    pub eps: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// SGD looks ahead along its momentum.
    pub nesterov: bool,
    /// Weight decay: decoupled for AdamW, added to the gradient for SGD.
    pub weight_decay: f64,
    /// What decays.
    pub decay: Decay,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::AdamW,
            betas: [0.9, 0.999],
            eps: 1e-8,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.05,
            decay: Decay::Matrices,
        }
    }
}

/// An optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Loshchilov and Hutter 2019, arXiv:1711.05101.
    AdamW,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// Which parameters weight decay reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Those of two or more dimensions: no biases, no norms.
    Matrices,
    /// All of them.
    All,
}

/// Parameters that are treated apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// What their names begin with, as `backbone.` or `captioner.vision_model.encoder.layers.0.`.
    pub prefix: String,
    /// Their rate, in shares of the stage's.
    #[serde(default = "whole")]
    pub factor: f64,
    /// They stay as they are.
    #[serde(default)]
    pub frozen: bool,
}

fn whole() -> f64 {
    1.0
}

/// In what order pictures come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Each once an epoch, in an order of its own.
    #[default]
    Shuffle,
    /// Drawn so that all classes come equally often; those of a rare class come more than once.
    Balanced,
}

/// Which weights the model folder gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Those of the best validation.
    #[default]
    Best,
    /// Those of the last step.
    Last,
}
