//! `escnet caption --dataset`: captions for a whole data set, in a file that grows and can be gone on with.

use super::captioners::Captioners;
use super::model::{Model, Wording};
use super::pictures::with_threads;
use super::stop::Stop;
use super::talk::Talk;
use super::{Done, interrupt};
use clap::{Args, ValueEnum};
use escnet::data::captions_file::{self, Captions, Row};
use escnet::data::dataset::{Dataset, OpenOptions, Sample, Split};
use escnet::data::jsonl::Appender;
use escnet::train::config::{RUN_FILE, RunConfig};
use escnet::{Engine, Error, Image};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

/// Which data set, and where its captions go.
#[derive(Debug, Args)]
#[command(next_help_heading = "A whole data set")]
pub struct Whole {
    /// Captions the pictures of this data set instead; those that have a caption in --output already are passed over
    #[arg(long, value_name = "DIR", requires = "output", conflicts_with_all = ["paths", "format", "strict", "temperature", "top_k", "top_p", "seed"])]
    dataset: Option<PathBuf>,
    /// The file of captions, one JSON row a picture
    #[arg(short, long, value_name = "FILE", requires = "dataset", conflicts_with = "paths")]
    output: Option<PathBuf>,
    /// Which part of the data set
    #[arg(long, value_enum, default_value_t, requires = "dataset", conflicts_with = "paths")]
    split: Part,
    /// Takes the captioners of a training run, for each picture one that did not learn from it; instead of --model
    #[arg(long, value_name = "DIR", requires = "dataset", conflicts_with = "paths")]
    run: Option<PathBuf>,
    /// A file that says which picture belongs to which split [default: that of the run]
    #[arg(long, value_name = "FILE", requires = "dataset", conflicts_with = "paths")]
    split_file: Option<PathBuf>,
    /// What a split that nobody has published is drawn from [default: the seed of the run, else 0]
    #[arg(long, value_name = "N", requires = "dataset", conflicts_with = "paths")]
    split_seed: Option<u64>,
    /// Starts the file of captions anew
    #[arg(long, requires = "dataset", conflicts_with = "paths")]
    overwrite: bool,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every split
    #[default]
    All,
    /// What is learnt from
    Train,
    /// What settings are chosen by
    Val,
    /// What is judged by
    Test,
}

impl Part {
    fn splits(self) -> &'static [Split] {
        match self {
            Part::All => &Split::ALL,
            Part::Train => &[Split::Train],
            Part::Val => &[Split::Val],
            Part::Test => &[Split::Test],
        }
    }
}

impl Whole {
    /// A data set is meant, not single pictures.
    pub fn is_meant(&self) -> bool {
        self.dataset.is_some()
    }

    /// Captions it.
    pub fn run(&self, model: &Model, wording: &Wording, talk: &Talk) -> Done {
        let (Some(root), Some(output)) = (&self.dataset, &self.output) else {
            return Err(Stop::Usage("--dataset and --output belong together".to_owned()));
        };
        let captioners = match &self.run {
            Some(run) if model.is_named() => return Err(Stop::Usage(format!("--run {} and --model: choose one", run.display()))),
            Some(run) => Captioners::of_run(run)?,
            None => Captioners::of_model(model.folder()?)?,
        };
        let set = Dataset::open(root, &self.options()?)?;
        let wanted = self.wanted(&set, &captioners)?;
        if self.overwrite && output.exists() {
            std::fs::remove_file(output).map_err(|e| Error::io(output, e))?;
        }
        let search = model.search(wording)?;
        let (file, present) = captions_file::append(output)?;
        refuse_others(&present, &wanted, &captioners, &search)?;
        let batches = batches(&wanted, &present, model.batch(), captioners.all().len());
        let all = wanted.len();
        let present = wanted.iter().map(|w| present.get(&w.sample.id).is_some()).collect();
        Writing { model, wording, talk, captioners, set: &set, search, wanted, present, file, waiting: BTreeMap::new(), next: 0, broken: 0 }
            .captions(batches)
            .and_then(|broken| if broken > 0 { Err(Stop::Partial { broken, all }) } else { Ok(()) })
    }

