//! What is said on standard error: notes, complaints, progress.

use super::stop::Stop;
use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Standard error, as loud as the user wants it.
#[derive(Debug)]
pub struct Talk {
    verbose: bool,
    quiet: bool,
    bar: ProgressBar,
}

impl Talk {
    /// Says `verbose` more than usual, or `quiet` nothing but what went wrong.
    pub fn new(verbose: bool, quiet: bool) -> Self {
        Talk { verbose, quiet, bar: ProgressBar::hidden() }
    }

    /// The user wants to hear, or see, everything.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// The same, with a bar that shows how many of `all` are done: on a terminal only.
    pub fn counting(&self, what: &'static str, all: usize) -> Self {
        let wanted = !self.quiet && all > 1 && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(all as u64), if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        let template = "{msg} {bar:28.color208/237} {pos}/{len}  {elapsed_precise}, {eta} left";
        if let Ok(look) = ProgressStyle::with_template(template) {
            bar.set_style(look.progress_chars("━╸─"));
        }
        bar.set_message(what);
        if wanted {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Talk { bar, ..*self }
    }

    /// The same, with a bar for a run of training that stands at `step` of `steps`, and room for what it measures.
    pub fn training(&self, what: &str, step: u64, steps: u64) -> Self {
        let wanted = !self.quiet && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(steps), if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        let template = "{prefix} {bar:20.color208/237} {pos}/{len}  {elapsed_precise}, {eta} left\n{wide_msg}";
        if let Ok(look) = ProgressStyle::with_template(template) {
            bar.set_style(look.progress_chars("━╸─"));
        }
        bar.set_prefix(what.to_owned());
        bar.set_position(step);
        bar.reset_eta();
        Talk { bar, ..*self }
    }

    /// What the bar says beside its count.
    pub fn message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// A bar is to be seen.
    pub fn is_drawn(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// So many more are done.
    pub fn advance(&self, by: usize) {
        self.bar.inc(by as u64);
    }

    /// Takes the progress bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Does something that writes to the terminal, the progress bar out of the way.
    pub fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.bar.suspend(write)
    }

    /// What is good to know.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// What only the curious want to know.
    pub fn detail(&self, text: impl Display) {
        if self.verbose {
            self.say(text);
        }
    }

    /// What went wrong but ends nothing.
    pub fn complain(&self, text: impl Display) {
        self.say(format_args!("{} {text}", style("broken:").for_stderr().yellow().bold()));
    }

    /// What ended the verb.
    pub fn stopped(&self, stop: &Stop) {
        self.finish();
        match stop {
            Stop::Closed => {}
            Stop::Partial { .. } | Stop::Interrupted => self.note(stop),
            _ => self.say(format_args!("{} {stop}", style("error:").for_stderr().red().bold())),
        }
    }

    fn say(&self, text: impl Display) {
        // Nobody is left to be told that standard error is gone.
        self.aside(|| drop(writeln!(std::io::stderr(), "{text}")));
    }
}
