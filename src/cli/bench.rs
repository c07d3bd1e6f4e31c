//! `escnet bench`: how long operators take, and what could be.

use super::Done;
use super::model::{Precision, Where};
use super::stop::Stop;
use super::table::Table;
use super::talk::Talk;
use clap::{Args, Subcommand, ValueEnum};
use escnet::bench::clocks::Clocks;
use escnet::bench::compare::{Comparison, Pair, compare};
use escnet::bench::parts::{Part, model};
use escnet::bench::peaks::{Bound, Peaks};
use escnet::bench::peers::Peers;
use escnet::bench::record::{self, Host, Row};
use escnet::bench::sampling::Patience;
use escnet::bench::shapes::{Subject, listed, subjects};
use escnet::bench::subject::{Memory, Prepared};
use escnet::bench::{Settings, measure_beside, variants, whole};
use escnet::infer::inspect::Stage;
use escnet::{DType, Device, Error};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Measures operators, or whole graphs of a model, on a device, or compares two measurements.
///
/// What is measured are the operators that a model's graphs run, after fusion, each once for the same shapes, each on tensors of its own that no cache holds. What it
/// computes is checked against plain f64 code before any time is shown. Times are the device's own where it has a clock; docs/benchmarking.md says how to read them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Sets two measurements side by side; exit code 1 where something became slower
    Compare(Compare),
}

#[derive(Debug, Args)]
struct Run {
    /// Only operators in whose name, pass or shape this stands, such as `conv2d`, `attention.backward` or `577`
    filter: Option<String>,
    #[command(flatten)]
    device: Where,
    /// What is computed in
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// What is measured: the operators of escnet-base, escnet-tiny or a folder with a config.json; `sweep`, sizes that kernels are compared at, or a .toml of that form
    #[arg(long, value_name = "MODEL|FILE", default_value = "escnet-base")]
    shapes: String,
    /// Pictures at once
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Vec<u16>,
    /// The graphs whose operators are measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Graph::Classify, Graph::CaptionEncode, Graph::CaptionStep])]
    part: Vec<Graph>,
    /// Measures these graphs as wholes instead of their operators
    #[arg(long, conflicts_with_all = ["variant", "hot", "list", "run_once"])]
    whole: bool,
    /// The variant of kernels that operators use where they have it, such as mma64 or tiles64x64; `all` measures each that a device has, side by side. For CUDA and
    /// wgpu
    #[arg(long, value_name = "NAME", conflicts_with_all = ["list", "run_once"])]
    variant: Option<String>,
    /// Lets each execution find its tensors where the one before left them
    #[arg(long)]
    hot: bool,
    /// The most seconds for an operator; what is not quiet then is marked
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    time: f64,
    /// The noise at which sampling ends: the standard error of the mean, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5)]
    noise: f64,
    /// Measures no roofs
    #[arg(long)]
    no_peaks: bool,
    /// What rows are set beside, one or several: files of rows, CSV or JSON, of an earlier run or of PyTorch; `cublas` and `cudnn`, which then compute the same
    #[arg(long, value_name = "FILE|LIBRARY", value_delimiter = ',')]
    against: Vec<String>,
    /// Also adds the rows to this CSV file
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Only lists what would be measured
    #[arg(long, conflicts_with_all = ["run_once", "append", "against"])]
    list: bool,
    /// Runs each operator once, unmeasured: for profilers
    #[arg(long, conflicts_with_all = ["append", "against"])]
    run_once: bool,
    /// How rows are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
struct Compare {
    /// Rows as they were: CSV or JSON
    before: PathBuf,
    /// Rows as they are
    after: PathBuf,
    /// By how many percent something may be slower
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0)]
    threshold: f64,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A graph of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Graph {
    /// Backbone, text encoder and fusion
    Classify,
    /// The captioner's vision tower
    CaptionEncode,
    /// A decoding step of the captioner
    CaptionStep,
    /// The ResNet of the classifier
    Backbone,
    /// Its text encoder
    TextEncode,
    /// What joins picture and words
    Fusion,
    /// A training step of the captioner
    TrainCaption,
    /// A training step of the classifier
    TrainClassify,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// Comma-separated, with a header
    Csv,
    /// One JSON object
    Json,
    /// A table in Markdown
    Md,
}

