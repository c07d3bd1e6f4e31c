//! `escnet caption`: what a picture shows, in words.

use super::captions::Whole;
use super::model::{Model, Wording};
use super::pictures::Pictures;
use super::sheet::{Record, Sheet};
use super::table::{Column, Table, tail, wrap};
use super::talk::Talk;
use super::{Done, interrupt};
use clap::Args;
use escnet::infer::Sampling;
use serde::Serialize;
use std::path::Path;

/// Captions pictures.
///
/// Each result holds the caption, its score (mean log-probability of a token) and its token ids, start and end included. Words are searched for, or, with any of
/// --temperature, --top-k, --top-p and --seed, drawn.
///
/// With --dataset the pictures of a whole data set are captioned into a file, for the second stage of a training. Ctrl-C once finishes the batch at hand; the same
/// command goes on from there.
#[derive(Debug, Args)]
#[command(mut_arg("paths", |paths| paths.required(false).required_unless_present("dataset")))]
#[command(mut_arg("model", |model| model.required(false).required_unless_present("run")))]
pub struct Caption {
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    whole: Whole,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    wording: Wording,
    #[command(flatten)]
    drawing: Drawing,
}

/// How words are drawn.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drawing words")]
struct Drawing {
    /// Above 1 the unlikely comes oftener, below 1 more rarely [default: 1]
    #[arg(long, value_name = "T", value_parser = positive)]
    temperature: Option<f32>,
    /// Only from so many of the likeliest tokens; 0 from all [default: 0]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Only from the likeliest tokens that together reach this probability [default: 1]
    #[arg(long, value_name = "P", value_parser = share)]
    top_p: Option<f32>,
    /// Another number, other draws [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Drawing {
    fn sampling(&self) -> Option<Sampling> {
        let Drawing { temperature, top_k, top_p, seed } = *self;
        let any = temperature.is_some() || top_k.is_some() || top_p.is_some() || seed.is_some();
        any.then(|| Sampling {
            temperature: temperature.unwrap_or(1.0),
            top_k: top_k.unwrap_or(0),
            top_p: top_p.unwrap_or(1.0),
            seed: seed.unwrap_or(0),
        })
    }
}

fn positive(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|t: &f32| t.is_finite() && *t > 0.0).ok_or_else(|| "expected a number above 0".to_owned())
}

fn share(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|p: &f32| *p > 0.0 && *p <= 1.0).ok_or_else(|| "expected a number above 0 and up to 1".to_owned())
}

impl Caption {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        interrupt::listen();
        if self.whole.is_meant() {
            return self.whole.run(&self.model, &self.wording, talk);
        }
        let inputs = self.pictures.gather(self.model.threads(), talk)?;
        let mut engine = self.model.load(&self.wording, self.drawing.sampling(), talk)?;
        let longest = inputs.iter().map(|input| console::measure_text_width(&input.path.to_string_lossy())).max().unwrap_or(0);
        let table = Table::with_rest(vec![Column::left("picture", longest.min(40)), Column::right("score", 7)], "caption", 24);
        let columns = ["image", "caption", "score", "ids"].map(str::to_owned).to_vec();
        let mut sheet = Sheet::new(self.pictures.format(), columns, table);
        let talk = &talk.counting("captioning", inputs.len());
        self.pictures.run(inputs, (self.model.batch(), self.model.threads()), &mut sheet, talk, |paths, pictures| {
            let captions = engine.caption_all(pictures)?;
            Ok(paths.iter().zip(captions).map(|(path, caption)| Found::new(path, caption)).collect())
        })
    }
}

/// What is written of one picture.
#[derive(Debug, Serialize)]
struct Found {
    image: String,
    caption: String,
    /// sum log p / tokens after the prompt.
    score: f32,
    ids: Vec<i32>,
}

impl Found {
    fn new(path: &Path, caption: escnet::infer::Caption) -> Self {
        Found { image: path.display().to_string(), caption: caption.text, score: caption.score, ids: caption.ids }
    }
}

impl Record for Found {
    fn cells(&self) -> Vec<String> {
        let ids: Vec<String> = self.ids.iter().map(i32::to_string).collect();
        vec![self.image.clone(), self.caption.clone(), self.score.to_string(), ids.join(" ")]
    }

    fn block(&self, table: &Table) -> Vec<Vec<String>> {
        let words = self.caption.split_whitespace().map(str::to_owned);
        vec![vec![tail(&self.image, table.width(0))], vec![format!("{:.3}", self.score)], wrap(words, table.width(2))]
    }
}
