//! `run.toml`: everything that fixes a training run. One file describes both stages, so that it describes a model.
//!
//! A key that is not known is refused, so that a misspelt one is not silently without effect. What a run really used, defaults and
//! command line included, is written beside its results.

mod check;
mod read;
mod stage;

use crate::data::augment::Augment;
use crate::data::captions::Style;
use crate::model::config::Reading;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use read::RUN_FILE;
pub(super) use read::read;
pub use stage::{Decay, GroupConfig, Keep, OptimizerConfig, OptimizerKind, Sampling, ScheduleConfig, ScheduleKind, StageConfig};

/// A whole `run.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Another number, other first values, orders, crops and drops.
    #[serde(default)]
    pub seed: u64,
    /// Where the steps run: what [`Device::parse`](crate::Device::parse) takes.
    #[serde(default = "auto")]
    pub device: String,
    /// CPU threads; 0: one a core. Without effect on the results.
    #[serde(default)]
    pub threads: usize,
    /// The folder for [`Device::keep_pipelines`](crate::Device::keep_pipelines), if any. Of the machine, not of the run: no key of the file.
    #[serde(skip)]
    pub cache: Option<PathBuf>,
    /// The pictures.
    pub data: DataConfig,
    /// What is trained, and from where.
    #[serde(default)]
    pub model: ModelConfig,
    /// The first stage.
    #[serde(default)]
    pub captioner: CaptionerRun,
    /// The second.
    #[serde(default)]
    pub classifier: ClassifierRun,
}

/// Where the pictures are, and how they come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set's folder or file. Like all paths here, as seen from where the program runs.
    pub path: PathBuf,
    /// A file that says which picture belongs to which split, where the set itself does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<PathBuf>,
    /// Threads that decode and augment.
    #[serde(default = "one")]
    pub workers: usize,
    /// Batches made ahead.
    #[serde(default = "four")]
    pub prefetch: usize,
    /// Only so many pictures of the training split: a class keeps its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The model a run begins with: a folder, or a configuration and first values drawn by the seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A model folder whose weights and vocabulary are the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// A vocabulary; without it, and without `from`, one is made of the training captions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<PathBuf>,
    /// Affect words and their strengths, copied into the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lexicon: Option<PathBuf>,
    /// The keys of a `config.json`. What a vocabulary or a data set fixes (sizes, ids, classes) may be left out. Beside `from` only those
    /// of [`ModelConfig::SECTIONS`], each in place of that model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

impl ModelConfig {
    /// The sections of a configuration that a run may say otherwise than the model it begins with: what no longer fits is drawn anew.
    pub const SECTIONS: [&str; 3] = ["backbone", "fusion", "loss"];
}

/// What images the captions the classifier reads in training come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fitting {
    /// Two more captioners are trained, each on one half of the training split; each captions the half it did not see.
    #[default]
    Cross,
    /// The captioner is trained on one half of the training split, the classifier on the other.
    Disjoint,
    /// The captioner captions the pictures it was trained on: its captions are then better than they will ever be again.
    InSample,
}

/// The captioner's stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionerRun {
    /// Its folder.
    pub out: PathBuf,
    /// A file of captions, JSONL with `id` and `caption`; without it they are made from the attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captions: Option<PathBuf>,
    /// How captions are made from attributes.
    pub style: Style,
    /// Whether several captioners are trained.
    pub fitting: Fitting,
    /// For `cross`: epochs of the captioners of one half, which see half as many pictures in each; without it, the stage's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold_epochs: Option<f64>,
    /// The rest.
    pub stage: StageConfig,
}

impl Default for CaptionerRun {
    fn default() -> Self {
        let stage = StageConfig { epochs: 10.0, rate: 1e-5, ..StageConfig::default() };
        CaptionerRun { out: "runs/captioner".into(), captions: None, style: Style::default(), fitting: Fitting::default(), fold_epochs: None, stage }
    }
}

/// The classifier's stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierRun {
    /// Its folder.
    pub out: PathBuf,
    /// What the classifier is told of each picture.
    pub captions: CaptionSource,
    /// The stage's own settings.
    pub stage: StageConfig,
    /// For so many epochs fusion and head are trained alone.
    pub head_epochs: f64,
    /// Keeps the emotion that the captioner may have learnt to name at a caption's end from the classifier, here and wherever the model goes.
    pub withhold_emotion: bool,
}

/// Where the classifier's captions come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptionSource {
    /// What `escnet caption --run` wrote. The captioner itself is taken from the run of the first stage.
    File(PathBuf),
    /// Every caption is empty: what the picture alone is worth.
    None,
}

impl CaptionSource {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            CaptionSource::File(path) => Some(path),
            CaptionSource::None => None,
        }
    }
}

impl ClassifierRun {
    /// How much of a caption the classifier reads.
    pub fn reading(&self) -> Reading {
        match (&self.captions, self.withhold_emotion) {
            (CaptionSource::None, _) => Reading::Nothing,
            (CaptionSource::File(_), true) => Reading::WithoutEmotion,
            (CaptionSource::File(_), false) => Reading::Whole,
        }
    }
}

impl Default for ClassifierRun {
    fn default() -> Self {
        let encoder = |prefix: &str| GroupConfig { prefix: prefix.to_owned(), factor: 0.1, frozen: false };
        let groups = vec![encoder("backbone."), encoder("text_encoder.")];
        let stage = StageConfig { epochs: 25.0, rate: 1e-4, groups, ..StageConfig::default() };
        ClassifierRun {
            out: "runs/classifier".into(),
            captions: CaptionSource::File("runs/captioner/captions.jsonl".into()),
            stage,
            head_epochs: 0.0,
            withhold_emotion: true,
        }
    }
}

fn auto() -> String {
    "auto".to_owned()
}

fn one() -> usize {
    1
}

fn four() -> usize {
    4
}

/// No augmentation but a mirror: what both stages begin from.
fn mirrored() -> Augment {
    Augment { flip: 0.5, ..Augment::default() }
}