impl From<Graph> for Part {
    fn from(graph: Graph) -> Part {
        match graph {
            Graph::Classify => Part::Inference(Stage::Classify),
            Graph::CaptionEncode => Part::Inference(Stage::CaptionEncode),
            Graph::CaptionStep => Part::Inference(Stage::CaptionStep),
            Graph::Backbone => Part::Backbone,
            Graph::TextEncode => Part::TextEncode,
            Graph::Fusion => Part::Fusion,
            Graph::TrainCaption => Part::TrainCaption,
            Graph::TrainClassify => Part::TrainClassify,
        }
    }
}

impl Bench {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        match self.verb {
            Some(Verb::Compare(verb)) => verb.run(talk),
            None => self.run.run(talk),
        }
    }
}

impl Run {
    fn run(self, talk: &Talk) -> Done {
        let found = if self.whole { Vec::new() } else { self.subjects()? };
        if found.is_empty() && !self.whole {
            return Err(Stop::Usage(format!("no operator of {} matches `{}`; --list shows all", self.shapes, self.filter.unwrap_or_default())));
        }
        if self.list {
            return Ok(std::io::stdout().write_all(list(&found).as_bytes())?);
        }
        let device = self.device.open(self.dtype.into(), talk)?;
        let mut peers = Peers::open(&self.against, &device)?;
        let memory = if self.hot { Memory::Hot } else { Memory::Cold };
        if self.run_once {
            return found.iter().try_for_each(|subject| Ok(Prepared::new(subject, &device, memory)?.run().map(drop)?));
        }
        let most = seconds(self.time)?;
        let patience = Patience { least: Patience::default().least.min(most), noise: self.noise / 100.0, most, ..Patience::default() };
        let peaks = if self.no_peaks {
            None
        } else {
            Some(Peaks::measure(&device, &Patience { most: most.min(Duration::from_secs(3)), ..patience.clone() })?)
        };
        peaks.iter().for_each(|peaks| talk.note(super::peaks::told(peaks).trim_end()));
        let settings = Settings { dtype: self.dtype.into(), memory, patience };
        let rows = if self.whole {
            self.measure_wholes(&device, peaks.as_ref(), &settings, talk)?
        } else {
            self.measure_operators(&mut peers, &found, &device, peaks.as_ref(), &settings, talk)?
        };
        if rows.is_empty() {
            return Err(Stop::Usage(format!("no operator that was found has kernels of the variant `{}` there", self.variant.unwrap_or_default())));
        }
        self.append.iter().try_for_each(|path| append(path, &rows))?;
        let compared = peers.beside(&rows);
        std::io::stdout().write_all(written(self.output, &rows, peaks.as_ref(), &peers, compared.as_ref())?.as_bytes())?;
        peers.notes(&rows).into_iter().for_each(|note| talk.note(note));
        let loud = rows.iter().filter(|row| !row.quiet).count();
        if loud > 0 {
            talk.note(format_args!("{loud} of {} are noisier than asked, marked ~", rows.len()));
        }
        Ok(())
    }

    fn measure_operators(
        &self,
        peers: &mut Peers,
        found: &[Subject],
        device: &Device,
        peaks: Option<&Peaks>,
        settings: &Settings,
        talk: &Talk,
    ) -> Result<Vec<Row>, Stop> {
        let clocks = Arc::new(Clocks::watch(device));
        let bar = &talk.counting("measuring", found.len());
        let mut rows = Vec::new();
        for subject in found {
            for (variant, device) in self.variants(subject, device)? {
                rows.push(measure_beside(peers, subject, &device, peaks, &self.host(&clocks, variant), settings)?);
            }
            bar.advance(1);
        }
        bar.finish();
        Ok(rows)
    }

    fn measure_wholes(&self, device: &Device, peaks: Option<&Peaks>, settings: &Settings, talk: &Talk) -> Result<Vec<Row>, Stop> {
        let config = model(&self.shapes)?;
        let asked: Vec<(Part, u16)> = self.part.iter().flat_map(|&graph| self.batch.iter().map(move |&batch| (graph.into(), batch))).collect();
        let wanted: Vec<&(Part, u16)> =
            asked.iter().filter(|(part, _)| self.filter.as_ref().is_none_or(|f| part.name().contains(f.as_str()))).collect();
        if wanted.is_empty() {
            return Err(Stop::Usage(format!("no graph of --part matches `{}`", self.filter.as_deref().unwrap_or_default())));
        }
        let clocks = Arc::new(Clocks::watch(device));
        let bar = &talk.counting("measuring", wanted.len());
        let mut rows = Vec::new();
        for &&(part, batch) in &wanted {
            rows.push(whole::measure(&config, part, batch.into(), device, peaks, &self.host(&clocks, ""), &settings.patience)?);
            bar.advance(1);
        }
        bar.finish();
        Ok(rows)
    }

