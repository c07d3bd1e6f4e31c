//! `escnet data demo`: a data set that is drawn.

use crate::cli::Done;
use crate::cli::interrupt;
use crate::cli::stop::Stop;
use crate::cli::talk::Talk;
use clap::Args;
use escnet::data::demo::{Spec, Summary, generate};
use escnet::infer::explain::write_png;
use std::path::PathBuf;

/// Pictures on a sheet, across and down.
const SHEET: (usize, usize) = (8, 6);

/// Draws a data set with true attributes, in EmoSet's layout.
///
/// Scenes, objects, faces and figures in different light; what they add up to is the emotion. The folder appears when all of it is written.
#[derive(Debug, Args)]
pub struct Demo {
    /// How many pictures
    #[arg(long, value_name = "N", default_value_t = Spec::default().count)]
    count: usize,
    /// Where the randomness starts from
    #[arg(long, value_name = "N", default_value_t = Spec::default().seed)]
    seed: u64,
    /// Pixels along each side
    #[arg(long, value_name = "PIXELS", default_value_t = Spec::default().size)]
    size: usize,
    /// The share of labels that are wrong
    #[arg(long, value_name = "P", default_value_t = Spec::default().label_noise)]
    label_noise: f64,
    /// Also draws the first 48 pictures side by side
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// The folder to make
    out: PathBuf,
}

impl Demo {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let spec = Spec { count: self.count, seed: self.seed, size: self.size, label_noise: self.label_noise };
        interrupt::listen();
        interrupt::working();
        let talk = talk.counting("drawing", spec.count);
        let Summary { splits: [train, val, test], wrong_labels } = generate(&spec, &self.out, || -> Result<(), Stop> {
            talk.advance(1);
            interrupt::check()
        })?;
        talk.finish();
        if let Some(sheet) = &self.sheet {
            write_png(&spec.sheet(SHEET.0, SHEET.1)?, sheet)?;
            talk.note(format_args!("{}: written", sheet.display()));
        }
        let wrong = if wrong_labels == 0 { String::new() } else { format!(", {wrong_labels} labels wrong") };
        talk.note(format_args!("{}: {} pictures, {train} to train on, {val} to choose by, {test} to test{wrong}", self.out.display(), spec.count));
        Ok(())
    }
}
