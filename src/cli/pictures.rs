//! Reads pictures in the background and hands them to a model, a batch at a time.

use super::inputs::{Input, gather};
use super::interrupt;
use super::sheet::{Format, Line, Record, Sheet};
use super::stop::Stop;
use super::talk::Talk;
use clap::Args;
use escnet::{Error, Image};
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

/// Which pictures, and how results are written.
#[derive(Debug, Args)]
pub struct Pictures {
    /// Pictures (JPEG, PNG, WebP), folders of pictures, or - for a list of paths on standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// How results are written [default: table on a terminal, else jsonl]
    #[arg(short, long, value_enum)]
    format: Option<Format>,
    /// Stops, before anything is done, where a picture cannot be read
    #[arg(long)]
    strict: bool,
}

/// Some pictures in their order, and those between them that could not be read.
struct Batch {
    lines: Vec<(PathBuf, Result<(), Error>)>,
    pictures: Vec<Image>,
}

impl Pictures {
    /// How results are written.
    pub fn format(&self) -> Format {
        self.format.unwrap_or_else(Format::usual)
    }

    /// The pictures that are meant. With `--strict` each is read once, so that nothing is done where one is broken.
    ///
    /// # Errors
    /// [`Stop::Input`] where there is none, or, with `--strict`, one that cannot be read.
    pub fn gather(&self, threads: usize, talk: &Talk) -> Result<Vec<Input>, Stop> {
        let mut inputs = gather(&self.paths)?;
        if self.strict {
            let check = |input: &mut Input| {
                if input.problem.is_none() {
                    input.problem = Image::open(&input.path).err();
                }
            };
            with_threads(threads, || inputs.par_iter_mut().for_each(check));
            let broken: Vec<&Error> = inputs.iter().filter_map(|input| input.problem.as_ref()).collect();
            broken.iter().for_each(|problem| talk.complain(problem));
            if !broken.is_empty() {
                return Err(Stop::Input(format!("{} of {} cannot be used; nothing was done (--strict)", broken.len(), inputs.len())));
            }
        }
        Ok(inputs)
    }

    /// Runs all pictures through `work`, a batch at a time, and writes a line for each in their order.
    ///
    /// # Errors
    /// What `work` returns; [`Stop::Partial`] at the end where pictures were broken.
    pub fn run<R: Record>(
        &self,
        inputs: Vec<Input>,
        (batch, threads): (usize, usize),
        sheet: &mut Sheet,
        talk: &Talk,
        mut work: impl FnMut(&[PathBuf], &[Image]) -> Result<Vec<R>, Stop>,
    ) -> Result<(), Stop> {
        let (all, begun) = (inputs.len(), Instant::now());
        interrupt::working();
        let mut tally = Tally::default();
        let mut batches = read_ahead(inputs, batch, threads)?.into_iter();
        let done = batches.try_for_each(|batch| -> Result<(), Stop> {
            interrupt::check()?;
            self.one_batch(batch, &mut tally, sheet, talk, &mut work)
        });
        talk.finish();
        if done.is_ok() || sheet.has_begun() {
            sheet.end()?;
        }
        done?;
        let Tally { read, broken } = tally;
        if read + broken < all {
            return Err(Error::graph("pictures", format!("{all} to be read"), read + broken).into());
        }
        let seconds = begun.elapsed().as_secs_f64();
        talk.detail(format_args!("{} in {seconds:.2} s, {:.2} a second", pictures(read), read as f64 / seconds));
        if broken > 0 { Err(Stop::Partial { broken, all }) } else { Ok(()) }
    }

    fn one_batch<R: Record>(
        &self,
        Batch { lines, pictures: images }: Batch,
        tally: &mut Tally,
        sheet: &mut Sheet,
        talk: &Talk,
        work: &mut impl FnMut(&[PathBuf], &[Image]) -> Result<Vec<R>, Stop>,
    ) -> Result<(), Stop> {
        let mut results = Vec::new();
        if !images.is_empty() {
            let begun = Instant::now();
            let paths: Vec<PathBuf> = lines.iter().filter(|(_, read)| read.is_ok()).map(|(path, _)| path.clone()).collect();
            results = work(&paths, &images)?;
            talk.detail(format_args!("{} in {:.0} ms", pictures(images.len()), begun.elapsed().as_secs_f64() * 1e3));
        }
        let mut results = results.into_iter();
        for (path, read) in lines {
            match read {
                Ok(()) => {
                    let result = results.next().ok_or_else(|| Error::graph("results", "one for each picture", "fewer"))?;
                    talk.aside(|| sheet.write(&Line::Read(result)))?;
                    tally.read += 1;
                }
                Err(problem) if self.strict => return Err(problem.into()),
                Err(problem) => {
                    talk.complain(&problem);
                    talk.aside(|| sheet.write(&Line::<R>::broken(&path, &problem)))?;
                    tally.broken += 1;
                }
            }
            talk.advance(1);
        }
        Ok(talk.aside(|| sheet.flush())?)
    }
}

/// How many pictures have been read, and could not be.
#[derive(Debug, Default)]
struct Tally {
    read: usize,
    broken: usize,
}

/// So many pictures, in words.
fn pictures(count: usize) -> String {
    if count == 1 { "1 picture".to_owned() } else { format!("{count} pictures") }
}

/// Reads pictures in the background. While one batch is worked on the next is read, and no more: at most two are in memory.
fn read_ahead(inputs: Vec<Input>, batch: usize, threads: usize) -> Result<Receiver<Batch>, Stop> {
    let (to, from) = sync_channel(0);
    let read = move || with_threads(threads.min(batch), || fill(inputs, batch, &to));
    std::thread::Builder::new().name("pictures".to_owned()).spawn(read).map_err(|e| Error::io("a thread that reads pictures", e))?;
    Ok(from)
}

/// Puts batches together until there are no more pictures, or nobody wants them any more.
fn fill(inputs: Vec<Input>, batch: usize, to: &SyncSender<Batch>) {
    let mut inputs = inputs.into_iter().peekable();
    while inputs.peek().is_some() {
        let (mut lines, mut pictures) = (Vec::new(), Vec::new());
        // Broken ones leave room for others; a long row of them is told without waiting for a whole one.
        while pictures.len() < batch && lines.len() < 4 * batch && inputs.peek().is_some() {
            let some: Vec<Input> = inputs.by_ref().take(batch - pictures.len()).collect();
            let open = |input: Input| {
                let read = input.problem.map_or_else(|| Image::open(&input.path), Err);
                (input.path, read)
            };
            let read: Vec<(PathBuf, Result<Image, Error>)> = some.into_par_iter().map(open).collect();
            lines.extend(read.into_iter().map(|(path, read)| (path, read.map(|picture| pictures.push(picture)))));
        }
        if to.send(Batch { lines, pictures }).is_err() {
            return;
        }
    }
}

/// Lets `work` spread over so many threads; where they cannot be had, over as many as there are.
pub fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}
