//! How good a trained model is on a split: what it takes the pictures for, how sure it is, and what it says of them.

mod report;

pub use report::{CaptionScores, Report};

use crate::data::captions::{Style, caption_of};
use crate::data::dataset::Sample;
use crate::data::image::Image;
use crate::error::{Error, Result};
use crate::infer::{Caption, Engine};
use rayon::prelude::*;
use report::Tally;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What is judged, and how.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// The names of the data set's classes, in the order of the labels.
    pub classes: &'a [String],
    /// What this model's captioner said of the pictures before, by id; without it the captioner is run.
    pub captions: Option<HashMap<String, Caption>>,
    /// How reference captions are made from attributes, and from which seed.
    pub references: (Style, u64),
    /// Leaves broken pictures out, instead of counting them as wrong answers.
    pub skip_broken: bool,
    /// Pictures that are decoded and handed to the engine at once.
    pub batch: usize,
    /// Threads that decode.
    pub workers: usize,
}

/// What happened to a picture.
#[derive(Debug)]
pub enum Seen<'a> {
    /// So many were answered.
    Answered(usize),
    /// One cannot be read.
    Broken(&'a Error),
}

/// Runs the model over the samples. `watch` hears of each picture and says whether to go on; none is returned where it did not.
///
/// A picture that cannot be read has no prediction: it counts as a wrong answer, unless [`Options::skip_broken`]. Captions are compared with
/// references where the data set gives them or attributes to make them from.
///
/// # Errors
/// [`Error::Argument`] where there are no samples, or of a class that the model does not know, or where the given captions lack one; those of the engine.
pub fn evaluate(engine: &mut Engine, samples: &[Sample], options: &Options, watch: &mut dyn FnMut(Seen) -> bool) -> Result<Option<Report>> {
    let known = classes_of(engine, samples, options)?;
    let mut tally = Tally::new(&engine.config().classes);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.workers.clamp(1, options.batch.max(1))).build();
    let pool = pool.map_err(|e| Error::io("threads that decode", std::io::Error::other(e)))?;
    let went_on = std::thread::scope(|scope| {
        // While one batch is worked on the next is read, and no more.
        let (to, from) = sync_channel(0);
        scope.spawn(move || pool.install(|| read_ahead(samples, options.batch.max(1), &to)));
        answer(engine, from, &known, options, &mut tally, watch)
    })?;
    Ok(went_on.then(|| tally.report(engine.lexicon())))
}

/// Pictures that were read, or why not, with their samples.
type Batch<'a> = Vec<(&'a Sample, Result<Image>)>;

/// Reads batches until all are read, or nobody wants them any more.
fn read_ahead<'a>(samples: &'a [Sample], batch: usize, to: &SyncSender<Batch<'a>>) {
    for some in samples.chunks(batch) {
        let read = some.par_iter().map(|sample| (sample, Image::open(&sample.image))).collect();
        if to.send(read).is_err() {
            return;
        }
    }
}

fn answer(
    engine: &mut Engine,
    batches: Receiver<Batch>,
    known: &[usize],
    options: &Options,
    tally: &mut Tally,
    watch: &mut dyn FnMut(Seen) -> bool,
) -> Result<bool> {
    for batch in batches {
        let (mut asked, mut pictures) = (Vec::new(), Vec::new());
        for (sample, read) in batch {
            match read {
                Ok(picture) => {
                    asked.push(sample);
                    pictures.push(picture);
                }
                Err(problem) => {
                    tally.broken(known[sample.label], options.skip_broken)?;
                    if !watch(Seen::Broken(&problem)) {
                        return Ok(false);
                    }
                }
            }
        }
        if pictures.is_empty() {
            continue;
        }
        let results = match &options.captions {
            Some(given) => {
                let caption = |sample: &&Sample| given.get(&sample.id).cloned().ok_or_else(|| no_caption(&sample.id));
                engine.classify_captioned(&pictures, &asked.iter().map(caption).collect::<Result<Vec<Caption>>>()?)?
            }
            None => engine.classify_all(&pictures)?,
        };
        for (sample, result) in asked.iter().zip(&results) {
            tally.answered(known[sample.label], result)?;
            tally.captioned(&result.caption.text, &sample.attributes, reference(sample, options));
        }
        if !watch(Seen::Answered(results.len())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What may be said of a picture: the caption that its data set gives and what its attributes say.
fn reference(sample: &Sample, options: &Options) -> Option<String> {
    let told = sample.caption.is_some() || sample.attributes != Default::default();
    let emotion = options.classes.get(sample.label).map_or("", String::as_str);
    told.then(|| caption_of(sample, emotion, options.references.1, &options.references.0).text)
}

/// For each class of the data set, its number among the model's; those without a sample may be unknown to the model.
fn classes_of(engine: &Engine, samples: &[Sample], options: &Options) -> Result<Vec<usize>> {
    let of_model = &engine.config().classes;
    let wrong = |expected: String, got: String| Error::Argument { name: "samples", expected, got };
    if samples.is_empty() {
        return Err(wrong("at least one".to_owned(), "none".to_owned()));
    }
    for sample in samples {
        let class =
            options.classes.get(sample.label).ok_or_else(|| wrong(format!("one of {} labels", options.classes.len()), sample.label.to_string()))?;
        if !of_model.contains(class) {
            return Err(wrong(format!("the model's classes, {}", of_model.join(", ")), format!("`{class}`")));
        }
    }
    Ok(options.classes.iter().map(|class| of_model.iter().position(|known| known == class).unwrap_or(usize::MAX)).collect())
}

fn no_caption(id: &str) -> Error {
    Error::Argument { name: "captions", expected: "one for each picture".to_owned(), got: format!("none for `{id}`") }
}
