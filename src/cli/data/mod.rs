//! `escnet data`: data sets, made and looked after.

mod demo;

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
}

impl Data {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        match self.verb {
            Verb::Demo(verb) => verb.run(talk),
        }
    }
}
