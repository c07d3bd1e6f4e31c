//! `escnet train`: pictures with emotions in, a trained model out.

use super::stop::Stop;
use super::talk::Talk;
use super::{Done, interrupt};
use clap::{Args, Subcommand};
use escnet::train::config::RunConfig;
use escnet::train::judge::Judged;
use escnet::train::trainer::Ended;
use escnet::train::watch::{Now, Watch};
use escnet::train::{train_captioner, train_classifier};
use std::path::PathBuf;

/// Trains one stage of a model.
///
/// First the captioner, then `escnet caption --run` for the captions of all pictures, then the classifier. Ctrl-C once saves and stops; --resume goes on, to the same bits.
#[derive(Debug, Args)]
pub struct Train {
    #[command(subcommand)]
    stage: Stage,
}

#[derive(Debug, Subcommand)]
enum Stage {
    /// Teaches the captioner to say what a picture shows and how it feels
    Captioner(Run),
    /// Teaches backbone, text encoder and fusion to tell the emotion from picture and caption
    Classifier(Run),
}

/// What is run.
#[derive(Debug, Args)]
struct Run {
    /// The run's settings
    #[arg(short, long, value_name = "FILE", default_value = "run.toml")]
    config: PathBuf,
    /// Goes on from the last checkpoint, where there is one
    #[arg(long)]
    resume: bool,
    /// The data set
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where the run's folder is
    #[arg(short, long, value_name = "DIR")]
    out: Option<String>,
    /// How often each picture is seen
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// Pictures of a micro-batch
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// The learning rate after the warm-up
    #[arg(long, value_name = "X")]
    rate: Option<f64>,
    /// Another number, other first values, orders, crops and drops
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where the steps run: auto, cpu, wgpu[:N], cuda[:N] (see `escnet devices`)
    #[arg(long)]
    device: Option<String>,
    /// CPU threads; 0 takes one a core
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Any other key of the settings, as classifier.stage.ema=0.999; may come more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

impl Run {
    /// The settings, with what the command line says over what the file does.
    fn settings(&self, stage: &str) -> Result<RunConfig, Stop> {
        let text = |x: &Option<String>| x.as_ref().map(|x| toml_text(x));
        let flags = [
            ("data.path".to_owned(), text(&self.data)),
            (format!("{stage}.out"), text(&self.out)),
            // A whole number is a float here.
            (format!("{stage}.stage.epochs"), self.epochs.map(|x| format!("{x:?}"))),
            (format!("{stage}.stage.batch"), self.batch.map(|x| x.to_string())),
            (format!("{stage}.stage.rate"), self.rate.map(|x| format!("{x:?}"))),
            ("seed".to_owned(), self.seed.map(|x| x.to_string())),
            ("device".to_owned(), text(&self.device)),
            ("threads".to_owned(), self.threads.map(|x| x.to_string())),
        ];
        let mut changes: Vec<String> = flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect();
        changes.extend(self.changes.iter().cloned());
        let run = RunConfig::open(&self.config, &changes)?;
        Ok(RunConfig { cache: super::cache::folder(), ..run })
    }
}

/// A string as TOML has it.
pub fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Train {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        interrupt::listen();
        interrupt::working();
        let mut shown = Shown::new(talk);
        let ended = match &self.stage {
            Stage::Captioner(run) => train_captioner(&run.settings("captioner")?, run.resume, &mut shown)?,
            Stage::Classifier(run) => train_classifier(&run.settings("classifier")?, run.resume, &mut shown)?,
        };
        shown.finish();
        match ended {
            Ended::Finished => Ok(()),
            Ended::Stopped => {
                talk.note("saved; --resume goes on from here");
                Err(Stop::Interrupted)
            }
        }
    }
}

/// A run on the terminal.
pub struct Shown<'a> {
    talk: Talk,
    outer: &'a Talk,
}

impl<'a> Shown<'a> {
    /// Nothing is to be seen yet.
    pub fn new(talk: &'a Talk) -> Self {
        Shown { talk: talk.counting("", 0), outer: talk }
    }

    /// Nothing is to be seen any more.
    pub fn finish(&self) {
        self.talk.finish();
    }
}

impl Watch for Shown<'_> {
    fn begin(&mut self, what: &str, step: u64, steps: u64) {
        self.talk.finish();
        self.talk = self.outer.training(what, step, steps);
        if !self.talk.is_drawn() {
            self.outer.note(format_args!("{what}: step {step} of {steps}"));
        }
    }

    fn step(&mut self, now: &Now) {
        let Now { epoch, loss, accuracy, rate, grad_norm, images_per_second, .. } = now;
        // What fits into eighty columns.
        self.talk.message(format!(
            "loss {loss:.4}  right {:.1}%  rate {rate:.1e}  gradient {grad_norm:.2}  {images_per_second:.0} images/s  epoch {epoch:.2}",
            100.0 * accuracy
        ));
        self.talk.advance(1);
    }

    fn counted(&mut self, count: usize) {
        self.talk.advance(count);
    }

    fn judged(&mut self, epoch: f64, judged: &Judged, best: bool) {
        let star = if best { "  best so far" } else { "" };
        self.talk.note(format_args!("epoch {epoch:>5.1}: validation loss {:.4}, accuracy {:.2}%{star}", judged.loss, 100.0 * judged.accuracy));
    }

    fn note(&mut self, text: &str) {
        self.talk.note(text);
    }

    fn stop(&self) -> bool {
        interrupt::check().is_err()
    }
}
