//! The learning rate of each step.

use super::config::{ScheduleKind, StageConfig};

/// A schedule, its epochs turned into steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    kind: ScheduleKind,
    rate: f64,
    floor: f64,
    warmup: u64,
    steps: u64,
    every: f64,
    factor: f64,
}

impl Schedule {
    /// The schedule of a stage whose epochs have `per_epoch` steps.
    pub fn new(stage: &StageConfig, per_epoch: u64) -> Self {
        let s = &stage.schedule;
        Schedule {
            kind: s.kind,
            rate: stage.rate,
            floor: s.floor,
            warmup: s.warmup_steps + (s.warmup_epochs * per_epoch as f64).round() as u64,
            steps: steps(stage.epochs, per_epoch),
            every: s.every_epochs * per_epoch as f64,
            factor: s.factor,
        }
    }

    /// Steps of the whole stage.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The rate of a step, counted from 0. In the warm-up it is `rate (step + 1) / warmup`, so that no step is in vain; from there on it
    /// follows the form over what is left, beginning at `rate`.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / self.warmup as f64;
        }
        let gone = (step - self.warmup) as f64 / (self.steps.saturating_sub(self.warmup)).max(1) as f64;
        let left = match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => self.floor + (1.0 - self.floor) * (1.0 - gone).max(0.0),
            // libm's, so that all machines take the same steps.
            ScheduleKind::Cosine => self.floor + (1.0 - self.floor) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * gone.min(1.0))),
            ScheduleKind::Step => libm::pow(self.factor, libm::floor(step as f64 / self.every)),
        };
        self.rate * left
    }
}

/// Steps of so many epochs.
pub fn steps(epochs: f64, per_epoch: u64) -> u64 {
    (epochs * per_epoch as f64).round() as u64
}
