//! What a run tells while it goes on, and how it is told to stop.

use super::judge::Judged;

/// Somebody who looks on.
pub trait Watch {
    /// A run begins, or goes on at `step` of `steps`. `what` says which, where there are several.
    fn begin(&mut self, what: &str, step: u64, steps: u64);
    /// A step is done.
    fn step(&mut self, now: &Now);
    /// So many more are done of what has no steps: pictures that are captioned or judged.
    fn counted(&mut self, _count: usize) {}
    /// The validation split was gone through.
    fn judged(&mut self, epoch: f64, judged: &Judged, best: bool);
    /// Something worth a line.
    fn note(&mut self, text: &str);
    /// The run is to save its state and end.
    fn stop(&self) -> bool;
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss of this step's pictures or tokens.
    pub loss: f64,
    /// Share of right answers among them.
    pub accuracy: f64,
    /// The stage's learning rate.
    pub rate: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Steps skipped so far.
    pub skipped: u64,
    /// Pictures a second in this step.
    pub images_per_second: f64,
}

/// Nobody looks on, and nobody stops it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&mut self, _: &str, _: u64, _: u64) {}
    fn step(&mut self, _: &Now) {}
    fn judged(&mut self, _: f64, _: &Judged, _: bool) {}
    fn note(&mut self, _: &str) {}
    fn stop(&self) -> bool {
        false
    }
}
