//! Results on standard output: as a table for people, as JSON, JSON lines or CSV for programs.

use super::table::Table;
use clap::ValueEnum;
use console::style;
use escnet::Error;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::Path;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON array
    Json,
    /// A JSON object on each line
    Jsonl,
    /// Comma-separated values, with a header
    Csv,
}

impl Format {
    /// A table on a terminal, else JSON lines.
    pub fn usual() -> Self {
        if io::stdout().is_terminal() { Format::Table } else { Format::Jsonl }
    }
}

/// What is found of one picture. Its form as JSON is that of `Serialize`.
pub trait Record: Serialize {
    /// Its cells in CSV, without the last, `error`.
    fn cells(&self) -> Vec<String>;
    /// Its cells in the table, a list of lines each.
    fn block(&self, table: &Table) -> Vec<Vec<String>>;
}

/// One line of results.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Line<R> {
    /// What was found.
    Read(R),
    /// Why nothing was.
    Broken { image: String, error: String },
}

impl<R> Line<R> {
    /// The line of a picture that could not be read.
    pub fn broken(path: &Path, problem: &Error) -> Self {
        let error = match problem {
            Error::Image { reason, .. } => reason.clone(),
            Error::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Line::Broken { image: path.display().to_string(), error }
    }
}

/// Standard output, line by line.
pub struct Sheet {
    out: BufWriter<Stdout>,
    format: Format,
    columns: Vec<String>,
    table: Table,
    begun: bool,
}

impl Sheet {
    /// Nothing is written yet. `columns` are those of CSV, `image` first, without the last, `error`.
    pub fn new(format: Format, columns: Vec<String>, table: Table) -> Self {
        Sheet { out: BufWriter::new(io::stdout()), format, columns, table, begun: false }
    }

    /// Writes what was found of one picture.
    pub fn write<R: Record>(&mut self, line: &Line<R>) -> io::Result<()> {
        let first = !std::mem::replace(&mut self.begun, true);
        let text = match self.format {
            Format::Json => format!("{}{}", if first { "[\n  " } else { ",\n  " }, serde_json::to_string(line)?),
            Format::Jsonl => serde_json::to_string(line)? + "\n",
            Format::Csv => self.csv(line, first)?,
            Format::Table => {
                let head = if first { self.table.head() } else { String::new() };
                head + &match line {
                    Line::Read(record) => self.table.row(&record.block(&self.table)),
                    Line::Broken { image, error } => self.table.aside(image, &style(format!("broken: {error}")).yellow().to_string()),
                }
            }
        };
        self.out.write_all(text.as_bytes())
    }

    fn csv<R: Record>(&self, line: &Line<R>, first: bool) -> io::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if first {
            writer.write_record(self.columns.iter().map(String::as_str).chain(["error"]))?;
        }
        let (mut cells, error) = match line {
            Line::Read(record) => (record.cells(), ""),
            Line::Broken { image, error } => (vec![image.clone()], error.as_str()),
        };
        cells.resize(self.columns.len(), String::new());
        writer.write_record(cells.iter().map(String::as_str).chain([error]))?;
        let bytes = writer.into_inner().map_err(|e| e.into_error())?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    /// Lets readers see what has been written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Something has been written.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Nothing more will come.
    pub fn end(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?;
        }
        self.out.flush()
    }
}
