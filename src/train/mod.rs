//! Training: the step graphs of both stages.

mod step;

pub use step::{DENOMINATOR, GOOD_STEPS, IGNORED, INITIAL_LOSS_SCALE, LEARNING_RATE, LOSS_SCALE, Optimizer, STEP, Stage, Step, StepOptions, build};
