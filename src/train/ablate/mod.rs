//! Ablation: the same model with parts left out or changed, trained alike, judged alike, on several seeds.
//!
//! ```text
//! OUT/ablate.toml                          what was asked for
//!     results.csv                          a row for each run
//!     table.md                             a row for each setting, with spread over the seeds
//!     lexicon.tsv                          the affect words, where the base run names none
//!     seedN/captioner-KIND/                the captioner of each kind of captions, its folds, and captions.jsonl
//!          /CAPTIONS-HIGHLIGHT-FUSION-LOSS/  the classifier's run of each setting, and result.json
//! ```
//!
//! What the classifiers of a seed share, the captioners and their captions, is made once. Everything goes on from where it was
//! interrupted: a finished run is passed over, and one of other settings is refused.

mod config;
mod setting;
mod table;
mod work;

use super::config::{CaptionSource, RunConfig};
use super::run::telling;
use crate::error::{Error, Result};
use crate::ops::support::philox::stable_key;
pub use config::{AblateConfig, Grid};
use serde::{Deserialize, Serialize};
pub use setting::{Fusion, Setting, Told};
use std::path::PathBuf;
pub use table::{COLUMNS, Row, Scores, Spread, Summary, legend, markdown, rows_csv, summaries_csv, summarize};

/// What is left in a finished run's folder, and in one that was interrupted.
const RESULT_FILE: &str = "result.json";

/// An ablation, ready to run.
#[derive(Debug, Clone)]
pub struct Ablation {
    config: AblateConfig,
    base: RunConfig,
    settings: Vec<Setting>,
}

/// One training that an ablation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub dir: PathBuf,
    /// What it trains.
    pub what: &'static str,
    /// How far it is.
    pub state: State,
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is there.
    Open,
    /// It was begun.
    Begun,
    /// There is nothing left to do.
    Done,
}

/// `result.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Outcome {
    /// Tells the settings of this run from others.
    identity: String,
    /// What it took so far.
    seconds: f64,
    /// What came of it; none while it is not finished.
    scores: Option<Scores>,
}

impl Ablation {
    /// Of a configuration whose base run is read.
    ///
    /// # Errors
    /// Those of [`RunConfig::open`]; [`Error::Config`] where several kinds of captions are asked for and the base run takes its from a file.
    pub fn new(config: AblateConfig) -> Result<Self> {
        let base = RunConfig::open(&config.base, &config.changes)?;
        let settings = config.settings();
        let kinds = [Told::Generic, Told::Affective].map(|told| settings.iter().any(|s| s.captions == told));
        if let (Some(file), [true, true]) = (&base.captioner.captions, kinds) {
            let expected = "none, where generic and affective captions are to be compared: they are made from attributes";
            return Err(Error::config(&config.base, "captioner.captions", expected, file.display()));
        }
        Ok(Ablation { config, base, settings })
    }

    /// What was asked for.
    pub fn config(&self) -> &AblateConfig {
        &self.config
    }

    /// The settings that are compared.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Every training in the order in which they are done: for each seed the captioners, then the classifiers.
    ///
    /// # Errors
    /// As [`Ablation::rows`].
    pub fn parts(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for &seed in &self.config.seeds {
            let mut classifiers = Vec::new();
            for setting in &self.settings {
                let dir = self.place(seed, *setting);
                let state = match self.outcome(seed, *setting)? {
                    Some(Outcome { scores: Some(_), .. }) => State::Done,
                    _ if dir.exists() => State::Begun,
                    _ => State::Open,
                };
                classifiers.push((setting.captions, Part { seed, dir, what: "classifier", state }));
            }
            for told in [Told::Generic, Told::Affective] {
                let readers: Vec<State> = classifiers.iter().filter(|(by, _)| *by == told).map(|(_, part)| part.state).collect();
                let dir = self.captioner(seed, told);
                let state = match () {
                    () if readers.iter().all(|state| *state == State::Done) => State::Done,
                    () if dir.exists() => State::Begun,
                    () => State::Open,
                };
                if !readers.is_empty() {
                    parts.push(Part { seed, dir, what: "captioner", state });
                }
            }
            parts.extend(classifiers.into_iter().map(|(_, part)| part));
        }
        Ok(parts)
    }

    /// The runs that are finished, by settings and then seeds.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] where a run was made with other settings.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for &setting in &self.settings {
            for &seed in &self.config.seeds {
                if let Some(Outcome { seconds, scores: Some(scores), .. }) = self.outcome(seed, setting)? {
                    rows.push(Row { setting, seed, scores, seconds });
                }
            }
        }
        Ok(rows)
    }

    /// A row for each setting of which a run is finished.
    ///
    /// # Errors
    /// As [`Ablation::rows`].
    pub fn table(&self) -> Result<Vec<Summary>> {
        Ok(table::summarize(&self.rows()?, &self.settings, self.config.center))
    }

    fn seed_dir(&self, seed: u64) -> PathBuf {
        self.config.out.join(format!("seed{seed}"))
    }

    /// The folder of a classifier.
    fn place(&self, seed: u64, setting: Setting) -> PathBuf {
        self.seed_dir(seed).join(setting.name())
    }

    /// The folder of a captioner; where nothing is told there is none in it.
    fn captioner(&self, seed: u64, told: Told) -> PathBuf {
        self.seed_dir(seed).join(format!("captioner-{}", setting::name(&told)))
    }

    /// What a run's folder holds of its results.
    fn outcome(&self, seed: u64, setting: Setting) -> Result<Option<Outcome>> {
        let path = self.place(seed, setting).join(RESULT_FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Error::io(&path, e))?,
        };
        let found: Outcome = serde_json::from_str(&text).map_err(|e| Error::config(&path, "(file)", "what a run came to", e))?;
        let identity = self.identity(&self.run_of(seed, setting)?);
        if found.identity != identity {
            return Err(Error::config(&path, "identity", "the settings this run was made with", "others"));
        }
        Ok(Some(found))
    }

    /// Tells runs apart by their settings and, where they are told captions, those of the captioner. Pictures and captions are told apart by the
    /// training itself.
    fn identity(&self, run: &RunConfig) -> String {
        // Their places in this ablation's folder say nothing.
        let mut run = run.clone();
        run.model.lexicon = self.base.model.lexicon.clone();
        let captioner = run.classifier.captions.file().map(|_| telling(&run, "captioner"));
        let reading = run.classifier.reading();
        run.classifier.captions = CaptionSource::None;
        let own = telling(&run, "classifier");
        format!("{:016x}", stable_key(&format!("{own:?} {captioner:?} {reading:?} {:?}", self.config.split)))
    }
}
