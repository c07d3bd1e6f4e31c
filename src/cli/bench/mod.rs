//! `escnet bench`: how long operators take, and what could be.

mod beside;
mod commit;
mod compare;
mod run;
mod written;

use super::Done;
use super::model::{Precision, Where};
use super::stop::Stop;
use super::talk::Talk;
use clap::{Args, Subcommand, ValueEnum};
pub use commit::commit;
use escnet::bench::parts::Part;
use escnet::infer::inspect::Stage;
use std::path::PathBuf;
use std::time::Duration;
pub use written::time;

/// Measures operators, or whole graphs of a model, on a device, or compares two measurements.
///
/// What is measured are the operators that a model's graphs run, after fusion, each once for the same shapes, each on tensors of its own that no cache holds. What it
/// computes is checked before any time is shown: against plain f64 code; beyond 8 GFLOP on a GPU against the CPU's, on the CPU against f64 in its first rows, and a
/// few of those are `unchecked`. Times are the device's own where it has a clock; docs/benchmarking.md says how to read them.
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
    /// What is measured: the operators of escnet-base, escnet-tiny or a folder with a config.json; `sweep`, sizes that kernels are compared at, or a .toml of that form;
    /// `cases`, all operators on what they are tested on
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
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    variant: Option<String>,
    /// Lets each execution find its tensors where the one before left them
    #[arg(long)]
    hot: bool,
    /// The most seconds for an operator; what is not quiet then, or was not measured for half a second, is marked
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
    /// Runs each operator once, on one set of tensors, unmeasured and unchecked: for profilers
    #[arg(long, conflicts_with_all = ["append", "against"])]
    run_once: bool,
    /// Says what was measured on standard error, a line each, terminal or not
    #[arg(long, conflicts_with_all = ["list", "run_once"])]
    progress: bool,
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

/// A time that the command line gives.
pub fn seconds(time: f64) -> Result<Duration, Stop> {
    Duration::try_from_secs_f64(time).map_err(|_| Stop::Usage(format!("--time: expected seconds of at least 0, got {time}")))
}

/// Says that times of this build are none to go by, where they are not.
pub fn tell_of_build(talk: &Talk) {
    if cfg!(debug_assertions) {
        talk.note("this program was built with debug assertions and little optimised: on the CPU times are longer, and roofs lower, than those of --release");
    }
}
