//! What both stages of a run have in common.

use super::checkpoint::Checkpoints;
use super::config::RUN_FILE;
use super::config::{RunConfig, StageConfig};
use super::folder::{make, write_text};
use super::task::Task;
use super::trainer::{Ended, Job, Trainer};
use super::watch::Watch;
use crate::data::dataset::{Dataset, OpenOptions};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::support::philox::stable_key;
use crate::tensor::DType;
use std::path::Path;

/// Whether a folder's run begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Begin,
    GoOn,
}

impl Plan {
    /// Makes the folder and writes the configuration into it. A run that was interrupted before its first checkpoint begins again.
    pub(super) fn at(dir: &Path, run: &RunConfig, resume: bool) -> Result<Self> {
        let begun = Checkpoints::at(dir.join("checkpoint")).newest()?.is_some();
        if begun && !resume {
            return Err(Error::config(dir, "(folder)", "a folder without a run, or --resume", "a run"));
        }
        make(dir)?;
        write_text(&dir.join(RUN_FILE), &run.to_toml()?)?;
        Ok(if begun { Plan::GoOn } else { Plan::Begin })
    }
}

/// The run's data set.
pub(super) fn dataset(run: &RunConfig) -> Result<Dataset> {
    let options = OpenOptions { seed: run.seed, split_file: run.data.split.clone(), ..OpenOptions::default() };
    Dataset::open(&run.data.path, &options)
}

/// The run's device, for a stage.
pub(super) fn device(run: &RunConfig, stage: &StageConfig, watch: &mut dyn Watch) -> Result<Device> {
    let device = Device::parse(&run.device, run.threads, stage.compute().unwrap_or(DType::F32))?;
    run.cache.iter().for_each(|folder| device.keep_pipelines(folder));
    device.note().into_iter().for_each(|note| watch.note(note));
    Ok(device)
}

/// The settings that a stage's results depend on, the others as they are by default: where files lie and how many threads work is not of it.
pub(super) fn telling(run: &RunConfig, stage: &str) -> RunConfig {
    let mut settings = run.clone();
    (settings.threads, settings.data.workers, settings.data.prefetch) = (0, 0, 0);
    (settings.cache, settings.data.path) = Default::default();
    (settings.captioner.out, settings.classifier.out) = Default::default();
    match stage {
        "captioner" => settings.classifier = Default::default(),
        _ => settings.captioner = Default::default(),
    }
    settings
}

/// Tells runs apart by all that their results depend on: settings, pictures, labels, tokens.
pub(super) fn identity(run: &RunConfig, stage: &str, tasks: &[&Task]) -> String {
    let settings = telling(run, stage);
    let names = |t: &Task| t.pictures.iter().map(|p| p.file_name().map(|n| n.to_os_string())).collect::<Vec<_>>();
    let tasks: Vec<_> = tasks.iter().map(|t| (names(t), &t.labels, &t.captions, t.length)).collect();
    format!("{:016x}", stable_key(&format!("{settings:?} {tasks:?}")))
}

/// Trains, unless it is done already.
pub(super) fn go(job: Job, device: &Device, watch: &mut dyn Watch) -> Result<Ended> {
    let mut trainer = Trainer::new(job, device)?;
    trainer.run(watch)
}