    fn host(&self, clocks: &Arc<Clocks>, variant: &'static str) -> Host {
        Host::new(commit(), self.device.threads(), self.dtype.into(), variant, clocks)
    }

    /// The device as often as the subject is to be measured, each with the variant that is forced.
    fn variants(&self, subject: &Subject, device: &Device) -> Result<Vec<(&'static str, Device)>, Stop> {
        match self.variant.as_deref() {
            None => Ok(vec![("", device.clone())]),
            Some("all") => Ok(variants(subject, device)?),
            Some(name) => Ok(variants(subject, device)?.into_iter().filter(|(variant, _)| *variant == name).collect()),
        }
    }

    fn subjects(&self) -> Result<Vec<Subject>, Stop> {
        let mut found = Vec::new();
        if self.shapes == "sweep" || self.shapes.ends_with(".toml") {
            found = listed(&self.shapes, self.dtype.into())?;
        } else {
            let config = model(&self.shapes)?;
            let parts: Vec<Part> = self.part.iter().map(|&graph| graph.into()).collect();
            for &batch in &self.batch {
                found.extend(subjects(&config, &parts, batch.into(), DType::from(self.dtype))?);
            }
        }
        let wanted = |subject: &Subject| match &self.filter {
            Some(filter) => format!("{} {}", subject.op.label(), subject.shape()).contains(filter.as_str()),
            None => true,
        };
        found.retain(wanted);
        Ok(found)
    }
}

impl Compare {
    fn run(self, talk: &Talk) -> Done {
        let (before, after) = (record::read(&self.before)?, record::read(&self.after)?);
        let compared = compare(&before, &after);
        if compared.pairs.is_empty() {
            let (before, after) = (self.before.display(), self.after.display());
            return Err(Stop::Input(format!("{before} and {after} have no row in common: the same operator, shape, type and memory")));
        }
        std::io::stdout().write_all(set_side_by_side(self.output, &compared)?.as_bytes())?;
        // Rows are joined whatever they ran on, which may be what is to be compared. Older rows know of a CPU no more than its threads.
        let [then, now] = [&before, &after].map(|rows| record::devices(rows));
        if then != now {
            talk.note(format_args!("before on {then}, after on {now}"));
        }
        let threshold = self.threshold / 100.0;
        let slower = compared.pairs.iter().filter(|pair| pair.is_regression(threshold)).count();
        talk.note(format_args!(
            "{} rows in common, {} and {} alone; geometric mean of the ratios {:.3}",
            compared.pairs.len(),
            compared.alone[0],
            compared.alone[1],
            compared.mean
        ));
        if slower > 0 { Err(Stop::Check(format!("{slower} became slower by more than {}%", self.threshold))) } else { Ok(()) }
    }
}

/// A time that the command line gives.
pub fn seconds(time: f64) -> Result<Duration, Stop> {
    Duration::try_from_secs_f64(time).map_err(|_| Stop::Usage(format!("--time: expected seconds of at least 0, got {time}")))
}

/// The commit of the folder that is worked in; nothing where there is none.
pub fn commit() -> String {
    let told = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    told.ok().filter(|told| told.status.success()).map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default()
}

