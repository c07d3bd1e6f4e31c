//! Files of one JSON object a line that grow while a program runs, and outlive its death: every row is whole, or it is dropped.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Reads every row of a file. The last line counts as torn, and is left out, where no newline ends it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] with the number of a line that is not a row.
pub fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    whole_rows(path, &bytes).map(|(rows, _)| rows)
}

/// The rows, and the bytes they take.
fn whole_rows<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<(Vec<T>, usize)> {
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |last| last + 1);
    let mut rows = Vec::new();
    for (i, line) in bytes.get(..whole).unwrap_or_default().split_inclusive(|&b| b == b'\n').enumerate() {
        let row = serde_json::from_slice(line).map_err(|e| Error::config(path, format!("line {}", i + 1), "a row of this file", e))?;
        rows.push(row);
    }
    Ok((rows, whole))
}

/// A file that rows are added to.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: File,
}

impl Appender {
    /// Opens a file, or starts one, and gives the rows it holds. A torn last line is cut off.
    ///
    /// # Errors
    /// As [`read()`].
    pub fn open<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<(Self, Vec<T>)> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(io)?;
        let (rows, whole) = whole_rows(path, &bytes)?;
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok((Appender { path: path.to_owned(), file }, rows))
    }

    /// Adds rows in one write, and has them on disk when it returns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append<T: Serialize>(&mut self, rows: &[T]) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, row).map_err(|e| io(e.into()))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(io)?;
        self.file.sync_data().map_err(io)
    }
}
