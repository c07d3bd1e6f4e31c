//! The command line of `escnet`. Parses and dispatches; each verb is a file in `cli/`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
