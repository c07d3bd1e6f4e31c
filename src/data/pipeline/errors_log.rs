//! `errors.jsonl`: the broken pictures of a run, each once.

use super::Broken;
use crate::data::jsonl::Appender;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    image: String,
    reason: String,
}

/// Lists broken pictures in a file, each once, also where a run is resumed.
#[derive(Debug)]
pub struct ErrorsLog {
    file: Appender,
    listed: HashSet<String>,
}

impl ErrorsLog {
    /// Opens the list, or starts one.
    ///
    /// # Errors
    /// Those of [`Appender::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (file, rows) = Appender::open::<Row>(path)?;
        Ok(ErrorsLog { file, listed: rows.into_iter().map(|row| row.image).collect() })
    }

    /// Lists those of them that are not listed yet, and says how many these were.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn note(&mut self, broken: &[Broken]) -> Result<usize> {
        let row = |b: &Broken| Row { image: b.path.display().to_string(), reason: b.reason.clone() };
        let rows: Vec<Row> = broken.iter().map(row).filter(|row| self.listed.insert(row.image.clone())).collect();
        if !rows.is_empty() {
            self.file.append(&rows)?;
        }
        Ok(rows.len())
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// True where none is.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}
