//! Captions for a whole data set, in a file that grows and can be gone on with.

use super::captioners::Captioners;
use super::evaluate::Seen;
use crate::data::captions_file::{self, Captions, Row};
use crate::data::dataset::{Dataset, Sample, Split};
use crate::data::image::Image;
use crate::data::jsonl::Appender;
use crate::error::{Error, Result};
use crate::infer::{Engine, EngineOptions};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

/// What is to be captioned, by whom and whereto.
#[derive(Debug)]
pub struct Request<'a> {
    /// The data set.
    pub set: &'a Dataset,
    /// Those of its parts that are wanted.
    pub splits: &'a [Split],
    /// Who captions them.
    pub captioners: Captioners,
    /// How words are searched for, as [`search`] says it.
    pub search: String,
    /// Pictures that a captioner sees at once.
    pub batch: usize,
    /// The file; what it holds already is not made again.
    pub output: &'a Path,
    /// Starts the file anew.
    pub overwrite: bool,
}

/// How words are searched for, in words: what else than the weights a caption depends on.
pub fn search(options: &EngineOptions) -> String {
    let EngineOptions { generation, prompt, dtype, .. } = options;
    let prompt = if prompt.is_empty() { String::new() } else { format!(", after {prompt:?}") };
    format!("beam {}, {} to {} tokens, {dtype}{prompt}", generation.beams, generation.min_length, generation.max_length)
}

/// The work at hand.
#[derive(Debug)]
pub struct Captioning<'a> {
    captioners: Captioners,
    set: &'a Dataset,
    search: String,
    wanted: Vec<Wanted<'a>>,
    /// Which of them have a row already.
    present: Vec<bool>,
    batches: Vec<Batch>,
    file: Appender,
    /// What is done before its turn to be written; none for a broken picture.
    waiting: BTreeMap<usize, Option<Row>>,
    /// The first of those wanted that is not written.
    next: usize,
    broken: usize,
}

impl<'a> Captioning<'a> {
    /// Opens the file, and sees what is left to do.
    ///
    /// # Errors
    /// [`Error::Leak`] where a training picture has no captioner that did not learn from it; [`Error::Config`] where the file holds captions by
    /// others, or made otherwise; those of [`captions_file::append`].
    pub fn open(request: Request<'a>) -> Result<Self> {
        let Request { set, splits, captioners, search, batch, output, overwrite } = request;
        let wanted = wanted(set, splits, &captioners)?;
        if overwrite && output.exists() {
            std::fs::remove_file(output).map_err(|e| Error::io(output, e))?;
        }
        let (file, rows) = captions_file::append(output)?;
        refuse_others(&rows, &wanted, &captioners, &search)?;
        let batches = batches(&wanted, &rows, batch.max(1), captioners.all().len());
        let present = wanted.iter().map(|w| rows.get(&w.sample.id).is_some()).collect();
        Ok(Captioning { captioners, set, search, wanted, present, batches, file, waiting: BTreeMap::new(), next: 0, broken: 0 })
    }

    /// How many pictures are wanted.
    pub fn all(&self) -> usize {
        self.wanted.len()
    }

    /// How many of them have no caption yet.
    pub fn missing(&self) -> usize {
        self.present.iter().filter(|present| !**present).count()
    }

    /// Captions the missing pictures, a batch at a time, and says how many were broken; these have no row. `load` makes an engine of a model
    /// folder, `threads` decode, `watch` hears of every picture that was missing and says whether to go on; none is returned where it did not.
    ///
    /// # Errors
    /// Those of `load`, of the engine and of the file.
    pub fn run<E: From<Error>>(
        mut self,
        threads: usize,
        load: &mut dyn FnMut(&Path) -> Result<Engine, E>,
        watch: &mut dyn FnMut(Seen) -> bool,
    ) -> Result<Option<usize>, E> {
        let batches = std::mem::take(&mut self.batches);
        let mut engines: Vec<Option<Engine>> = self.captioners.all().iter().map(|_| None).collect();
        let paths = batches.iter().map(|b| b.members.iter().filter_map(|&i| Some(self.wanted.get(i)?.sample.image.clone())).collect()).collect();
        let pictures = read_ahead(paths, threads)?;
        for (at, batch) in batches.iter().enumerate() {
            let pictures = pictures.recv().map_err(|_| Error::graph("pictures", "a batch", "none"))?;
            let folder = &self.captioners.get(batch.by)?.folder;
            let Some(place) = engines.get_mut(batch.by) else { continue };
            if place.is_none() {
                *place = Some(load(folder)?);
            }
            let Some(engine) = place.as_mut() else { continue };
            let goes_on = self.one_batch(batch, pictures, engine, watch)?;
            // Nobody needs this captioner any more.
            if batches.iter().skip(at + 1).all(|later| later.by != batch.by) {
                *place = None;
            }
            if !goes_on && at + 1 < batches.len() {
                return Ok(None);
            }
        }
        Ok(Some(self.broken))
    }

    /// Captions one batch and writes what can be written, in order.
    fn one_batch(&mut self, batch: &Batch, pictures: Vec<Result<Image>>, engine: &mut Engine, watch: &mut dyn FnMut(Seen) -> bool) -> Result<bool> {
        let (mut good, mut images) = (Vec::new(), Vec::new());
        let mut goes_on = true;
        for (&i, picture) in batch.members.iter().zip(pictures) {
            match picture {
                Ok(image) => {
                    good.push(i);
                    images.push(image);
                }
                Err(problem) => {
                    goes_on &= watch(Seen::Broken(&problem));
                    self.broken += 1;
                    self.waiting.insert(i, None);
                }
            }
        }
        let new = good.iter().filter(|&&i| !self.present.get(i).copied().unwrap_or_default()).count();
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
        Ok(watch(Seen::Answered(new)) && goes_on)
    }

    /// Writes what has no gap before it.
    fn write(&mut self) -> Result<()> {
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

/// The pictures, in the order of the data set, each with its captioner.
fn wanted<'a>(set: &'a Dataset, splits: &[Split], captioners: &Captioners) -> Result<Vec<Wanted<'a>>> {
    let (mut wanted, mut leaks) = (Vec::new(), Vec::new());
    for &split in splits {
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
    let first = captioners.all().first().map_or(set.root.as_path(), |captioner| captioner.folder.as_path());
    Err(Error::leak(first, "for each training picture a fold that did not learn from it", "none", leaks))
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
fn refuse_others(present: &Captions, wanted: &[Wanted], captioners: &Captioners, search: &str) -> Result<()> {
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

/// Reads batches of pictures in the background: one is ready while another is worked on.
fn read_ahead(batches: Vec<Vec<PathBuf>>, threads: usize) -> Result<Receiver<Vec<Result<Image>>>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    let pool = pool.map_err(|e| Error::io("threads that read pictures", std::io::Error::other(e)))?;
    let (to, from) = sync_channel(0);
    let read = move || {
        pool.install(|| {
            let mut pictures = batches.into_iter().map(|batch| batch.into_par_iter().map(Image::open).collect());
            // Nobody wants more where it cannot be sent.
            pictures.all(|batch| to.send(batch).is_ok())
        })
    };
    std::thread::Builder::new().name("pictures".to_owned()).spawn(read).map_err(|e| Error::io("a thread that reads pictures", e))?;
    Ok(from)
}
