//! Training: the step graphs of both stages, and the runs that drive them.
//!
//! The way of a run: [`config`] says what is wanted; a stage ([`train_captioner`], [`train_classifier`]) turns a data set into [`task`]s and
//! makes the model it starts from; the [`trainer`] takes batches from the pipeline, runs steps, judges and saves.

#[cfg(feature = "train")]
pub mod ablate;
#[cfg(feature = "train")]
mod captioner;
#[cfg(feature = "train")]
pub mod captioners;
#[cfg(feature = "train")]
pub mod captioning;
#[cfg(feature = "train")]
pub mod checkpoint;
#[cfg(feature = "train")]
mod classifier;
#[cfg(feature = "train")]
pub mod config;
#[cfg(feature = "train")]
pub mod curves;
#[cfg(feature = "train")]
pub mod evaluate;
#[cfg(feature = "train")]
pub mod events;
#[cfg(feature = "train")]
pub mod folder;
#[cfg(feature = "train")]
pub mod halves;
#[cfg(feature = "train")]
pub mod judge;
#[cfg(feature = "train")]
mod logs;
#[cfg(feature = "train")]
pub mod metrics;
#[cfg(feature = "train")]
pub mod record;
#[cfg(feature = "train")]
mod run;
#[cfg(feature = "train")]
pub mod sampler;
#[cfg(feature = "train")]
pub mod schedule;
#[cfg(feature = "train")]
mod start;
mod step;
#[cfg(feature = "train")]
pub mod task;
#[cfg(feature = "train")]
pub mod trainer;
#[cfg(feature = "train")]
pub mod watch;

#[cfg(feature = "train")]
pub use captioner::train_captioner;
#[cfg(feature = "train")]
pub use classifier::train_classifier;
pub use step::{DENOMINATOR, GOOD_STEPS, IGNORED, INITIAL_LOSS_SCALE, LEARNING_RATE, LOSS_SCALE, Optimizer, STEP, Stage, Step, StepOptions, build};
