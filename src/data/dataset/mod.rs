//! Data sets: pictures with labels, and what else their makers say of them, in the layouts they are published in.
//!
//! The way of a load: the [`Layout`] is given or told from the files present, its file reads what they say into a [`Listing`], and
//! [`Dataset::open`] refuses a listing with a single thing wrong and splits the rest: by a file, as published, or by [`split`]'s rule.

mod abstracts;
mod artphoto;
mod csv;
mod emoset;
mod emotion6;
mod emotionroi;
mod folders;
mod layout;
mod listing;
pub mod split;
mod twitter;

use super::attributes::Attributes;
use crate::error::{Error, Result};
pub use layout::{Agreement, Layout};
pub use listing::{Entry, Listing};
use std::path::{Path, PathBuf};

/// One picture of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name within the data set; no two samples share one.
    pub id: String,
    /// The file.
    pub image: PathBuf,
    /// The number of its class.
    pub label: usize,
    /// What its annotation says; empty where there is none.
    pub attributes: Attributes,
    /// The caption that the data set gives.
    pub caption: Option<String>,
}

/// What a part of a data set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose settings and the best checkpoint by.
    Val,
    /// To be judged by.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// Its name, as in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }

    /// The split that a file or folder calls so.
    pub fn of(name: &str) -> Option<Split> {
        match name.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Split::Train),
            "val" | "valid" | "validation" => Some(Split::Val),
            "test" | "testing" => Some(Split::Test),
            _ => None,
        }
    }
}

/// A data set, split.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its folder.
    pub root: PathBuf,
    /// The names of its classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The samples of each split, in the order of the files that list them.
    pub splits: [Vec<Sample>; 3],
}

/// How a data set is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpenOptions {
    /// Its layout; told from the files present where none is given.
    pub layout: Option<Layout>,
    /// What a split that nobody has published is drawn from.
    pub seed: u64,
    /// A file that says which sample belongs to which split, as [`split::Assignment`] writes it. It overrides what is published.
    pub split_file: Option<PathBuf>,
    /// The part, 0 to 1, of each class's training samples that becomes the validation split where the published one has none, as
    /// EmotionROI's. 0 leaves it empty.
    pub validation: f64,
    /// How many of Twitter I's five judges must agree.
    pub agreement: Agreement,
}

impl Dataset {
    /// Reads a data set from its folder, or from its CSV file. Nothing is opened outside of that folder, and no picture is opened at all.
    ///
    /// # Errors
    /// [`Error::Io`] where a file cannot be read; [`Error::Dataset`] with every record that is malformed, points out of the folder or
    /// repeats an id, or whose split the split file does not say; [`Error::Argument`] for a `validation` out of range.
    pub fn open(root: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let mut listing = Listing::read(root, options)?;
        let repeated = listing.repeated_ids();
        listing.problems.extend(repeated);
        if !listing.problems.is_empty() {
            return Err(Error::Dataset { path: listing.root, problems: listing.problems });
        }
        let mut splits = [const { Vec::new() }; 3];
        for entry in listing.entries {
            if let Some(part) = entry.split.and_then(|split| splits.get_mut(split as usize)) {
                part.push(entry.sample);
            }
        }
        Ok(Dataset { root: listing.root, classes: listing.classes, splits })
    }

    /// The samples of one split.
    pub fn split(&self, split: Split) -> &[Sample] {
        &self.splits[split as usize]
    }
}