    /// How the data set is split: as the run split it, unless said otherwise.
    fn options(&self) -> Result<OpenOptions, Stop> {
        let settings = self.run.as_ref().map(|run| run.join(RUN_FILE)).filter(|path| path.exists());
        let settings = settings.map(|path| RunConfig::open(&path, &[])).transpose()?;
        let seed = self.split_seed.or(settings.as_ref().map(|s| s.seed)).unwrap_or_default();
        let split_file = self.split_file.clone().or(settings.and_then(|s| s.data.split));
        Ok(OpenOptions { seed, split_file, ..OpenOptions::default() })
    }

    /// The pictures, in the order of the data set, each with its captioner.
    fn wanted<'a>(&self, set: &'a Dataset, captioners: &Captioners) -> Result<Vec<Wanted<'a>>, Stop> {
        let (mut wanted, mut leaks) = (Vec::new(), Vec::new());
        for &split in self.split.splits() {
            for sample in set.split(split) {
                match captioners.choose(&sample.id, split) {
                    Some(by) => wanted.push(Wanted { sample, split, by }),
                    None => leaks.push(sample.id.clone()),
                }
            }
        }
        if leaks.is_empty() {
            return Ok(wanted);
        }
        let run = self.run.as_deref().unwrap_or(&set.root);
        Err(Error::leak(run, "for each training picture a fold that did not learn from it", "none", leaks).into())
    }
}

/// A picture that is to have a caption.
#[derive(Debug)]
struct Wanted<'a> {
    sample: &'a Sample,
    split: Split,
    /// The number of its captioner.
    by: usize,
}

/// Pictures, by their place in the list of those wanted, that one captioner captions at once.
#[derive(Debug)]
struct Batch {
    by: usize,
    members: Vec<usize>,
}

/// The batches that are still to do. Which pictures share one does not depend on what is done already: a captioner's numbers may, in
/// their last bits, depend on how many pictures it sees at once, and a file that was gone on with is to be that of a single go.
fn batches(wanted: &[Wanted], present: &Captions, size: usize, captioners: usize) -> Vec<Batch> {
    let mut of_each = vec![Vec::new(); captioners];
    for (i, w) in wanted.iter().enumerate() {
        if let Some(members) = of_each.get_mut(w.by) {
            members.push(i);
        }
    }
    let missing = |&i: &usize| wanted.get(i).is_some_and(|w| present.get(&w.sample.id).is_none());
    let cut = |(by, members): (usize, Vec<usize>)| members.chunks(size).map(|m| Batch { by, members: m.to_vec() }).collect::<Vec<_>>();
    let mut batches: Vec<Batch> = of_each.into_iter().enumerate().flat_map(cut).filter(|batch| batch.members.iter().any(missing)).collect();
    batches.sort_by_key(|batch| batch.members.first().copied());
    batches
}

/// Rows of another captioner, or made in another way, do not go with those that are to come.
fn refuse_others(present: &Captions, wanted: &[Wanted], captioners: &Captioners, search: &str) -> Result<(), Error> {
    let by: BTreeMap<&str, usize> = wanted.iter().map(|w| (w.sample.id.as_str(), w.by)).collect();
    for (i, row) in present.rows().iter().enumerate() {
        let refuse = |field: &str, expected: String, got: &str| {
            Err(Error::config(present.path(), format!("line {}: {field}", i + 1), format!("{expected} (--overwrite starts anew)"), got))
        };
        let fits: Vec<&str> = match by.get(row.id.as_str()) {
            Some(&number) => vec![&captioners.get(number)?.fingerprint],
            None => captioners.all().iter().map(|c| c.fingerprint.as_str()).collect(),
        };
        if !fits.contains(&row.model.as_str()) {
            return refuse("model", fits.join(" or "), &row.model);
        }
        if row.search != search {
            return refuse("search", search.to_owned(), &row.search);
        }
    }
    Ok(())
}

/// The work at hand.
struct Writing<'a> {
    model: &'a Model,
    wording: &'a Wording,
    talk: &'a Talk,
    captioners: Captioners,
    set: &'a Dataset,
    search: String,
    wanted: Vec<Wanted<'a>>,
    /// Which of them have a row already.
    present: Vec<bool>,
    file: Appender,
    /// What is done before its turn to be written; none for a broken picture.
    waiting: BTreeMap<usize, Option<Row>>,
    /// The first of those wanted that is not written.
    next: usize,
    broken: usize,
}

