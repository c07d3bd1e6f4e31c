//! Which captioner may speak of which picture: one that did not learn from it, where there is a choice.

use super::folder::{MODEL, TRAINING_FILE, Training};
use crate::data::dataset::Split;
use crate::error::{Error, Result};
use crate::weights::fingerprint::fingerprint;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What the names of the captioner's tensors begin with.
const PREFIX: &str = "captioner.";

/// One captioner.
#[derive(Debug)]
pub struct Captioner {
    /// Its model folder.
    pub folder: PathBuf,
    /// Of its weights.
    pub fingerprint: String,
    /// The pictures it learnt from, as far as is known.
    pub seen: HashSet<String>,
}

/// The captioner of all pictures, and, where there was cross-fitting, those of the training split.
#[derive(Debug)]
pub struct Captioners {
    all: Vec<Captioner>,
}

impl Captioners {
    /// One model folder, for everything.
    ///
    /// # Errors
    /// Those of its files' readers; [`Error::Config`] where its `training.json` tells of other weights.
    pub fn of_model(folder: &Path) -> Result<Self> {
        Ok(Captioners { all: vec![Captioner::open(folder.to_owned())?] })
    }

    /// Those of a run: its model, and those of `fold0`, `fold1` and so on.
    ///
    /// # Errors
    /// As [`Captioners::of_model`]; [`Error::Config`] where a fold does not say what it was trained on.
    pub fn of_run(run: &Path) -> Result<Self> {
        let mut all = vec![Captioner::open(run.join(MODEL))?];
        for number in 0.. {
            let folder = run.join(format!("fold{number}")).join(MODEL);
            if !folder.exists() {
                break;
            }
            if !folder.join(TRAINING_FILE).is_file() {
                return Err(Error::config(folder.join(TRAINING_FILE), "(file)", "what the fold was trained on", "none; its training has not ended"));
            }
            all.push(Captioner::open(folder)?);
        }
        Ok(Captioners { all })
    }

    /// The number of the captioner for a picture: for the training split the first fold that did not learn from it, the first of all where
    /// there are no folds; none where every fold did.
    pub fn choose(&self, id: &str, split: Split) -> Option<usize> {
        let folds = self.all.len() > 1 && split == Split::Train;
        if folds { self.all.iter().skip(1).position(|fold| !fold.seen.contains(id)).map(|at| at + 1) } else { Some(0) }
    }

    /// The captioner of this number.
    ///
    /// # Errors
    /// None for a number that [`Captioners::choose`] gave.
    pub fn get(&self, number: usize) -> Result<&Captioner> {
        self.all.get(number).ok_or_else(|| Error::graph("captioners", format!("fewer than {}", self.all.len()), number))
    }

    /// All of them.
    pub fn all(&self) -> &[Captioner] {
        &self.all
    }
}

impl Captioner {
    fn open(folder: PathBuf) -> Result<Self> {
        let fingerprint = fingerprint(&folder, PREFIX)?;
        let mut seen = HashSet::new();
        if let Some(training) = Training::open(&folder)? {
            if training.fingerprint != fingerprint {
                let path = folder.join(TRAINING_FILE);
                return Err(Error::config(path, "fingerprint", format!("{fingerprint}, that of the weights beside it"), training.fingerprint));
            }
            seen.extend(training.trained_on);
        }
        Ok(Captioner { folder, fingerprint, seen })
    }
}
