//! `escnet completions`: a script that lets a shell complete the command line.

use super::{Cli, Done};
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use std::io::Write;

/// Prints a completion script for a shell, such as `escnet completions bash > ~/.local/share/bash-completion/completions/escnet`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub fn run(self) -> Done {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "escnet", &mut script);
        Ok(std::io::stdout().write_all(&script)?)
    }
}
