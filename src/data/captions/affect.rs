//! The words of captions that speak of emotion.

use super::wording::{Band, brightness, colorfulness, expression};
use crate::data::tokenizer::Tokenizer;
use std::collections::BTreeSet;

/// EmoSet's expressions.
const EXPRESSIONS: [&str; 6] = ["happy", "sad", "angry", "fear", "disgust", "surprise"];
/// The strength of a word that names an emotion, or a face that shows one.
const NAMED: f32 = 1.0;
/// The strength of a word for the light or the colours that set a mood.
const MOOD: f32 = 0.5;

/// The words that name an emotion: those of the classes' names, and those of a face's wordings that tell it from other faces.
pub fn affect_words(classes: &[String]) -> BTreeSet<String> {
    let faces: Vec<_> = EXPRESSIONS.iter().filter_map(|name| expression(name)).collect();
    telling(&faces).into_iter().map(str::to_owned).chain(classes.iter().flat_map(|class| Tokenizer::basic_words(class))).collect()
}

/// The text of a `lexicon.tsv` of the affect words of the captions that this module makes, for runs that are given no lexicon:
/// [`affect_words`] with strength 1, and with strength 0.5 the words for little or much light and colour. Words that several wordings
/// share (face, lit, colored) are not in it. Generic captions have none of them, save where an object's name is one.
pub fn lexicon(classes: &[String]) -> String {
    let named = affect_words(classes);
    let [light, colour] = [brightness, colorfulness].map(|part| telling(&[part(Band::Low), part(Band::Middle), part(Band::High)]));
    // What is neither dark nor bright sets no mood.
    let neither: BTreeSet<&str> = [brightness, colorfulness].iter().flat_map(|part| words(part(Band::Middle))).collect();
    let mood = light.union(&colour).filter(|word| !neither.contains(*word) && !named.contains(**word));
    let mut rows: Vec<(&str, f32)> = mood.map(|word| (*word, MOOD)).collect();
    rows.extend(named.iter().map(|word| (word.as_str(), NAMED)));
    rows.sort_by(|a, b| a.0.cmp(b.0));
    rows.iter().map(|(word, strength)| format!("{word}\t{strength}\n")).collect()
}

/// The words that stand in a single one of these lists of wordings.
fn telling(lists: &[&'static [&'static str]]) -> BTreeSet<&'static str> {
    let sets: Vec<BTreeSet<&str>> = lists.iter().map(|wordings| words(wordings).collect()).collect();
    let once = |word: &&str| sets.iter().filter(|set| set.contains(word)).count() == 1;
    sets.iter().flatten().copied().filter(once).collect()
}

fn words(wordings: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    wordings.iter().flat_map(|wording| wording.split(' '))
}
