//! Affective captions: sentences made from what an annotation says of a picture.
//!
//! ```text
//! [base, ] [lead] [brightness] [and colorfulness] scene [link objects, expression and action] [, emotion phrase]
//! ```
//!
//! as in "a bright beach with a balloon and a smiling face, full of amusement". Every part has several wordings; which one a picture gets
//! depends on the seed and its id alone. All is lower case, and commas are the only punctuation. The paper's own sentences are not
//! known; that attributes are what they are made of is (doi 10.1038/s41598-025-06094-7, abstract).
//!
//! A caption with the emotion phrase holds the label: such captions are for the training split only.

mod affect;
mod phrase;
mod recall;
#[cfg(feature = "train")]
mod vocabulary;
mod wording;
mod words;

use super::attributes::Attributes;
#[cfg(feature = "train")]
use super::dataset::Sample;
use crate::ops::support::philox::{philox, stable_key};
pub use affect::{affect_words, lexicon};
pub use phrase::without_phrase;
pub use recall::{Group, recall};
use serde::{Deserialize, Serialize};
#[cfg(feature = "train")]
pub use vocabulary::vocabulary;
pub use wording::{Band, band, expression};
use words::{action, clean, listed, place, with_article};

/// What a caption speaks of, and how variously.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Style {
    /// What it speaks of.
    pub kind: Kind,
    /// Whether it ends in a phrase that names the emotion. A generic caption never does.
    pub emotion_phrase: bool,
    /// How many wordings of each part are used, the plainest first. 1 says the same always in the same words, which a small
    /// model learns sooner.
    pub wordings: usize,
}

/// What a caption speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All attributes.
    #[default]
    Affective,
    /// Scene, objects and action: what can be seen, not how it feels.
    Generic,
}

impl Default for Style {
    fn default() -> Self {
        Style { kind: Kind::Affective, emotion_phrase: true, wordings: 100 }
    }
}

/// A caption and what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Affective {
    /// The sentence.
    pub text: String,
    /// The attributes it speaks of, as the annotation writes them, each object once.
    pub used: Attributes,
}

/// The caption of a picture with these attributes that evokes `emotion`.
pub fn caption(attributes: &Attributes, emotion: &str, id: &str, seed: u64, style: &Style) -> Affective {
    compose("", attributes, emotion, id, seed, style)
}

/// The caption of a sample of the class `emotion`, after the one that its data set gives.
#[cfg(feature = "train")]
pub fn caption_of(sample: &Sample, emotion: &str, seed: u64, style: &Style) -> Affective {
    compose(sample.caption.as_deref().unwrap_or_default(), &sample.attributes, emotion, &sample.id, seed, style)
}

fn compose(base: &str, attributes: &Attributes, emotion: &str, id: &str, seed: u64, style: &Style) -> Affective {
    let used = spoken_of(attributes, style.kind);
    let pick = Pick::new(id, seed, style.wordings);
    let mut adjectives = Vec::new();
    adjectives.extend(used.brightness.map(|level| pick.of(0, wording::brightness(band(level)))));
    adjectives.extend(used.colorfulness.map(|level| pick.of(1, wording::colorfulness(band(level)))));
    let mut things: Vec<String> = used.object.iter().map(|name| with_article(&[], &clean(name))).collect();
    things.extend(used.facial_expression.as_deref().map(|name| match wording::expression(name) {
        Some(faces) => with_article(&[], pick.of(4, faces)),
        None => with_article(&[], &format!("{} face", clean(name))),
    }));
    things.extend(used.human_action.as_deref().map(|name| {
        let (actor, act) = (pick.of(5, wording::ACTORS), action(name));
        if act.split(' ').any(|word| word.ends_with("ing")) { format!("{actor} {act}") } else { format!("{actor} doing {act}") }
    }));

    let base = base.trim().trim_end_matches(['.', ',', ' ']);
    let mut text = base.to_owned();
    // A base caption that nothing is to be added to stands alone.
    if base.is_empty() || used != Attributes::default() {
        let lead = pick.of(2, wording::LEADS);
        let head = match used.scene.as_deref().map(place) {
            Some(scene) => format!("{lead}{}", with_article(&adjectives, &scene)),
            None => with_article(&adjectives, pick.of(2, wording::NOWHERE)),
        };
        text += if base.is_empty() { "" } else { ", " };
        text += &head;
        if !things.is_empty() {
            text += &format!(" {} {}", pick.of(3, wording::LINKS), listed(&things));
        }
    }
    let emotion = clean(emotion);
    if style.emotion_phrase && style.kind == Kind::Affective && !emotion.is_empty() {
        text += &format!(", {} {emotion}", pick.of(6, phrase::LEADS));
    }
    Affective { text, used }
}

/// The attributes that a caption can speak of: those whose names hold a letter or a digit, each object once.
fn spoken_of(attributes: &Attributes, kind: Kind) -> Attributes {
    let said = |name: &Option<String>| name.clone().filter(|name| !clean(name).is_empty());
    let mut object: Vec<String> = Vec::new();
    for name in &attributes.object {
        if !clean(name).is_empty() && object.iter().all(|before| clean(before) != clean(name)) {
            object.push(name.clone());
        }
    }
    let plain = Attributes { scene: said(&attributes.scene), object, human_action: said(&attributes.human_action), ..Attributes::default() };
    match kind {
        Kind::Generic => plain,
        Kind::Affective => Attributes {
            brightness: attributes.brightness,
            colorfulness: attributes.colorfulness,
            facial_expression: said(&attributes.facial_expression),
            ..plain
        },
    }
}

/// Which wording a picture gets of each part.
struct Pick {
    words: [u32; 8],
    wordings: usize,
}

impl Pick {
    fn new(id: &str, seed: u64, wordings: usize) -> Self {
        let key = stable_key(id);
        let four = |group| philox([key as u32, (key >> 32) as u32, group, stable_key("captions") as u32], [seed as u32, (seed >> 32) as u32]);
        let ([a, b, c, d], [e, f, g, h]) = (four(0), four(1));
        Pick { words: [a, b, c, d, e, f, g, h], wordings }
    }

    /// The wording of a part, 0 to 7.
    fn of(&self, part: usize, wordings: &[&'static str]) -> &'static str {
        let open = wordings.len().min(self.wordings).max(1);
        let at = self.words.get(part).map_or(0, |&word| word as usize % open);
        wordings.get(at).copied().unwrap_or_default()
    }
}
