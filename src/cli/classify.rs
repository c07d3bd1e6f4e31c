//! `escnet classify`: what people feel before a picture, what it shows, and which words of that mattered.

use super::figures::Figures;
use super::model::{Model, Wording};
use super::pictures::Pictures;
use super::sheet::{Record, Sheet};
use super::table::{Column, Table, bar, tail, wrap};
use super::talk::Talk;
use super::{Done, interrupt};
use clap::Args;
use console::{Style, style};
use escnet::infer::Classification;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tells the emotion of pictures, captions them and weighs the captions' words.
///
/// Each result holds the classes with their probabilities, the caption with its score (mean log-probability of a token), and the caption's words with their
/// gates: how strongly, 0 to 1, each is highlighted.
#[derive(Debug, Args)]
pub struct Classify {
    #[command(flatten)]
    pictures: Pictures,
    /// Only the most probable classes [default: 3 in a table, else all]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,
    /// Writes a figure of each result into this folder: the picture under a heat map of where the highlighted words look
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    wording: Wording,
}

impl Classify {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        interrupt::listen();
        let inputs = self.pictures.gather(self.model.threads(), talk)?;
        let mut engine = self.model.load(&self.wording, None, talk)?;
        let mut figures = self.explain.as_deref().map(|folder| Figures::new(folder, &inputs)).transpose()?;
        let classes = engine.config().classes.clone();
        let longest = inputs.iter().map(|input| console::measure_text_width(&input.path.to_string_lossy())).max().unwrap_or(0);
        let mut sheet = Sheet::new(self.pictures.format(), columns(&classes), table(longest, &classes));
        let (top, of_all) = (self.top.map(usize::from), classes.len());
        let talk = &talk.counting("classifying", inputs.len());
        self.pictures.run(inputs, (self.model.batch(), self.model.threads()), &mut sheet, talk, |paths, pictures| {
            let results = engine.classify_all(pictures)?;
            for ((path, picture), result) in paths.iter().zip(pictures).zip(&results) {
                if let Some(figures) = &mut figures {
                    talk.detail(format_args!("{}: explained in {}", path.display(), figures.draw(path, picture, result)?.display()));
                }
            }
            Ok(paths.iter().zip(results).map(|(path, result)| Found::new(path, result, top, &classes[..of_all])).collect())
        })
    }
}

/// CSV's columns: a column for the probability of each class.
fn columns(classes: &[String]) -> Vec<String> {
    let fixed = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let probabilities = classes.iter().map(|class| format!("p_{class}"));
    fixed(&["image", "emotion", "probability"]).into_iter().chain(probabilities).chain(fixed(&["caption", "score", "words"])).collect()
}

const BAR: usize = 10;

fn table(longest: usize, classes: &[String]) -> Table {
    let widest = classes.iter().map(|class| console::measure_text_width(class)).max().unwrap_or(0);
    let fixed = vec![Column::left("picture", longest.min(28)), Column::left("emotion", widest.min(20)), Column::left("probability", BAR + 7)];
    Table::with_rest(fixed, "caption", 24)
}

/// What is written of one picture.
#[derive(Debug, Serialize)]
struct Found {
    image: String,
    /// The most probable first.
    predictions: Vec<Probability>,
    caption: String,
    /// sum log p / tokens after the prompt.
    score: f32,
    words: Vec<Word>,
    #[serde(skip)]
    columns: Vec<String>,
    #[serde(skip)]
    limited: bool,
}

#[derive(Debug, Serialize)]
struct Probability {
    class: String,
    probability: f32,
}

#[derive(Debug, Serialize)]
struct Word {
    word: String,
    gate: f32,
}

impl Found {
    fn new(path: &Path, result: Classification, top: Option<usize>, classes: &[String]) -> Self {
        let predictions = result.predictions.into_iter().take(top.unwrap_or(usize::MAX));
        Found {
            image: path.display().to_string(),
            predictions: predictions.map(|p| Probability { class: p.class, probability: p.probability }).collect(),
            caption: result.caption.text,
            score: result.caption.score,
            words: result.words.into_iter().map(|w| Word { word: w.word, gate: w.gate }).collect(),
            columns: classes.to_vec(),
            limited: top.is_some(),
        }
    }

    /// The caption, each word as bright as its gate is open, and beneath it the gates, the widest first.
    fn told(&self, width: usize) -> Vec<String> {
        if self.words.is_empty() {
            return wrap(self.caption.split_whitespace().map(str::to_owned), width);
        }
        let mut lines = wrap(joined(&self.words), width);
        let mut gated: Vec<&Word> = self.words.iter().filter(|w| !is_mark(&w.word)).collect();
        gated.sort_by(|a, b| b.gate.total_cmp(&a.gate));
        let gates = wrap(gated.iter().map(|w| format!("{} {:.2}", w.word, w.gate)), width);
        lines.extend(gates.into_iter().take(1).map(|line| style(line).dim().to_string()));
        lines
    }
}

impl Record for Found {
    fn cells(&self) -> Vec<String> {
        let of = |class: &String| self.predictions.iter().find(|p| p.class == *class).map_or(String::new(), |p| p.probability.to_string());
        let best = self.predictions.first().map_or((String::new(), String::new()), |p| (p.class.clone(), p.probability.to_string()));
        let words: Vec<String> = self.words.iter().map(|w| format!("{}={}", w.word, w.gate)).collect();
        let mut cells = vec![self.image.clone(), best.0, best.1];
        cells.extend(self.columns.iter().map(of));
        cells.extend([self.caption.clone(), self.score.to_string(), words.join(" ")]);
        cells
    }

    fn block(&self, table: &Table) -> Vec<Vec<String>> {
        let shown = &self.predictions[..self.predictions.len().min(if self.limited { usize::MAX } else { 3 })];
        let look = |rank: usize| if rank == 0 { Style::new().bold() } else { Style::new() };
        let class = |(rank, p): (usize, &Probability)| look(rank).apply_to(tail(&p.class, table.width(1))).to_string();
        let chance = |(rank, p): (usize, &Probability)| {
            let colour = if rank == 0 { Style::new().color256(208) } else { Style::new().color256(103) };
            format!("{:>5.1}% {}", p.probability * 100.0, colour.apply_to(bar(p.probability, BAR)))
        };
        let mut caption = self.told(table.width(3));
        // A line of air beneath the tallest cell.
        caption.resize(caption.len().max(shown.len()) + 1, String::new());
        vec![
            vec![tail(&self.image, table.width(0))],
            shown.iter().enumerate().map(class).collect(),
            shown.iter().enumerate().map(chance).collect(),
            caption,
        ]
    }
}

/// Punctuation, which the tokenizer makes words of.
fn is_mark(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_punctuation())
}

/// The words in their gates' shades, a mark of punctuation set close to the word before it.
fn joined(words: &[Word]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for Word { word, gate } in words {
        let shaded = shade(*gate).apply_to(word).to_string();
        match joined.last_mut() {
            Some(before) if is_mark(word) => before.push_str(&shaded),
            _ => joined.push(shaded),
        }
    }
    joined
}

/// How a word of this gate looks.
fn shade(gate: f32) -> Style {
    match gate {
        g if g >= 0.75 => Style::new().color256(208).bold(),
        g if g >= 0.5 => Style::new().color256(215),
        g if g >= 0.25 => Style::new(),
        _ => Style::new().dim(),
    }
}
