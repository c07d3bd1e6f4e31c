//! Training: the step graphs of both stages.

#[cfg(feature = "train")]
pub mod curves;
#[cfg(feature = "train")]
pub mod events;
#[cfg(feature = "train")]
pub mod metrics;
#[cfg(feature = "train")]
pub mod record;
mod step;

pub use step::{DENOMINATOR, IGNORED, LEARNING_RATE, OptimizerOptions, STEP, Stage, Step, build};