impl Writing<'_> {
    /// Captions the pictures, a batch at a time, and says how many were broken.
    fn captions(mut self, batches: Vec<Batch>) -> Result<usize, Stop> {
        interrupt::working();
        let missing = self.present.iter().filter(|present| !**present).count();
        let done = self.present.len() - missing;
        if done > 0 {
            self.talk.note(format_args!("{done} of {} have captions already", self.present.len()));
        }
        let talk = self.talk.counting("captioning", missing);
        let mut left = vec![0usize; self.captioners.all().len()];
        batches.iter().for_each(|batch| left[batch.by] += 1);
        let mut engines: Vec<Option<Engine>> = left.iter().map(|_| None).collect();
        let paths = batches.iter().map(|b| b.members.iter().filter_map(|&i| Some(self.wanted.get(i)?.sample.image.clone())).collect()).collect();
        let pictures = read_ahead(paths, self.model.threads().min(self.model.batch()))?;
        let begun = Instant::now();
        let mut captioned = 0;
        let result = batches.into_iter().try_for_each(|batch| -> Result<(), Stop> {
            interrupt::check()?;
            let pictures = pictures.recv().map_err(|_| Error::graph("pictures", "a batch", "none"))?;
            let engine = match &mut engines[batch.by] {
                Some(engine) => engine,
                none => none.insert(self.model.load_from(&self.captioners.get(batch.by)?.folder, self.wording, None, self.talk)?),
            };
            captioned += batch.members.len();
            let new = self.one_batch(&batch, pictures, engine, &talk)?;
            left[batch.by] -= 1;
            if left[batch.by] == 0 {
                engines[batch.by] = None;
            }
            talk.message(format!("captioning, {:.1} pictures/s", captioned as f64 / begun.elapsed().as_secs_f64()));
            talk.advance(new);
            Ok(())
        });
        talk.finish();
        result.map(|()| self.broken)
    }

    /// Captions one batch and writes what can be written, in order. Says how many of its pictures were missing.
    fn one_batch(&mut self, batch: &Batch, pictures: Vec<Result<Image, Error>>, engine: &mut Engine, talk: &Talk) -> Result<usize, Stop> {
        let (mut good, mut images) = (Vec::new(), Vec::new());
        let mut new = 0;
        for (&i, picture) in batch.members.iter().zip(pictures) {
            let present = self.present.get(i).copied().unwrap_or_default();
            new += usize::from(!present);
            match picture {
                Ok(image) => {
                    good.push(i);
                    images.push(image);
                }
                Err(problem) => {
                    talk.complain(problem);
                    self.broken += 1;
                    self.waiting.insert(i, None);
                }
            }
        }
        for (i, caption) in good.into_iter().zip(engine.caption_all(&images)?) {
            let Some(Wanted { sample, split, by }) = self.wanted.get(i) else { continue };
            let captioner = self.captioners.get(*by)?;
            let row = Row {
                id: sample.id.clone(),
                image: sample.image.strip_prefix(&self.set.root).unwrap_or(&sample.image).display().to_string(),
                split: Some(*split),
                caption: caption.text,
                score: caption.score,
                ids: caption.ids,
                model: captioner.fingerprint.clone(),
                search: self.search.clone(),
                seen: captioner.seen.contains(&sample.id),
            };
            self.waiting.insert(i, Some(row));
        }
        self.write()?;
        Ok(new)
    }

    /// Writes what has no gap before it.
    fn write(&mut self) -> Result<(), Error> {
        let mut rows = Vec::new();
        while let Some(&present) = self.present.get(self.next) {
            match self.waiting.remove(&self.next) {
                Some(row) => rows.extend(row.filter(|_| !present)),
                None if present => {}
                None => break,
            }
            self.next += 1;
        }
        if rows.is_empty() { Ok(()) } else { self.file.append(&rows) }
    }
}

/// Reads batches of pictures in the background: one is ready while another is worked on.
fn read_ahead(batches: Vec<Vec<PathBuf>>, threads: usize) -> Result<Receiver<Vec<Result<Image, Error>>>, Error> {
    let (to, from) = sync_channel(0);
    let read = move || {
        with_threads(threads, || {
            let mut pictures = batches.into_iter().map(|batch| batch.into_par_iter().map(Image::open).collect());
            // Nobody wants more where it cannot be sent.
            pictures.all(|batch| to.send(batch).is_ok())
        })
    };
    std::thread::Builder::new().name("pictures".to_owned()).spawn(read).map_err(|e| Error::io("a thread that reads pictures", e))?;
    Ok(from)
}
