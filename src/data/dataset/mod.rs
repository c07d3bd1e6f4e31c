//! Data sets: pictures with labels, and what else their makers say of them, in the layouts they are published in.

use super::attributes::Attributes;
use std::path::PathBuf;

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

impl Dataset {
    /// The samples of one split.
    pub fn split(&self, split: Split) -> &[Sample] {
        &self.splits[split as usize]
    }
}
