//! The record of a run: `metrics.jsonl`, a JSON object a line, each with the step it was taken at.

use crate::error::{Error, Result};
use crate::weights::write_atomically;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
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

/// Reads all rows. A last line that is torn, since the program ended while it was written, is left out.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Config`], with the line's number, where another line is no row.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Row>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let rows = whole_lines(&bytes).zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    rows.map(|(line, number)| parse(line, path, number)).collect()
}

/// The lines that have an end.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&b| b == b'\n').filter(|line| line.ends_with(b"\n"))
}

fn parse(line: &[u8], path: &Path, number: usize) -> Result<Row> {
    let wrong = |e: serde_json::Error| Error::config(path, format!("line {number}"), "a row of metrics", e);
    serde_json::from_slice(line).map_err(wrong)
}

/// `metrics.jsonl`, open to be added to.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the file, or makes it. A torn last line is cut off.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(MetricsLog { path, file })
    }

    /// Adds a row: the whole line in one write. Where that fails, as on a full disk, what came through of it is taken back.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, row: &Row) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let mut line = serde_json::to_vec(row).map_err(|e| io(e.into()))?;
        line.push(b'\n');
        let before = self.file.metadata().map_err(io)?.len();
        let written = self.file.write_all(&line).and_then(|()| self.file.flush());
        written.map_err(|e| {
            // Where this fails too, the next to open the file cuts the torn line off.
            let _ = self.file.set_len(before);
            io(e)
        })
    }

    /// Drops the rows of later steps: a run that goes on from a checkpoint at `step` will write them anew. Other lines are kept byte for byte.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] where a line is no row.
    pub fn truncate_after(&mut self, step: u64) -> Result<()> {
        let bytes = std::fs::read(&self.path).map_err(|e| Error::io(&self.path, e))?;
        let mut kept = Vec::with_capacity(bytes.len());
        for (line, number) in whole_lines(&bytes).zip(1..) {
            if line.trim_ascii().is_empty() || parse(line, &self.path, number)?.step <= step {
                kept.extend_from_slice(line);
            }
        }
        if kept.len() < bytes.len() {
            write_atomically(&self.path, |out| out.write_all(&kept).map_err(|e| Error::io(&self.path, e)))?;
            // The old handle leads to the file that was replaced.
            self.file = open(&self.path).map_err(|e| Error::io(&self.path, e))?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(whole as u64)?;
    }
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}
