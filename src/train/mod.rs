//! Training: the step graphs of both stages.

mod step;

pub use step::{DENOMINATOR, IGNORED, LEARNING_RATE, OptimizerOptions, STEP, Stage, Step, build};
