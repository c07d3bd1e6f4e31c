//! What a run writes down as it goes: rows of metrics, TensorBoard events, broken pictures, and curves at the end.

use super::curves;
use super::events::EventWriter;
use super::judge::Judged;
use super::record::{Kind, MetricsLog, Row};
use super::watch::Now;
use crate::data::pipeline::{Broken, ErrorsLog};
use crate::error::Result;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Steps that one row sums up.
const EVERY: u64 = 10;
/// The record of a run.
pub(super) const METRICS: &str = "metrics.jsonl";

/// The records of a run.
#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    metrics: MetricsLog,
    events: EventWriter,
    errors: ErrorsLog,
    /// Steps since the last row, with the sums of their loss, accuracy and pictures a second.
    since: (u64, [f64; 3]),
}

impl Logs {
    /// Opens the records of a run that stands at `step`; what was written after it is dropped.
    ///
    /// # Errors
    /// [`crate::Error::Io`]; [`crate::Error::Config`] where a file of before is broken.
    pub fn open(dir: &Path, step: u64) -> Result<Self> {
        let mut metrics = MetricsLog::open(dir.join(METRICS))?;
        metrics.truncate_after(step)?;
        let mut events = EventWriter::create(dir, now())?;
        if step > 0 {
            events.resumed(step + 1, now())?;
        }
        Ok(Logs { dir: dir.to_owned(), metrics, events, errors: ErrorsLog::open(dir.join("errors.jsonl"))?, since: (0, [0.0; 3]) })
    }

    /// Notes a step; a row is written every few.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn step(&mut self, at: &Now) -> Result<()> {
        let (count, sums) = &mut self.since;
        *count += 1;
        for (sum, x) in sums.iter_mut().zip([at.loss, at.accuracy, 1.0 / at.images_per_second]) {
            *sum += x;
        }
        if !at.step.is_multiple_of(EVERY) {
            return Ok(());
        }
        let [loss, accuracy, seconds] = sums.map(|s| s / *count as f64);
        self.since = (0, [0.0; 3]);
        self.metrics.append(&Row {
            kind: Kind::Train,
            step: at.step,
            epoch: Some(at.epoch),
            loss: Some(loss).filter(|x| x.is_finite()),
            accuracy: Some(accuracy),
            rate: vec![at.rate],
            grad_norm: Some(at.grad_norm).filter(|x| x.is_finite()),
            images_per_second: Some(1.0 / seconds),
            skipped: Some(at.skipped),
        })?;
        let scalars = [("train/loss", loss), ("train/accuracy", accuracy), ("train/rate", at.rate), ("train/grad_norm", at.grad_norm)];
        scalars.iter().try_for_each(|(tag, x)| self.events.scalar(tag, at.step, *x as f32, now()))
    }

    /// Notes a validation.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn judged(&mut self, step: u64, epoch: f64, judged: &Judged) -> Result<()> {
        self.metrics.append(&Row {
            kind: Kind::Val,
            step,
            epoch: Some(epoch),
            loss: Some(judged.loss).filter(|x| x.is_finite()),
            accuracy: Some(judged.accuracy),
            ..Row::default()
        })?;
        let scalars = [("val/loss", judged.loss), ("val/accuracy", judged.accuracy)];
        scalars.iter().try_for_each(|(tag, x)| self.events.scalar(tag, step, *x as f32, now()))
    }

    /// Lists pictures that could not be read.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn broken(&mut self, broken: &[Broken]) -> Result<()> {
        self.errors.note(broken).map(drop)
    }

    /// Puts everything on disk.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.events.flush()
    }

    /// Draws the curves.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn draw(&self, title: &str) -> Result<()> {
        curves::write(&self.dir.join(METRICS), &self.dir.join("curves.svg"), title)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
