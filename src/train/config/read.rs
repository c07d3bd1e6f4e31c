//! From a `run.toml` and what the command line says of it to a checked configuration, and back.

use super::RunConfig;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// The name under which a run keeps its configuration.
pub const RUN_FILE: &str = "run.toml";

impl RunConfig {
    /// Reads a `run.toml`, lays `changes` over it and checks the result. A change is a dotted key and a TOML value, as
    /// `classifier.stage.epochs=3`; what is no TOML value is taken as text.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Config`] for the first key that is unknown, of another type or out of range.
    pub fn open(path: impl AsRef<Path>, changes: &[String]) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&text, path, changes)
    }

    /// [`RunConfig::open`] from the text of the file; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Config`], as there.
    pub fn parse(text: &str, path: &Path, changes: &[String]) -> Result<Self> {
        let config: Self = read(text, path, changes)?;
        config.check(path)?;
        Ok(config)
    }

    /// The text of a `run.toml` that reads back as this configuration.
    ///
    /// # Errors
    /// [`Error::Argument`] where a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Argument { name: "config", expected: "values TOML can hold".into(), got: e.to_string() })
    }
}

/// What the text of a TOML file, with changes laid over it, says.
///
/// # Errors
/// [`Error::Config`] for the first key that is unknown or of another type.
pub(in crate::train) fn read<T: DeserializeOwned>(text: &str, path: &Path, changes: &[String]) -> Result<T> {
    let mut table: Table = text.parse().map_err(|e: toml::de::Error| Error::config(path, "(file)", "TOML", e.message()))?;
    for change in changes {
        lay_over(&mut table, change, path)?;
    }
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| {
        let field = e.path().to_string();
        Error::config(path, field, "a key and a value as documented", e.into_inner().message())
    })
}

/// Sets one dotted key.
fn lay_over(table: &mut Table, change: &str, path: &Path) -> Result<()> {
    let wrong = |got: String| Error::config(path, change.split('=').next().unwrap_or_default(), "key=value on the way of tables", got);
    let (key, text) = change.split_once('=').ok_or_else(|| wrong(format!("`{change}`")))?;
    let value = format!("x = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("x")).unwrap_or_else(|| Value::String(text.to_owned()));
    let (way, last) = key.rsplit_once('.').map_or((None, key), |(way, last)| (Some(way), last));
    let mut at = table;
    for name in way.into_iter().flat_map(|w| w.split('.')) {
        at = match at.entry(name).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => inner,
            other => return Err(wrong(format!("`{name}` is a {}", other.type_str()))),
        };
    }
    at.insert(last.to_owned(), value);
    Ok(())
}