/// Adds rows to a CSV file; a new one gets a header, which an older one must have.
fn append(path: &Path, rows: &[Row]) -> Result<(), Stop> {
    let io = |e| Stop::Library(Error::io(path, e));
    let whole = record::to_csv(rows, true)?;
    let first = File::open(path).ok().and_then(|file| BufReader::new(file).lines().next()?.ok());
    if first.is_some_and(|first| Some(first.as_str()) != whole.lines().next()) {
        return Err(Stop::Input(format!("{}: its columns are not those of these rows; append to a new file", path.display())));
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    let is_new = file.metadata().map_err(io)?.len() == 0;
    file.write_all(record::to_csv(rows, is_new)?.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

fn list(subjects: &[Subject]) -> String {
    let row = |s: &Subject| {
        let [flops, bytes] = [s.cost.flops, s.cost.bytes].map(super::table::short);
        vec![s.op.label(), s.shape(), s.part.to_owned(), s.uses.to_string(), flops, bytes, s.short_attributes()]
    };
    let rows: Vec<Vec<String>> = subjects.iter().map(row).collect();
    Table::written(
        &[("operator", false), ("shape", false), ("part", false), ("uses", true), ("FLOP", true), ("bytes", true), ("attributes", false)],
        &rows,
    )
}

const TITLES: [(&str, bool); 10] = [
    ("operator", false),
    ("shape", false),
    ("uses", true),
    ("time", true),
    ("p5 to p95", true),
    ("GFLOP/s", true),
    ("GB/s", true),
    ("roof", true),
    ("error", true),
    ("ratio", true),
];

/// What people read of rows. The ratio is that to the row that it was set beside, with whose that is.
fn cells(rows: &[Row], compared: Option<&Comparison>) -> Vec<Vec<String>> {
    let ratio = |row: &Row| {
        let is_same =
            |pair: &&Pair| (&pair.label, &pair.shape, &pair.attributes, &pair.dtype) == (&row.label(), &row.shape, &row.attributes, &row.dtype);
        compared.and_then(|c| c.pairs.iter().find(is_same)).map_or(String::new(), |pair| format!("{:.3} {}", pair.ratio, pair.peer))
    };
    let cell = |row: &Row| {
        let mark = if row.quiet { "" } else { "~" };
        let bound = row.bound.map_or("", |bound| if bound == Bound::Memory { "m" } else { "a" });
        vec![
            row.label(),
            row.shape.clone(),
            row.uses.to_string(),
            format!("{mark}{}", time(row.us)),
            format!("{}..{}", time(row.p5), time(row.p95)),
            format!("{:.1}", row.gflops),
            format!("{:.2}", row.gbps),
            row.roof.map_or(String::new(), |roof| format!("{:.0}% {bound}", 100.0 * roof)),
            row.error.map_or("unchecked".to_owned(), |error| format!("{error:.0e}")),
            ratio(row),
        ]
    };
    rows.iter().map(cell).collect()
}

/// A time in microseconds, for people.
pub fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.3} s", us / 1e6),
        us if us >= 1e3 => format!("{:.3} ms", us / 1e3),
        us => format!("{us:.2} us"),
    }
}

fn written(output: Output, rows: &[Row], peaks: Option<&Peaks>, peers: &Peers, compared: Option<&Comparison>) -> Result<String, Stop> {
    Ok(match output {
        Output::Csv => record::to_csv(rows, true)?,
        Output::Json => {
            let measured: BTreeMap<&str, &[Row]> = peers.measured().into_iter().collect();
            serde_json::json!({ "peaks": peaks, "rows": rows, "compared": compared, "libraries": measured }).to_string() + "\n"
        }
        Output::Table => Table::written(&TITLES, &cells(rows, compared)),
        Output::Md => markdown(&TITLES, &cells(rows, compared)),
    })
}

fn set_side_by_side(output: Output, compared: &Comparison) -> Result<String, Stop> {
    let titles = [("operator", false), ("shape", false), ("dtype", false), ("before", true), ("after", true), ("ratio", true), ("95%", true)];
    let row = |p: &Pair| {
        let [low, high] = p.interval;
        vec![
            p.label.clone(),
            p.shape.clone(),
            p.dtype.clone(),
            time(p.before),
            time(p.after),
            format!("{:.3}", p.ratio),
            format!("{low:.3}..{high:.3}"),
        ]
    };
    let rows: Vec<Vec<String>> = compared.pairs.iter().map(row).collect();
    Ok(match output {
        Output::Json => serde_json::json!(compared).to_string() + "\n",
        Output::Csv => {
            let failed = |e: csv::Error| Stop::Library(Error::io("rows", e.into()));
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(titles.map(|(title, _)| title)).map_err(failed)?;
            rows.iter().try_for_each(|row| writer.write_record(row)).map_err(failed)?;
            String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
        }
        Output::Table => Table::written(&titles, &rows),
        Output::Md => markdown(&titles, &rows),
    })
}

fn markdown(titles: &[(&str, bool)], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = |&(_, right): &(&str, bool)| if right { "---:" } else { "---" }.to_owned();
    let head = line(titles.iter().map(|(title, _)| (*title).to_owned()).collect()) + &line(titles.iter().map(rule).collect());
    head + &rows.iter().map(|row| line(row.clone())).collect::<String>()
}
