//! `escnet ablate`: what each part of the model is worth.

use super::stop::Stop;
use super::table::Table;
use super::talk::Talk;
use super::train::{Shown, toml_text};
use super::{Done, interrupt};
use clap::{Args, ValueEnum};
use console::style;
use escnet::Error;
use escnet::train::ablate::{AblateConfig, Ablation, COLUMNS, Part, State, Summary, legend, markdown, summaries_csv};
use escnet::train::trainer::Ended;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Trains a model with parts left out or changed, and compares.
///
/// Captions none, generic or affective; highlight none, by a lexicon or learned; fusion by concatenation, cross-attention, self-attention or both; three
/// losses: every combination, or one axis at a time, on several seeds, with spread. Ctrl-C once saves and stops; the same command goes on.
#[derive(Debug, Args)]
pub struct Ablate {
    /// What is compared
    #[arg(short, long, value_name = "FILE", default_value = "ablate.toml")]
    config: PathBuf,
    /// Where everything is written
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The seeds
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Where the steps run: auto, cpu, wgpu[:N], cuda[:N] (see `escnet devices`)
    #[arg(long)]
    device: Option<String>,
    /// Any key of the base run's settings, as classifier.stage.epochs=3.0; may come more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Lists what would be trained, and trains nothing
    #[arg(long)]
    dry_run: bool,
    /// How the table is written [default: table on a terminal, else csv]
    #[arg(short, long, value_enum)]
    format: Option<Format>,
}

/// How the table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// Comma-separated values, with a header
    Csv,
    /// One JSON array
    Json,
    /// Markdown
    Md,
}

impl Ablate {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        interrupt::listen();
        let mut config = AblateConfig::open(&self.config)?;
        config.changes.extend(self.device.iter().map(|device| format!("device={}", toml_text(device))));
        config.changes.extend(self.changes.iter().cloned());
        config.out = self.out.clone().unwrap_or(config.out);
        config.seeds = self.seeds.clone().unwrap_or(config.seeds);
        config.check(&self.config)?;
        let ablation = Ablation::new(config)?;
        if self.dry_run {
            std::io::stdout().write_all(plan(&ablation.parts()?, &ablation.config().out).as_bytes())?;
            return Ok(());
        }
        interrupt::working();
        let mut shown = Shown::new(talk);
        let ended = ablation.run(&mut shown);
        shown.finish();
        if ended? == Ended::Stopped {
            talk.note("saved; the same command goes on from here");
            return Err(Stop::Interrupted);
        }
        let text = self.text(&ablation.table()?, &ablation)?;
        std::io::stdout().write_all(text.as_bytes())?;
        talk.note(format_args!("{}: results.csv, table.md and the runs", ablation.config().out.display()));
        Ok(())
    }

    fn text(&self, summaries: &[Summary], ablation: &Ablation) -> Result<String, Error> {
        let split = ablation.config().split;
        let usual = if std::io::stdout().is_terminal() { Format::Table } else { Format::Csv };
        match self.format.unwrap_or(usual) {
            Format::Csv => summaries_csv(summaries),
            Format::Md => Ok(markdown(summaries, split)),
            Format::Json => Ok(serde_json::to_string_pretty(summaries).map_err(|e| Error::io("the table", e.into()))? + "\n"),
            Format::Table => {
                let rows: Vec<Vec<String>> = summaries.iter().map(Summary::cells).collect();
                let table = Table::fitting(&COLUMNS, &rows);
                let lines: String = rows.iter().map(|row| table.line(row)).collect();
                Ok(format!("{}{lines}\n{}\n", table.head(), style(legend(split)).dim()))
            }
        }
    }
}

/// What would be trained.
fn plan(parts: &[Part], out: &Path) -> String {
    let name = |part: &Part| part.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let state = |part: &Part| match part.state {
        State::Open => "to do",
        State::Begun => "begun",
        State::Done => "done",
    };
    let rows: Vec<Vec<String>> =
        parts.iter().map(|part| vec![part.seed.to_string(), part.what.to_owned(), name(part), state(part).to_owned()]).collect();
    let table = Table::fitting(&[("seed", true), ("trained", false), ("in", false), ("state", false)], &rows);
    let lines: String = rows.iter().map(|row| table.line(row)).collect();
    let count = |what: &str| parts.iter().filter(|part| part.what == what).count();
    let left = parts.iter().filter(|part| part.state != State::Done).count();
    let (captioners, classifiers) = (count("captioner"), count("classifier"));
    format!("{}{lines}\n{captioners} captioners and {classifiers} classifiers in {}; {left} are left to do\n", table.head(), out.display())
}
