//! A run's folder, and the model folder in it.
//!
//! ```text
//! RUN/run.toml          what the run really used
//!     metrics.jsonl     a row every few steps and one a validation; TensorBoard's event files beside it
//!     curves.svg        the same as a picture, at the end
//!     errors.jsonl      pictures that could not be read
//!     checkpoint/       where the run stands
//!     model/            the weights that are kept, as a model folder
//! ```

use crate::durable::write_atomically;
use crate::error::{Error, Result};
use crate::graph::Store;
use crate::model::config::{CONFIG_FILE, EscnetConfig};
use crate::tensor::TensorType;
use crate::weights::layout::to_file;
use crate::weights::{VOCABULARY_FILE, WEIGHTS_FILE, manifest, save_with};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The model folder of a run.
pub const MODEL: &str = "model";
/// What a model folder says of its training.
pub const TRAINING_FILE: &str = "training.json";

/// Files of a model folder that are handed on as they are.
const HANDED_ON: [&str; 3] = [VOCABULARY_FILE, "preprocessor.json", "lexicon.tsv"];

/// What a model folder says of the training that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Training {
    /// `captioner` or `classifier`.
    pub stage: String,
    /// The pictures it was trained on, by id, sorted.
    pub trained_on: Vec<String>,
    /// The captioner's fingerprint, see [`crate::weights::fingerprint`].
    pub fingerprint: String,
}

impl Training {
    /// Reads a model folder's `training.json`; none where it has none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] where it is there but broken.
    pub fn open(model: &Path) -> Result<Option<Self>> {
        let path = model.join(TRAINING_FILE);
        match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, e)),
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| Error::config(&path, "(file)", "what a training left", e)),
        }
    }

    fn write(&self, model: &Path) -> Result<()> {
        let path = model.join(TRAINING_FILE);
        let text = serde_json::to_string(self).map_err(|e| Error::config(&path, "(file)", "what a training left", e))?;
        write_text(&path, &(text + "\n"))
    }
}

/// Writes a text whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(path, e)))
}

/// A folder and all above it.
///
/// # Errors
/// [`Error::Io`].
pub fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io(path, e))
}

/// Makes `to` a model folder of this configuration that is, weights aside, like `from`.
///
/// # Errors
/// [`Error::Io`].
pub fn hand_on(from: &Path, to: &Path, config: &EscnetConfig) -> Result<()> {
    make(to)?;
    for name in HANDED_ON {
        let source = from.join(name);
        if source.exists() {
            let text = fs::read_to_string(&source).map_err(|e| Error::io(&source, e))?;
            write_text(&to.join(name), &text)?;
        }
    }
    write_text(&to.join(CONFIG_FILE), &config.to_json()?)
}

/// Writes the weights a store holds, and what says whence they come.
///
/// # Errors
/// [`Error::Io`], [`Error::Weights`] where a number is not finite.
pub fn write_weights(
    model: &Path,
    config: &EscnetConfig,
    store: &mut Store,
    mut read: impl FnMut(&mut Store, &str) -> Result<crate::Tensor>,
) -> Result<PathBuf> {
    let path = model.join(WEIGHTS_FILE);
    let types: Vec<(String, TensorType)> = manifest(config)?.into_iter().map(|w| (w.name, TensorType::f32(w.shape))).collect();
    save_with(&path, &types, &BTreeMap::new(), |name| to_file(read(store, name)?))?;
    Ok(path)
}

/// Notes in a model folder what it was trained on.
///
/// # Errors
/// [`Error::Io`], [`Error::Weights`].
pub fn note_training(model: &Path, stage: &str, trained_on: &[String]) -> Result<()> {
    let fingerprint = crate::weights::fingerprint::fingerprint(model, "captioner.")?;
    Training { stage: stage.to_owned(), trained_on: trained_on.to_vec(), fingerprint }.write(model)
}
