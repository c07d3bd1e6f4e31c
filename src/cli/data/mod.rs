//! `escnet data`: data sets, made and looked after.

mod captions;
mod check;
mod demo;
pub mod set;
mod split;

use super::Done;
use super::talk::Talk;
use clap::{Args, Subcommand};

/// Makes data sets and looks after them.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Data {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Draws a data set with true attributes
    Demo(demo::Demo),
    /// Counts a data set and finds what is wrong with it
    Check(check::Check),
    /// Writes affective captions, made from attributes
    Captions(captions::Captions),
    /// Writes which sample belongs to which split
    Split(split::Split),
}

impl Data {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        match self.verb {
            Verb::Demo(verb) => verb.run(talk),
            Verb::Check(verb) => verb.run(talk),
            Verb::Captions(verb) => verb.run(talk),
            Verb::Split(verb) => verb.run(talk),
        }
    }
}
