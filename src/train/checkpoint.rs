//! A run's state on disk: a folder that is whole or not there.
//!
//! `checkpoint/<step>/state.safetensors` holds every tensor that training changes or counts by (parameters, statistics, moments, moving
//! averages, counters), `state.json` the rest. Both are written into a temporary sibling and flushed; the folder is then renamed, and only
//! then are older ones removed. What is found after a crash is the last whole one.

use super::step::{GOOD_STEPS, LOSS_SCALE, STEP};
use crate::error::{Error, Result};
use crate::graph::{StateKind, Store};
use crate::model::layers::CONTROL;
use crate::weights::{WeightFile, save};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const TENSORS: &str = "state.safetensors";
const PROGRESS: &str = "state.json";

/// Where a run stands, tensors aside. The order of the pictures and all random numbers follow from seed and step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps taken, skipped ones included.
    pub step: u64,
    /// Steps skipped because loss or gradient were not finite.
    pub skipped: u64,
    /// Skipped ones in a row just now.
    pub skipped_in_a_row: u64,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Validations since that were not better.
    pub stale: usize,
    /// Nothing is left to do.
    pub finished: bool,
    /// A fingerprint of the configuration and the pictures: a run goes on only with its own.
    pub identity: String,
}

/// A validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After how many steps.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
}

/// The folder of a run's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// Those in this folder, which need not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Checkpoints { dir: dir.into() }
    }

    /// The newest whole checkpoint's folder; none where there is none.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be listed.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.all()?.pop().map(|(_, path)| path))
    }

    /// Whole checkpoints, oldest first. Remains of an interrupted one begin with a dot and are none.
    fn all(&self) -> Result<Vec<(u64, PathBuf)>> {
        let listed = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(|e| Error::io(&self.dir, e))?,
        };
        let mut found = Vec::new();
        for entry in listed {
            let path = entry.map_err(|e| Error::io(&self.dir, e))?.path();
            if let Some(step) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes the state of a run, then removes older checkpoints. Whatever fails, the one before stays.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Weights`] where a number is not finite.
    pub fn write(&self, store: &mut Store, progress: &Progress) -> Result<()> {
        let older = self.all()?;
        let name = format!("{:09}", progress.step);
        let path = self.dir.join(&name);
        if older.iter().any(|(step, _)| *step == progress.step) {
            // The same step again: its tensors are the same, only what is known of them has grown.
            return write_progress(&path, progress);
        }
        let partial = self.dir.join(format!(".{name}.{}.partial", std::process::id()));
        let written = write_folder(&partial, store, progress).and_then(|()| {
            fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))?;
            flush_folder(&self.dir)
        });
        if let Err(e) = written {
            // The error that led here is the one to report.
            let _ = fs::remove_dir_all(&partial);
            return Err(e);
        }
        self.sweep(&older);
        Ok(())
    }

    /// Removes older checkpoints and what interrupted writes left. That one of them stays does no harm.
    fn sweep(&self, older: &[(u64, PathBuf)]) {
        for (_, path) in older {
            let _ = fs::remove_dir_all(path);
        }
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".partial") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Puts a checkpoint's tensors into the store, which must have state of every name, and tells how far the run was.
///
/// # Errors
/// [`Error::Io`], [`Error::Weights`], [`Error::Config`] where a file is broken; [`Error::Graph`] where a tensor does not fit.
pub fn restore(path: &Path, store: &mut Store) -> Result<Progress> {
    let progress = read_progress(path)?;
    let file = WeightFile::open(path.join(TENSORS))?;
    let names: Vec<String> = kept(store).into_iter().map(|(name, ..)| name).collect();
    for name in names {
        store.write(&name, &file.tensor(&name)?.read()?)?;
    }
    Ok(progress)
}

/// How far the run of a checkpoint was.
///
/// # Errors
/// [`Error::Io`], [`Error::Config`] where the file is broken.
pub fn read_progress(path: &Path) -> Result<Progress> {
    let path = path.join(PROGRESS);
    let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::config(&path, "(file)", "a checkpoint's progress", e))
}

fn write_folder(path: &Path, store: &mut Store, progress: &Progress) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
    let mut tensors = Vec::new();
    for name in kept(store).into_iter().map(|(name, ..)| name) {
        let tensor = store.read(&name)?;
        tensors.push((name, tensor));
    }
    save(path.join(TENSORS), tensors, None, &BTreeMap::new())?;
    write_progress(path, progress)
}

fn write_progress(path: &Path, progress: &Progress) -> Result<()> {
    let path = path.join(PROGRESS);
    let text = serde_json::to_string_pretty(progress).map_err(|e| Error::config(&path, "(file)", "a checkpoint's progress", e))?;
    crate::durable::write_atomically(&path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))
}

fn flush_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io(path, e))?;
    }
    Ok(())
}

/// What a checkpoint holds: all that a step changes and the next one reads.
fn kept(store: &Store) -> Vec<(String, StateKind)> {
    let owned = |name: &str, kind: StateKind| match kind {
        StateKind::Parameter | StateKind::Statistic | StateKind::Moment => true,
        StateKind::Control => [STEP, CONTROL, LOSS_SCALE, GOOD_STEPS].contains(&name),
        StateKind::Gradient | StateKind::Cache | StateKind::Derived => false,
    };
    store.entries().filter(|(name, _, kind)| owned(name, *kind)).map(|(name, _, kind)| (name.to_owned(), kind)).collect()
}
