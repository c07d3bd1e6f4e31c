//! `escnet caption --dataset`: captions for a whole data set, in a file that grows and can be gone on with.

use super::model::{Model, Wording, expect_model};
use super::stop::Stop;
use super::talk::Talk;
use super::{Done, interrupt};
use clap::{Args, ValueEnum};
use escnet::data::dataset::{Dataset, OpenOptions, Split};
use escnet::train::captioners::Captioners;
use escnet::train::captioning::{Captioning, Request};
use escnet::train::config::{RUN_FILE, RunConfig};
use escnet::train::evaluate::Seen;
use escnet::train::folder::MODEL;
use std::path::PathBuf;
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
            Some(run) => {
                expect_model(&run.join(MODEL))?;
                Captioners::of_run(run)?
            }
            None => {
                expect_model(model.folder()?)?;
                Captioners::of_model(model.folder()?)?
            }
        };
        let set = Dataset::open(root, &self.options()?)?;
        let request = Request {
            set: &set,
            splits: self.split.splits(),
            captioners,
            search: model.search(wording)?,
            batch: model.batch(),
            output,
            overwrite: self.overwrite,
        };
        let work = Captioning::open(request)?;
        let (all, missing) = (work.all(), work.missing());
        if missing < all {
            talk.note(format_args!("{} of {all} have captions already", all - missing));
        }
        interrupt::working();
        let progress = &talk.counting("captioning", missing);
        let (begun, mut captioned) = (Instant::now(), 0);
        let threads = model.threads().min(model.batch());
        let ended = work.run(threads, &mut |folder| model.load_from(folder, wording, None, talk), &mut |seen| {
            match seen {
                Seen::Answered(count) => {
                    captioned += count;
                    progress.message(format!("captioning, {:.1} pictures/s", captioned as f64 / begun.elapsed().as_secs_f64()));
                    progress.advance(count);
                }
                Seen::Broken(problem) => {
                    progress.complain(problem);
                    progress.advance(1);
                }
            }
            interrupt::check().is_ok()
        });
        progress.finish();
        match ended?.ok_or(Stop::Interrupted)? {
            0 => Ok(()),
            broken => Err(Stop::Partial { broken, all }),
        }
    }

    /// How the data set is split: as the run split it, unless said otherwise.
    fn options(&self) -> Result<OpenOptions, Stop> {
        let settings = self.run.as_ref().map(|run| run.join(RUN_FILE)).filter(|path| path.exists());
        let settings = settings.map(|path| RunConfig::open(&path, &[])).transpose()?;
        let seed = self.split_seed.or(settings.as_ref().map(|s| s.seed)).unwrap_or_default();
        let split_file = self.split_file.clone().or(settings.and_then(|s| s.data.split));
        Ok(OpenOptions { seed, split_file, ..OpenOptions::default() })
    }
}
