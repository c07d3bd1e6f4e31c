//! Training: the step graphs of both stages.

#[cfg(feature = "train")]
pub mod events;
#[cfg(feature = "train")]
pub mod metrics;
#[cfg(feature = "train")]
pub mod record;
mod step;

pub use step::{DENOMINATOR, GOOD_STEPS, IGNORED, INITIAL_LOSS_SCALE, LEARNING_RATE, LOSS_SCALE, Optimizer, STEP, Stage, Step, StepOptions, build};
