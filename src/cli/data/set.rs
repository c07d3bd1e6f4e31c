//! A data set on the command line.

use crate::cli::stop::Stop;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use escnet::Error;
use escnet::data::dataset::{Agreement, Dataset, Layout, Listing, OpenOptions};
use escnet::weights::write_atomically;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A data set and how it is read.
#[derive(Debug, Args)]
pub struct Set {
    /// A data set's folder, or a CSV file with the columns image and label
    #[arg(value_name = "DATASET")]
    path: PathBuf,
    /// How it lies on disk [default: told from its files]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Layout::ALL.map(Layout::name)).try_map(|name| name.parse::<Layout>()))]
    layout: Option<Layout>,
    /// What a split that nobody has published is drawn from, and what else is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Which sample belongs to which split, as `escnet data split` writes it
    #[arg(long, value_name = "FILE")]
    split_file: Option<PathBuf>,
    /// The part of the training samples that becomes the validation split where the published one has none
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    validation: f64,
    /// How many of Twitter I's five judges must agree
    #[arg(long, value_enum, default_value_t)]
    agreement: Judges,
}

/// How many must agree.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Judges {
    #[default]
    Three,
    Four,
    Five,
}

impl Set {
    fn options(&self) -> OpenOptions {
        let agreement = match self.agreement {
            Judges::Three => Agreement::Three,
            Judges::Four => Agreement::Four,
            Judges::Five => Agreement::Five,
        };
        OpenOptions { layout: self.layout, seed: self.seed, split_file: self.split_file.clone(), validation: self.validation, agreement }
    }

    /// Reads it; anything wrong with its files is an error.
    pub fn open(&self) -> Result<Dataset, Error> {
        Dataset::open(&self.path, &self.options())
    }

    /// Reads it and keeps what is wrong.
    pub fn list(&self) -> Result<Listing, Error> {
        Listing::read(&self.path, &self.options())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is drawn, is drawn from this.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// Writes a text to a file, whole or not at all, or to standard output where none is named.
pub fn deliver(text: &str, file: Option<&Path>) -> Result<(), Stop> {
    match file {
        Some(file) => Ok(write_atomically(file, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(file, e)))?),
        None => Ok(std::io::stdout().write_all(text.as_bytes())?),
    }
}
