//! `captions.jsonl`: what a captioner says of the pictures of a data set, a row a picture.

use super::dataset::Split;
use super::jsonl::{self, Appender};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is said of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The picture's name within the data set.
    pub id: String,
    /// The file, from the data set's folder on.
    #[serde(default)]
    pub image: String,
    /// Its split.
    #[serde(default)]
    pub split: Option<Split>,
    /// The words, special tokens left out.
    pub caption: String,
    /// sum log p / tokens after the prompt.
    #[serde(default)]
    pub score: f32,
    /// The captioner's token ids, start and end tokens included.
    #[serde(default)]
    pub ids: Vec<i32>,
    /// The fingerprint of the captioner's weights.
    #[serde(default)]
    pub model: String,
    /// How the words were searched for, in words: captions made otherwise are not comparable.
    #[serde(default)]
    pub search: String,
    /// The captioner learnt from this very picture.
    #[serde(default)]
    pub seen: bool,
}

/// The rows of a file, by id.
#[derive(Debug, Clone, PartialEq)]
pub struct Captions {
    path: PathBuf,
    rows: Vec<Row>,
    by_id: HashMap<String, usize>,
}

/// Reads a file. A last line without its end is left out: whoever wrote it was stopped.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] with the number of the line for one that is no row, or that speaks of a picture for the second time.
pub fn read(path: impl AsRef<Path>) -> Result<Captions> {
    let path = path.as_ref();
    Captions::new(path, jsonl::read(path)?)
}

/// Opens a file to add rows, or starts one, and gives the rows it holds. A torn last line is cut off.
///
/// # Errors
/// As [`read()`].
pub fn append(path: impl AsRef<Path>) -> Result<(Appender, Captions)> {
    let path = path.as_ref();
    let (file, rows) = Appender::open(path)?;
    Ok((file, Captions::new(path, rows)?))
}

impl Captions {
    fn new(path: &Path, rows: Vec<Row>) -> Result<Self> {
        let mut by_id = HashMap::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            if by_id.insert(row.id.clone(), i).is_some() {
                return Err(Error::config(path, format!("line {}: id", i + 1), "one that no line before has", &row.id));
            }
        }
        Ok(Captions { path: path.to_owned(), rows, by_id })
    }

    /// Where they stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The row of a picture.
    pub fn get(&self, id: &str) -> Option<&Row> {
        self.by_id.get(id).and_then(|&i| self.rows.get(i))
    }

    /// All rows, in the order of the file: the row at `i` is line `i + 1`.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}
