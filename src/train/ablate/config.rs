//! `ablate.toml`: which settings are compared, and on which seeds.

use super::setting::{Fusion, Setting, Told, name};
use crate::data::dataset::Split;
use crate::error::{Error, Result};
use crate::model::config::{Highlight, LossKind};
use crate::train::config::read;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A whole `ablate.toml`. Paths are, as in a `run.toml`, as seen from where the program runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AblateConfig {
    /// The run that all of them are like, a `run.toml`, but for seed, folders and what the axes say.
    pub base: PathBuf,
    /// What is laid over that run, as `classifier.stage.epochs=3.0`.
    pub changes: Vec<String>,
    /// Where everything is written.
    pub out: PathBuf,
    /// Every setting is trained once with each.
    pub seeds: Vec<u64>,
    /// What they are judged by.
    pub split: Split,
    /// Which settings of the axes are taken.
    pub grid: Grid,
    /// The first axis.
    pub captions: Vec<Told>,
    /// The second.
    pub highlight: Vec<Highlight>,
    /// The third.
    pub fusion: Vec<Fusion>,
    /// The fourth.
    pub loss: Vec<LossKind>,
    /// What all others are compared with.
    pub center: Setting,
}

/// Which settings of the axes are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grid {
    /// Every one: the product of the axes.
    #[default]
    Full,
    /// The center, and from there each axis gone along by itself.
    OneAtATime,
}

impl Default for AblateConfig {
    fn default() -> Self {
        AblateConfig {
            base: "run.toml".into(),
            changes: Vec::new(),
            out: "runs/ablate".into(),
            seeds: vec![0, 1, 2],
            split: Split::Test,
            grid: Grid::default(),
            captions: vec![Told::None, Told::Generic, Told::Affective],
            highlight: vec![Highlight::None, Highlight::Lexicon, Highlight::Learned],
            fusion: vec![Fusion::Concat, Fusion::Cross, Fusion::SelfAttention, Fusion::Both],
            loss: vec![LossKind::CrossEntropy, LossKind::Focal, LossKind::VariableWeight],
            center: Setting::default(),
        }
    }
}

impl AblateConfig {
    /// Reads an `ablate.toml` and checks it.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Config`] for the first key that is unknown, of another type, empty or repeats itself.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?, path)
    }

    /// [`AblateConfig::open`] from the text of the file; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Config`], as there.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let config: Self = read(text, path, &[])?;
        config.check(path)?;
        Ok(config)
    }

    /// Whether every list says something and nothing twice; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Config`] where it does not.
    pub fn check(&self, path: &Path) -> Result<()> {
        check(path, "seeds", self.seeds.iter().map(u64::to_string))?;
        check(path, "captions", self.captions.iter().map(name))?;
        check(path, "highlight", self.highlight.iter().map(name))?;
        check(path, "fusion", self.fusion.iter().map(name))?;
        check(path, "loss", self.loss.iter().map(name))
    }

    /// The settings that are compared: the first axis changes the slowest, each goes as the file has it; one at a time, the center comes first.
    pub fn settings(&self) -> Vec<Setting> {
        let c = self.center;
        let captions = self.captions.iter().map(|&captions| Setting { captions, ..c });
        let highlight = self.highlight.iter().map(|&highlight| Setting { highlight, ..c });
        let fusion = self.fusion.iter().map(|&fusion| Setting { fusion, ..c });
        let loss = self.loss.iter().map(|&loss| Setting { loss, ..c });
        match self.grid {
            Grid::OneAtATime => {
                let others = captions.chain(highlight).chain(fusion).chain(loss);
                std::iter::once(c).chain(others.filter(|setting| *setting != c)).collect()
            }
            Grid::Full => {
                let (highlight, fusion, loss): (Vec<_>, Vec<_>, Vec<_>) = (highlight.collect(), fusion.collect(), loss.collect());
                let mut all: Vec<Setting> = captions.collect();
                all = all.iter().flat_map(|s| highlight.iter().map(|x| Setting { highlight: x.highlight, ..*s })).collect();
                all = all.iter().flat_map(|s| fusion.iter().map(|x| Setting { fusion: x.fusion, ..*s })).collect();
                all.iter().flat_map(|s| loss.iter().map(|x| Setting { loss: x.loss, ..*s })).collect()
            }
        }
    }
}

/// Refuses a list that is empty, or that holds a value twice.
fn check(path: &Path, field: &str, values: impl Iterator<Item = String>) -> Result<()> {
    let mut seen = HashSet::new();
    for value in values {
        if seen.contains(&value) {
            return Err(Error::config(path, field, "each value once", format!("`{value}` twice")));
        }
        seen.insert(value);
    }
    if seen.is_empty() { Err(Error::config(path, field, "one value or more", "none")) } else { Ok(()) }
}
