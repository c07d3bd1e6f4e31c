//! `escnet eval`: how good a model is on a split of a data set.

use super::model::{Model, Wording};
use super::stop::Stop;
use super::table::{Table, bar};
use super::talk::Talk;
use super::{Done, interrupt};
use clap::{Args, ValueEnum};
use console::style;
use escnet::data::captions::Style;
use escnet::data::captions_file;
use escnet::data::dataset::{Dataset, Layout, OpenOptions, Sample, Split};
use escnet::infer::Caption;
use escnet::infer::explain::{confusion, write_png};
use escnet::train::config::{RUN_FILE, RunConfig};
use escnet::train::evaluate::{CaptionScores, Options, Report, Seen, evaluate};
use escnet::train::folder::Training;
use escnet::train::metrics::ClassScores;
use escnet::weights::fingerprint::fingerprint;
use escnet::weights::write_atomically;
use escnet::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Judges a model by a split of a data set.
///
/// Accuracy, macro F1, precision and recall of each class, negative log-likelihood and calibration; where pictures have captions or attributes, BLEU-4,
/// CIDEr, affect-word recall and attribute recall of what the model says of them. Captions come from the model's own captioner alone.
#[derive(Debug, Args)]
pub struct Eval {
    /// The data set: its folder, or its CSV file
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
    /// Which part of it: train, val or test
    #[arg(long, default_value = "test", value_parser = split)]
    split: Split,
    /// Which sample belongs to which split, where not as published
    #[arg(long, value_name = "FILE")]
    split_file: Option<PathBuf>,
    /// What a split that nobody has published is drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    split_seed: u64,
    /// The data set's layout [default: told from its files]
    #[arg(long)]
    layout: Option<Layout>,
    /// What this model's captioner said of the pictures before, as `escnet caption` wrote it
    #[arg(long, value_name = "FILE")]
    captions: Option<PathBuf>,
    /// The run whose captions are the references, by style and seed [default: run.toml in the model's folder or above it]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leaves broken pictures out; otherwise they count as wrong answers
    #[arg(long)]
    skip_broken: bool,
    /// How the report is written [default: table on a terminal, else json]
    #[arg(short, long, value_enum)]
    format: Option<Format>,
    /// Also writes report.json, confusion.csv and confusion.png into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    wording: Wording,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object
    Json,
}

/// The report, and of what it is.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    model: String,
    dataset: String,
    split: Split,
    /// Pictures whose ids the model's training lists too.
    trained_on: usize,
    #[serde(flatten)]
    report: &'a Report,
}

fn split(name: &str) -> Result<Split, String> {
    Split::of(name).ok_or_else(|| "expected train, val or test".to_owned())
}

impl Eval {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        interrupt::listen();
        let options = OpenOptions { layout: self.layout, seed: self.split_seed, split_file: self.split_file.clone(), ..OpenOptions::default() };
        let data = Dataset::open(&self.dataset, &options)?;
        let samples = data.split(self.split);
        if samples.is_empty() {
            return Err(Stop::Input(format!("{}: the {} split is empty", self.dataset.display(), self.split.name())));
        }
        let mut engine = self.model.load(&self.wording, None, talk)?;
        let options = Options {
            classes: &data.classes,
            captions: self.captions.as_deref().map(|file| self.given(file, samples)).transpose()?,
            references: self.references(talk)?,
            skip_broken: self.skip_broken,
            batch: self.model.batch(),
            workers: self.model.threads(),
        };
        let learnt = Training::open(self.model.folder()?)?.map_or(Vec::new(), |training| training.trained_on);
        let trained_on = samples.iter().filter(|sample| learnt.binary_search(&sample.id).is_ok()).count();
        if trained_on > 0 && self.split != Split::Train {
            talk.note(format_args!(
                "{trained_on} of the pictures have ids that the model was trained on; if they are the same pictures, it knows them"
            ));
        }
        interrupt::working();
        let progress = &talk.counting("judging", samples.len());
        let report = evaluate(&mut engine, samples, &options, &mut |seen| {
            match seen {
                Seen::Answered(count) => progress.advance(count),
                Seen::Broken(problem) => {
                    progress.complain(problem);
                    progress.advance(1);
                }
            }
            interrupt::check().is_ok()
        })?;
        progress.finish();
        let report = report.ok_or(Stop::Interrupted)?;
        let (model, dataset) = (self.model.folder()?.display().to_string(), self.dataset.display().to_string());
        let whole = Whole { model, dataset, split: self.split, trained_on, report: &report };
        let json = serde_json::to_string_pretty(&whole).map_err(|e| Error::io("the report", e.into()))? + "\n";
        if let Some(folder) = &self.output {
            write_folder(folder, &whole, &json)?;
            talk.note(format_args!("{}: report.json, confusion.csv and confusion.png", folder.display()));
        }
        let usual = if std::io::stdout().is_terminal() { Format::Table } else { Format::Json };
        let text = if self.format.unwrap_or(usual) == Format::Json { json } else { table(&whole) };
        std::io::stdout().write_all(text.as_bytes())?;
        if report.broken > 0 { Err(Stop::Partial { broken: report.broken as usize, all: samples.len() }) } else { Ok(()) }
    }

    /// What a file says of these pictures, if all of that is by this model's captioner. What it says of others may be anyone's.
    fn given(&self, file: &Path, samples: &[Sample]) -> Result<HashMap<String, Caption>, Stop> {
        let own = fingerprint(self.model.folder()?, "captioner.")?;
        let captions = captions_file::read(file)?;
        let mut given = HashMap::new();
        for row in samples.iter().filter_map(|sample| captions.get(&sample.id)) {
            if row.model != own {
                let (by, id) = (&row.model, &row.id);
                return Err(Stop::Input(format!(
                    "{}: `{id}`: expected a caption by this model's captioner, {own}, got one by `{by}`",
                    file.display()
                )));
            }
            given.insert(row.id.clone(), Caption { text: row.caption.clone(), ids: row.ids.clone(), score: row.score });
        }
        Ok(given)
    }

    /// How reference captions are made: as those that the captioner learnt from, where the run is known.
    fn references(&self, talk: &Talk) -> Result<(Style, u64), Stop> {
        let folder = self.model.folder()?;
        let near = [Some(folder), folder.parent()].into_iter().flatten().map(|folder| folder.join(RUN_FILE)).find(|file| file.is_file());
        match self.config.clone().or(near) {
            Some(file) => {
                let run = RunConfig::open(&file, &[])?;
                talk.detail(format_args!("reference captions in the style of {}", file.display()));
                Ok((run.captioner.style, run.seed))
            }
            None => Ok((Style::default(), 0)),
        }
    }
}

