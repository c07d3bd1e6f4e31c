//! Who belongs to which split where nobody has published it, and files that say so.
//!
//! Within each class the samples are ranked by a random number that depends on the seed and the sample's id alone; of `n` samples the
//! first `round(0.15 n)` are for testing, the next `round(0.05 n)` for validation. So the split is stratified, the same on every machine, and does
//! not care in which order a file system lists its files.

use super::{Entry, Split};
use crate::error::{Error, RecordProblem, Result};
use crate::ops::support::philox::{philox, stable_key};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The parts for validation and for testing; the rest is for training: 80/5/15, as FI and EmoSet are split.
const VALIDATION: f64 = 0.05;
const TESTING: f64 = 0.15;

/// The ids of each split, as a split file holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Those to learn from.
    #[serde(default)]
    pub train: Vec<String>,
    /// Those to choose by.
    #[serde(default)]
    pub val: Vec<String>,
    /// Those to be judged by.
    #[serde(default)]
    pub test: Vec<String>,
}

impl Assignment {
    /// Where the entries of a listing belong.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut all = Assignment::default();
        for Entry { sample, split } in entries {
            match split {
                Some(Split::Train) => all.train.push(sample.id.clone()),
                Some(Split::Val) => all.val.push(sample.id.clone()),
                Some(Split::Test) => all.test.push(sample.id.clone()),
                None => {}
            }
        }
        all
    }

    /// The text of a split file: JSON, three lists of ids, one id a line.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads a split file.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Dataset`] where it is no such file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        serde_json::from_str(&super::listing::text(path)?).map_err(|e| {
            let expected = "an object of lists of ids: train, val, test".to_owned();
            let problem = RecordProblem { file: path.into(), record: "(file)".into(), expected, got: e.to_string() };
            Error::Dataset { path: path.into(), problems: vec![problem] }
        })
    }

    /// Gives each entry the split the file says; `file` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Dataset`] with every id that is listed twice, that no entry has, or that is missing.
    pub fn apply(&self, entries: &mut [Entry], file: &Path) -> Result<()> {
        let mut problems = Vec::new();
        let mut problem = |id: &str, expected: &str, got: String| {
            problems.push(RecordProblem { file: file.into(), record: format!("`{id}`"), expected: expected.into(), got });
        };
        let mut told: HashMap<&str, (Split, bool)> = HashMap::new();
        for (split, ids) in Split::ALL.into_iter().zip([&self.train, &self.val, &self.test]) {
            for id in ids {
                if let Some((before, _)) = told.insert(id, (split, false)) {
                    problem(id, "an id in one split, once", format!("{} and {}", before.name(), split.name()));
                }
            }
        }
        for Entry { sample, split } in entries {
            match told.get_mut(sample.id.as_str()) {
                Some((said, seen)) => (*split, *seen) = (Some(*said), true),
                None => problem(&sample.id, "a split for each sample", "none".into()),
            }
        }
        let mut strangers: Vec<_> = told.into_iter().filter(|(_, (_, seen))| !seen).collect();
        strangers.sort_unstable();
        strangers.into_iter().for_each(|(id, (split, _))| problem(id, "the id of a sample", format!("an unknown one, in {}", split.name())));
        if problems.is_empty() { Ok(()) } else { Err(Error::Dataset { path: file.into(), problems }) }
    }
}

/// Gives every entry a split: the published ones keep theirs. Where none is published all are drawn; where no validation split
/// is, the part `validation` of the training samples is drawn for it.
pub fn complete(entries: &mut [Entry], seed: u64, validation: f64) {
    if entries.iter().all(|entry| entry.split.is_none()) {
        draw(entries, seed, None, &[(Split::Test, TESTING), (Split::Val, VALIDATION)]);
        entries.iter_mut().for_each(|entry| entry.split = entry.split.or(Some(Split::Train)));
    } else if entries.iter().all(|entry| entry.split != Some(Split::Val)) {
        draw(entries, seed, Some(Split::Train), &[(Split::Val, validation)]);
    }
}

/// Of each class's entries that are in `from`, gives these parts to these splits.
fn draw(entries: &mut [Entry], seed: u64, from: Option<Split>, parts: &[(Split, f64)]) {
    let mut classes: HashMap<usize, Vec<&mut Entry>> = HashMap::new();
    for entry in entries.iter_mut().filter(|entry| entry.split == from) {
        classes.entry(entry.sample.label).or_default().push(entry);
    }
    for mut class in classes.into_values() {
        class.sort_by_cached_key(|entry| (rank(seed, &entry.sample.id), entry.sample.id.clone()));
        let all = class.len() as f64;
        let mut rest = class.into_iter();
        for &(split, part) in parts {
            rest.by_ref().take((part * all).round() as usize).for_each(|entry| entry.split = Some(split));
        }
    }
}

/// A sample's random number.
fn rank(seed: u64, id: &str) -> u64 {
    let key = stable_key(id);
    let [low, high, ..] = philox([key as u32, (key >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    u64::from(high) << 32 | u64::from(low)
}
