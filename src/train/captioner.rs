//! The first stage: a captioner that says what a picture shows and how it feels, and, for cross-fitting, two more that saw half of it each.

use super::config::{Fitting, RunConfig};
use super::folder::{MODEL, hand_on};
use super::halves::{halves, limited};
use super::run::{Plan, dataset, device, go, identity};
use super::start::start;
use super::task::{Goal, Task};
use super::trainer::{Ended, Job};
use super::watch::Watch;
use crate::data::captions::caption_of;
use crate::data::captions_file;
use crate::data::dataset::{Dataset, Sample, Split};
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::model::config::EscnetConfig;
use crate::weights::{VOCABULARY_FILE, WEIGHTS_FILE};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Trains the captioner of a run, and those of its halves; those that are done already are passed over.
///
/// # Errors
/// [`Error::Config`] where the folder holds a run and `resume` is not asked for; [`Error::Leak`] where the captions file tells of pictures to be judged by;
/// those of the data set and of [`super::trainer::Trainer`].
pub fn train_captioner(run: &RunConfig, resume: bool, watch: &mut dyn Watch) -> Result<Ended> {
    let data = dataset(run)?;
    let told = told(run, &data)?;
    let samples = limited(data.split(Split::Train), run.data.limit, run.seed);
    let (train, without): (Vec<Sample>, Vec<Sample>) = samples.into_iter().partition(|s| told.contains_key(&s.id));
    if !without.is_empty() {
        watch.note(&format!("{} of the training pictures have no caption and are left out", without.len()));
    }
    let val: Vec<Sample> = data.split(Split::Val).iter().filter(|s| told.contains_key(&s.id)).cloned().collect();
    let half = halves(&train, run.seed);
    let of_half = |h: usize| train.iter().zip(&half).filter(|(_, x)| **x == h).map(|(s, _)| s.clone()).collect::<Vec<_>>();
    let out = &run.captioner.out;
    let mut parts: Vec<(&str, PathBuf, Vec<Sample>)> = match run.captioner.fitting {
        Fitting::Cross => vec![
            ("captioner", out.clone(), train.clone()),
            ("captioner of half 0", out.join("fold0"), of_half(0)),
            ("captioner of half 1", out.join("fold1"), of_half(1)),
        ],
        Fitting::Disjoint => vec![("captioner", out.clone(), of_half(0))],
        Fitting::InSample => vec![("captioner", out.clone(), train.clone())],
    };
    let device = device(run, &run.captioner.stage, watch)?;
    for (title, dir, samples) in parts.drain(..) {
        let plan = Plan::at(&dir, run, resume)?;
        let model = dir.join(MODEL);
        let config = match (&plan, dir == *out) {
            (Plan::GoOn, _) => EscnetConfig::open(&model)?,
            // The captions of all of the training split make the vocabulary, for the halves' captioners too.
            (Plan::Begin, true) => start(run, &data.classes, &train.iter().filter_map(|s| told.get(&s.id).cloned()).collect::<Vec<_>>(), &model)?,
            (Plan::Begin, false) => begin_half(run, &data, &train, &told, &dir, out)?,
        };
        let tokenizer = Tokenizer::open(model.join(VOCABULARY_FILE))?;
        let mut stage = run.captioner.stage.clone();
        if dir != *out {
            let epochs = run.captioner.fold_epochs.unwrap_or(stage.epochs);
            // The same share of the whole.
            stage.augment.ramp *= epochs / stage.epochs.max(f64::MIN_POSITIVE);
            stage.epochs = epochs;
        }
        let train = task(&config, &tokenizer, &samples, &told, None)?;
        let val = task(&config, &tokenizer, &val, &told, Some(train.length))?;
        let mut trained_on: Vec<String> = samples.iter().map(|s| s.id.clone()).collect();
        trained_on.sort_unstable();
        let job = Job {
            identity: identity(run, "captioner", &[&train, &val]),
            dir,
            title: title.to_owned(),
            config,
            stage,
            head_epochs: 0.0,
            seed: run.seed,
            val: (!val.pictures.is_empty()).then_some(val),
            train,
            trained_on,
            workers: run.data.workers,
            prefetch: run.data.prefetch,
        };
        if go(job, &device, watch)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
    }
    Ok(Ended::Finished)
}

/// A half's captioner begins as the whole one began.
fn begin_half(run: &RunConfig, data: &Dataset, train: &[Sample], told: &HashMap<String, String>, dir: &Path, whole: &Path) -> Result<EscnetConfig> {
    let captions: Vec<String> = train.iter().filter_map(|s| told.get(&s.id).cloned()).collect();
    let config = start(run, &data.classes, &captions, &dir.join(MODEL))?;
    // One vocabulary, whatever was changed beside the whole one meanwhile.
    hand_on(&whole.join(MODEL), &dir.join(MODEL), &config)?;
    Ok(config)
}

/// The captions by id: those of the file, else those that the attributes make.
fn told(run: &RunConfig, data: &Dataset) -> Result<HashMap<String, String>> {
    let mut told = HashMap::new();
    if let Some(path) = &run.captioner.captions {
        for row in captions_file::read(path)?.rows() {
            told.insert(row.id.clone(), row.caption.clone());
        }
        let judged = [Split::Val, Split::Test].into_iter().flat_map(|s| data.split(s));
        let leaks: Vec<String> = judged.filter(|s| told.contains_key(&s.id)).map(|s| s.id.clone()).collect();
        if !leaks.is_empty() {
            return Err(Error::leak(path, "captions of the training split alone", "captions of pictures to be judged by", leaks));
        }
    }
    for split in [Split::Train, Split::Val] {
        let of_file = run.captioner.captions.is_some() && split == Split::Train;
        for s in data.split(split).iter().filter(|_| !of_file) {
            let text = caption_of(s, &data.classes[s.label], run.seed, &run.captioner.style).text;
            told.insert(s.id.clone(), text);
        }
    }
    Ok(told)
}

/// Pictures and the tokens of their captions.
fn task(config: &EscnetConfig, tokenizer: &Tokenizer, samples: &[Sample], told: &HashMap<String, String>, length: Option<usize>) -> Result<Task> {
    let text = &config.captioner.text_config;
    let longest = text.max_position_embeddings;
    let tokens = |s: &Sample| {
        let mut ids = tokenizer.encode(told.get(&s.id).map_or("", String::as_str), Some(longest));
        if let Some(first) = ids.first_mut() {
            *first = text.bos_token_id as i32;
        }
        ids
    };
    let captions: Vec<Vec<i32>> = samples.iter().map(tokens).collect();
    Ok(Task {
        pictures: samples.iter().map(|s| s.image.clone()).collect(),
        labels: samples.iter().map(|s| s.label).collect(),
        length: length.unwrap_or_else(|| Task::longest(Goal::Caption, &captions)),
        captions,
        affect: None,
        goal: Goal::Caption,
        pad: text.pad_token_id as i32,
    })
}

/// The captioner run's model is there and whole.
///
/// # Errors
/// [`Error::Config`] where it is not.
pub fn expect_captioner(out: &Path) -> Result<PathBuf> {
    let model = out.join(MODEL);
    if model.join(WEIGHTS_FILE).is_file() && model.join(super::folder::TRAINING_FILE).is_file() {
        Ok(model)
    } else {
        Err(Error::config(&model, "(folder)", "a captioner that `escnet train captioner` finished", "none"))
    }
}
