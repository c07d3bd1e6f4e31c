//! Weights: safetensors in and out, the names checkpoints go by, and the checks that stand before a model.
//!
//! The way of a load: [`manifest()`] lists what the configuration asks for, [`load()`] opens the [`WeightFile`]s, resolves their
//! [`names`] and reports everything that does not fit at once; [`Loaded`] then hands out one tensor at a time. [`save()`] and
//! [`convert()`] go the other way, through [`write_atomically`], so that a file is either the old one or the new one.

pub mod convert;
pub mod file;
#[cfg(feature = "train")]
pub mod fingerprint;
mod header;
pub mod init;
pub mod layout;
pub mod load;
pub mod manifest;
pub mod names;
pub mod save;
mod stored;

pub use crate::durable::write_atomically;
pub use convert::{Parts, convert, repack};
pub use file::{TensorView, WeightFile};
pub use layout::weight_source;
pub use load::{Loaded, Source, load, load_opened};
pub use manifest::{Wanted, manifest};
pub use names::Part;
pub use save::{save, save_with};
pub use stored::StoredType;

/// The name of the weights in a model folder.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The name of the vocabulary in a model folder.
pub const VOCABULARY_FILE: &str = "vocab.txt";
