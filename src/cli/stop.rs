//! Why a verb ended before, or other than, it should.

use escnet::Error;
use std::io;

/// Why a verb ended.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The options do not fit each other, or the model.
    #[error("{0}")]
    Usage(String),
    /// What was given to read cannot be used.
    #[error("{0}")]
    Input(String),
    /// What the library reported.
    #[error("{0}")]
    Library(#[from] Error),
    /// Checks were made and some failed.
    #[error("{0}")]
    Check(String),
    /// All was done that could be done; some pictures could not be read, which has been reported.
    #[error("{broken} of {all} could not be used")]
    Partial { broken: usize, all: usize },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the output has read enough.
    #[error("the output was closed")]
    Closed,
    /// The output could not be written.
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl Stop {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Stop::Closed => 0,
            Stop::Check(_) | Stop::Output(_) => 1,
            Stop::Usage(_) => 2,
            Stop::Input(_) => 3,
            Stop::Partial { .. } => 5,
            Stop::Interrupted => 130,
            Stop::Library(error) => match error {
                Error::Argument { .. } => 2,
                Error::Weights { .. } | Error::Config { .. } | Error::Dataset { .. } | Error::Leak { .. } => 3,
                Error::Image { .. } | Error::Vocabulary { .. } | Error::Io { .. } => 3,
                Error::Device { .. } | Error::OutOfMemory { .. } => 4,
                _ => 1,
            },
        }
    }
}

impl From<io::Error> for Stop {
    /// Of writing to standard output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Stop::Closed } else { Stop::Output(error) }
    }
}
