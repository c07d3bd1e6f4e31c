//! `escnet data split`: which sample belongs to which split, written down.

use super::set::{Set, deliver};
use crate::cli::Done;
use crate::cli::talk::Talk;
use clap::Args;
use escnet::data::dataset;
use escnet::data::dataset::split::Assignment;
use std::path::PathBuf;

/// Writes which sample belongs to which split.
///
/// A published split is written as it is; without one, 80% of each class are for training, 5% for validation and 15% for testing, drawn from the seed and
/// the samples' ids. --split-file reads the file back.
#[derive(Debug, Args)]
pub struct Split {
    #[command(flatten)]
    set: Set,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Split {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let set = self.set.open()?;
        deliver(&Assignment::of(&set).to_json(), self.output.as_deref())?;
        let counts = dataset::Split::ALL.map(|split| format!("{} {}", split.name(), set.split(split).len()));
        talk.note(format_args!("{}: {}", self.set.path().display(), counts.join(", ")));
        Ok(())
    }
}