/// Writes the report, the table of what was taken for what, and its picture.
fn write_folder(folder: &Path, whole: &Whole, json: &str) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_atomically(&path, |out| out.write_all(bytes).map_err(|e| Error::io(&path, e)))
    };
    let matrix = &whole.report.confusion;
    write("report.json", json.as_bytes())?;
    write("confusion.csv", &matrix.to_csv()?)?;
    let title = format!("What was taken for what: {} split", whole.split.name());
    let figure = confusion(matrix.classes(), matrix.counts(), matrix.missed(), (&title, &summary(whole.report)))?;
    write_png(&figure, folder.join("confusion.png"))
}

/// The whole report in a line.
fn summary(report: &Report) -> String {
    let broken = match (report.broken, report.broken_skipped) {
        (0, _) => String::new(),
        (n, true) => format!(" · {n} broken, left out"),
        (n, false) => format!(" · {n} broken, counted as wrong"),
    };
    format!("{} of {} right, {} · macro F1 {}{broken}", report.confusion.right(), report.pictures, percent(report.accuracy), number(report.macro_f1))
}

fn table(whole: &Whole) -> String {
    let report = whole.report;
    let mut text = format!("{}, {} split\n{}\n", style(&whole.dataset).bold(), whole.split.name(), summary(report));
    let sure = format!("negative log-likelihood {} nats · calibration error {}", number(report.nll), percent(report.ece));
    text += &format!("{}\n\n", style(sure).dim());

    let of_class = |class: &ClassScores| {
        let recall = format!("{:>6} {:<10}", percent(class.recall), bar(class.recall.unwrap_or(0.0) as f32, 10));
        vec![class.class.clone(), recall, percent(class.precision), number(class.f1), class.support.to_string()]
    };
    let rows: Vec<Vec<String>> = report.classes.iter().map(of_class).collect();
    let classes = Table::fitting(&[("class", false), ("recall", false), ("precision", true), ("F1", true), ("pictures", true)], &rows);
    text += &classes.head();
    rows.iter().for_each(|row| text += &classes.line(row));
    if let Some(captions) = &report.captions {
        text.push('\n');
        text += &captions_table(captions);
    }
    text
}

fn captions_table(scores: &CaptionScores) -> String {
    let named = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        named("BLEU-4", number(Some(scores.bleu4))),
        named("CIDEr", number(scores.cider)),
        named("affect-word recall", percent(scores.affect_word_recall)),
    ];
    let groups = scores.attribute_recall.iter().filter(|(group, recall)| *group != "all" && recall.is_some());
    if let Some(all) = scores.attribute_recall.get("all").copied().flatten() {
        rows.push(named("attribute recall", percent(Some(all))));
        rows.extend(groups.map(|(group, recall)| named(&format!("  {group}"), percent(*recall))));
    }
    let table = Table::fitting(&[("captions", false), ("score", true)], &rows);
    table.head() + &rows.iter().map(|row| table.line(row)).collect::<String>()
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.3}"))
}
