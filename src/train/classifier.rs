//! The second stage: picture and caption to emotion, with captions from a captioner that did not see the picture.

use super::captioner::expect_captioner;
use super::config::{CaptionSource, Fitting, RunConfig};
use super::folder::{MODEL, Training, write_text};
use super::halves::limited;
use super::run::{Plan, dataset, device, go, identity};
use super::start::{go_on_from, start};
use super::task::{Goal, Task};
use super::trainer::{Ended, Job};
use super::watch::Watch;
use crate::data::captions_file::{self, Captions};
use crate::data::dataset::{Dataset, Sample, Split};
use crate::data::lexicon::Lexicon;
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::infer::hand_off;
use crate::model::config::{CONFIG_FILE, EscnetConfig, Highlight};
use crate::weights::{VOCABULARY_FILE, WEIGHTS_FILE};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Trains the classifier of a run. Its captioner is the one the first stage left.
///
/// # Errors
/// [`Error::Leak`] where a caption comes from a captioner that saw the picture; [`Error::Config`] where the folder holds a run and `resume` is not asked for;
/// those of the data set and of [`super::trainer::Trainer`].
pub fn train_classifier(run: &RunConfig, resume: bool, watch: &mut dyn Watch) -> Result<Ended> {
    let data = dataset(run)?;
    let captions = match &run.classifier.captions {
        CaptionSource::File(path) => {
            let captions = captions_file::read(path)?;
            refuse_leaks(run, &data, path, &captions)?;
            Some(captions)
        }
        CaptionSource::None => None,
    };
    let mut train = limited(data.split(Split::Train), run.data.limit, run.seed);
    if captions.is_some() && run.captioner.fitting == Fitting::Disjoint {
        // The half that the captioner learnt from is not used, whatever made it that half.
        let learnt = Training::open(&expect_captioner(&run.captioner.out)?)?.map_or(Vec::new(), |t| t.trained_on);
        train.retain(|s| learnt.binary_search(&s.id).is_err());
    }
    let dir = &run.classifier.out;
    let model = dir.join(MODEL);
    let config = match Plan::at(dir, run, resume)? {
        Plan::GoOn => EscnetConfig::open(&model)?,
        Plan::Begin => begin(run, &data, captions.is_some(), &model)?,
    };
    let tokenizer = Tokenizer::open(model.join(VOCABULARY_FILE))?;
    let read = |samples: &[Sample], length| task(&config, &tokenizer, &model, samples, captions.as_ref(), length);
    let train_task = read(&train, None)?;
    let val = read(data.split(Split::Val), Some(train_task.length))?;
    let mut trained_on: Vec<String> = train.iter().map(|s| s.id.clone()).collect();
    trained_on.sort_unstable();
    let job = Job {
        identity: identity(run, "classifier", &[&train_task, &val]),
        dir: dir.clone(),
        title: "classifier".to_owned(),
        config,
        stage: run.classifier.stage.clone(),
        head_epochs: run.classifier.head_epochs,
        seed: run.seed,
        val: (!val.pictures.is_empty()).then_some(val),
        train: train_task,
        trained_on,
        workers: run.data.workers,
        prefetch: run.data.prefetch,
    };
    let device = device(run, &run.classifier.stage, watch)?;
    go(job, &device, watch)
}

/// The model the stage begins with: the captioner's folder, with this run's fusion and loss where those are said.
fn begin(run: &RunConfig, data: &Dataset, needs_captioner: bool, model: &Path) -> Result<EscnetConfig> {
    let captioner = match expect_captioner(&run.captioner.out) {
        Ok(folder) => folder,
        Err(e) if needs_captioner => return Err(e),
        Err(_) => {
            let mut config = start(run, &data.classes, &[], model)?;
            config.reading = run.classifier.reading();
            write_text(&model.join(CONFIG_FILE), &config.to_json()?)?;
            return Ok(config);
        }
    };
    go_on_from(run, &captioner, &data.classes, model)
}

/// Sees to it that no caption comes from a captioner that learnt from its picture, and that all come from this run's captioners.
fn refuse_leaks(run: &RunConfig, data: &Dataset, path: &Path, captions: &Captions) -> Result<()> {
    let out = &run.captioner.out;
    let whole = expect_captioner(out)?;
    let mut seen: HashMap<String, HashSet<String>> = HashMap::new();
    let mut own = String::new();
    for model in [whole, out.join("fold0").join(MODEL), out.join("fold1").join(MODEL)] {
        if let Some(training) = Training::open(&model)?.filter(|_| model.join(WEIGHTS_FILE).is_file()) {
            if own.is_empty() {
                own.clone_from(&training.fingerprint);
            }
            seen.entry(training.fingerprint).or_default().extend(training.trained_on);
        }
    }
    for split in [Split::Train, Split::Val, Split::Test] {
        let may_have_seen = split == Split::Train && run.captioner.fitting == Fitting::InSample;
        // Disjoint halves: the half that the captioner saw is not used.
        let unused = split == Split::Train && run.captioner.fitting == Fitting::Disjoint;
        let rows = data.split(split).iter().filter_map(|s| captions.get(&s.id));
        let (mut strange, mut leaks) = (Vec::new(), Vec::new());
        for row in rows {
            match seen.get(&row.model) {
                None => strange.push(row.id.clone()),
                Some(_) if split != Split::Train && row.model != own => strange.push(row.id.clone()),
                Some(ids) if ids.contains(&row.id) && !may_have_seen && !unused => leaks.push(row.id.clone()),
                Some(_) => {}
            }
        }
        if !strange.is_empty() {
            return Err(Error::leak(path, format!("captions by the captioners of {}", out.display()), "captions by another", strange));
        }
        if !leaks.is_empty() {
            return Err(Error::leak(path, "captions by a captioner that did not learn from the picture", "captions by one that did", leaks));
        }
    }
    Ok(())
}

/// Pictures with the tokens the text encoder reads.
fn task(
    config: &EscnetConfig,
    tokenizer: &Tokenizer,
    model: &Path,
    samples: &[Sample],
    captions: Option<&Captions>,
    length: Option<usize>,
) -> Result<Task> {
    let mut words = Vec::with_capacity(samples.len());
    let mut missing = Vec::new();
    for s in samples {
        words.push(match captions.map(|c| c.get(&s.id)) {
            None => vec![config.cls_token_id as i32, tokenizer.sep()],
            Some(Some(row)) => hand_off(config, tokenizer, &row.ids),
            Some(None) => {
                missing.push(s.id.clone());
                Vec::new()
            }
        });
    }
    if !missing.is_empty() {
        return Err(Error::config(
            "captions",
            "(file)",
            "a caption for every picture",
            format!("none for {} of them, first `{}`", missing.len(), missing[0]),
        ));
    }
    let affect = match config.fusion.highlight {
        Highlight::Lexicon => {
            let lexicon = Lexicon::open(model.join("lexicon.tsv"))?;
            Some(words.iter().map(|w| lexicon.strengths(tokenizer, w)).collect())
        }
        Highlight::Learned | Highlight::None => None,
    };
    Ok(Task {
        pictures: samples.iter().map(|s| s.image.clone()).collect(),
        labels: samples.iter().map(|s| s.label).collect(),
        length: length.unwrap_or_else(|| Task::longest(Goal::Classify, &words)),
        captions: words,
        affect,
        goal: Goal::Classify,
        pad: config.text_encoder.pad_token_id as i32,
    })
}
