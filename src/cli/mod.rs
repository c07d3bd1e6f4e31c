//! The command line: what can be asked, and where each question goes.
//!
//! What a verb finds goes to standard output, in a form that programs read unless a person does; what it has to say meanwhile goes to standard
//! error. The exit code says how it ended, see [`Stop::code`].

mod ablate;
mod bench;
mod cache;
mod caption;
mod captions;
mod classify;
mod completions;
mod convert;
mod data;
mod devices;
mod doctor;
mod eval;
mod figures;
mod inputs;
mod inspect;
mod interrupt;
mod kernels;
mod model;
mod peaks;
mod pictures;
mod profile;
mod sheet;
mod stop;
mod table;
mod talk;
mod train;
mod tune;
mod verify;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use stop::Stop;
use talk::Talk;

/// What a verb returns.
type Done = Result<(), Stop>;

/// Tells what a picture makes people feel, and says what is on it.
#[derive(Debug, Parser)]
#[command(name = "escnet", version, propagate_version = true, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    loudness: Loudness,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 a check failed, 2 wrong usage, 3 bad input, 4 device, 5 done but for some broken pictures, 130 interrupted.
Colours are left out where NO_COLOR is set or the output is no terminal.
What a GPU's driver makes of kernels is kept in the user's folder of caches; ESCNET_CACHE names another, or says off.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tells the emotion of pictures, captions them and weighs the captions' words
    Classify(classify::Classify),
    /// Captions pictures
    Caption(caption::Caption),
    /// Trains a model on a data set
    Train(train::Train),
    /// Judges a model by a split of a data set
    Eval(eval::Eval),
    /// Trains a model with parts left out or changed, and compares
    Ablate(ablate::Ablate),
    /// Compares golden numbers with what a device computes
    Verify(verify::Verify),
    /// Puts a model folder together from published checkpoints
    Convert(convert::Convert),
    /// Makes data sets and looks after them
    Data(data::Data),
    /// Counts a model's parameters, operations and memory
    Inspect(inspect::Inspect),
    /// Measures operators on a device, or compares two measurements
    Bench(bench::Bench),
    /// Takes the time of each node of one of a model's graphs
    Profile(profile::Profiled),
    /// Measures how fast a device moves bytes, multiplies and adds
    Peaks(peaks::Measure),
    /// Finds the fastest variants of kernels for a model's shapes on a device, and keeps them
    Tune(tune::Tune),
    /// Lists the devices that `--device` takes
    Devices(devices::Devices),
    /// Checks what this machine has, and what it computes
    Doctor(doctor::Doctor),
    /// Compiles the kernels that the program carries
    Kernels(kernels::Kernels),
    /// Prints a completion script for a shell
    Completions(completions::Completions),
}

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, Args)]
struct Loudness {
    /// Says more
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Says nothing but what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// Parses the command line, does what it asks and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_error) => {
            // Where even this cannot be printed, the exit code is all that is left to say.
            let _ = help_or_error.print();
            return ExitCode::from(u8::try_from(help_or_error.exit_code()).unwrap_or(2));
        }
    };
    let talk = Talk::new(cli.loudness.verbose, cli.loudness.quiet);
    let done = match cli.verb {
        Verb::Classify(verb) => verb.run(&talk),
        Verb::Caption(verb) => verb.run(&talk),
        Verb::Train(verb) => verb.run(&talk),
        Verb::Eval(verb) => verb.run(&talk),
        Verb::Ablate(verb) => verb.run(&talk),
        Verb::Verify(verb) => verb.run(&talk),
        Verb::Convert(verb) => verb.run(&talk),
        Verb::Data(verb) => verb.run(&talk),
        Verb::Inspect(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(&talk),
        Verb::Profile(verb) => verb.run(&talk),
        Verb::Peaks(verb) => verb.run(&talk),
        Verb::Tune(verb) => verb.run(&talk),
        Verb::Devices(verb) => verb.run(&talk),
        Verb::Doctor(verb) => verb.run(&talk),
        Verb::Kernels(verb) => verb.run(&talk),
        Verb::Completions(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            talk.stopped(&stop);
            ExitCode::from(stop.code())
        }
    }
}
