//! `escnet data captions`: a sentence for each picture, made from its attributes.

use super::set::{Set, deliver};
use crate::cli::Done;
use crate::cli::talk::Talk;
use clap::{Args, ValueEnum};
use escnet::data::attributes::Attributes;
use escnet::data::captions::{Kind, Style, caption_of, vocabulary};
use escnet::data::dataset::Split;
use serde::Serialize;
use std::path::PathBuf;

/// Writes affective captions, made from attributes.
///
/// Each line is a JSON object: the sample's id, its picture below the data set's folder, its split, the caption, whether that names the emotion, and the
/// attributes used. A caption that the data set gives stays in front. Captions that name the emotion are for training alone.
#[derive(Debug, Args)]
pub struct Captions {
    #[command(flatten)]
    set: Set,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The splits to caption
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', default_value = "train")]
    split: Vec<Part>,
    /// What is spoken of
    #[arg(long, value_enum, default_value_t)]
    style: Tone,
    /// Leaves out the phrase that names the emotion
    #[arg(long)]
    no_emotion_phrase: bool,
    /// So many wordings of each part, the plainest first [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    wordings: Option<u16>,
    /// Also writes a vocabulary in which each of the captions' words is one piece
    #[arg(long, value_name = "FILE")]
    vocab: Option<PathBuf>,
}

/// A split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Train,
    Val,
    Test,
}

/// What is spoken of.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Tone {
    /// All attributes
    #[default]
    Affective,
    /// Scene, objects and action
    Generic,
}

impl From<Part> for Split {
    fn from(part: Part) -> Self {
        match part {
            Part::Train => Split::Train,
            Part::Val => Split::Val,
            Part::Test => Split::Test,
        }
    }
}

/// One line.
#[derive(Serialize)]
struct Line {
    id: String,
    image: String,
    split: Split,
    caption: String,
    emotion_phrase: bool,
    attributes_used: Attributes,
}

impl Captions {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let set = self.set.open()?;
        let kind = match self.style {
            Tone::Affective => Kind::Affective,
            Tone::Generic => Kind::Generic,
        };
        let style = Style { kind, emotion_phrase: !self.no_emotion_phrase, wordings: self.wordings.map_or(usize::MAX, usize::from) };
        let named = style.emotion_phrase && kind == Kind::Affective;
        let mut wanted: Vec<Split> = self.split.iter().map(|&part| part.into()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if named && wanted.iter().any(|&split| split != Split::Train) {
            talk.note("captions of val and test name the emotion, which is the label: no training or evaluation may read them");
        }
        let mut lines = Vec::new();
        for split in wanted {
            for sample in set.split(split) {
                let emotion = set.classes.get(sample.label).map_or("", String::as_str);
                let made = caption_of(sample, emotion, self.set.seed(), &style);
                let image = set.relative(&sample.image);
                lines.push(Line { id: sample.id.clone(), image, split, caption: made.text, emotion_phrase: named, attributes_used: made.used });
            }
        }
        let mut text = String::new();
        for line in &lines {
            text += &serde_json::to_string(line).map_err(std::io::Error::from)?;
            text.push('\n');
        }
        deliver(&text, self.output.as_deref())?;
        if let Some(file) = &self.vocab {
            let tokens = vocabulary(lines.iter().map(|line| line.caption.as_str()));
            deliver(&(tokens.join("\n") + "\n"), Some(file))?;
            talk.note(format_args!("{}: {} tokens", file.display(), tokens.len()));
        }
        let bare = lines.iter().filter(|line| line.attributes_used == Attributes::default()).count();
        let bare = if bare > 0 { format!(", {bare} of them from no attribute at all") } else { String::new() };
        talk.note(format_args!("{}: {} captions{bare}", self.set.path().display(), lines.len()));
        Ok(())
    }
}
