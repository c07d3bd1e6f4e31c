//! A vocabulary that spells captions in whole words.

use crate::data::tokenizer::words_to_spell;
use std::collections::{BTreeSet, HashMap};

/// The tokens of a `vocab.txt` in which each word of the captions is one piece: `[PAD] [UNK] [CLS] [SEP] [MASK]`, the words by falling
/// count and then by the alphabet, each single character and its `##` form for words that no caption has, and `[DEC]`, with which a
/// decoder begins.
pub fn vocabulary<'a>(captions: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for caption in captions {
        words_to_spell(caption, |word| *counts.entry(word.to_owned()).or_default() += 1);
    }
    let mut words: Vec<(&String, &u64)> = counts.iter().collect();
    words.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    tokens.extend(words.iter().map(|(word, _)| (*word).clone()));
    let characters: BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
    tokens.extend(characters.iter().map(char::to_string).filter(|c| !counts.contains_key(c)));
    tokens.extend(characters.iter().map(|c| format!("##{c}")));
    tokens.push("[DEC]".to_owned());
    tokens
}
