//! The record of a run: `metrics.jsonl`, a JSON object a line, each with the step it was taken at.

use crate::data::jsonl::{self, Appender};
use crate::error::{Error, Result};
use crate::weights::write_atomically;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a row tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Training, since the row before.
    #[default]
    Train,
    /// The whole validation split.
    Val,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// One row. What a run does not measure is left out; fields that are not known here are passed over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it tells of.
    pub kind: Kind,
    /// Updates of the parameters so far.
    pub step: u64,
    /// Passes over the training split so far, with their fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Mean loss, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of right answers, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The learning rate of each parameter group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate: Vec<f64>,
    /// Norm of the whole gradient before clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Pictures a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// Steps skipped so far for a loss or gradient that was not finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

/// `metrics.jsonl`, open to be added to. [`jsonl::read`] reads it.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: Appender,
}

impl MetricsLog {
    /// Opens the file, or makes it. A torn last line is cut off.
    ///
    /// # Errors
    /// Those of [`Appender::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let (file, _) = Appender::open::<Row>(&path)?;
        Ok(MetricsLog { path, file })
    }

    /// Adds a row, and has it on disk when it returns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, row: &Row) -> Result<()> {
        self.file.append(std::slice::from_ref(row))
    }

    /// Drops the rows of later steps: a run that goes on from a checkpoint at `step` will write them anew. Other lines are kept byte for byte.
    ///
    /// # Errors
    /// Those of [`Appender::open`].
    pub fn truncate_after(&mut self, step: u64) -> Result<()> {
        let rows: Vec<Row> = jsonl::read(&self.path)?;
        let bytes = std::fs::read(&self.path).map_err(|e| Error::io(&self.path, e))?;
        let lines = bytes.split_inclusive(|&b| b == b'\n').zip(&rows);
        let kept: Vec<u8> = lines.filter(|(_, row)| row.step <= step).flat_map(|(line, _)| line.iter().copied()).collect();
        if kept.len() < bytes.len() {
            write_atomically(&self.path, |out| out.write_all(&kept).map_err(|e| Error::io(&self.path, e)))?;
            // The old handle leads to the file that was replaced.
            self.file = Appender::open::<Row>(&self.path)?.0;
        }
        Ok(())
    }
}
