//! Affect words and how strong each is: a given word gate, instead of a learned one.

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Words and the strength, 0..=1, with which they speak of emotion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lexicon {
    strengths: HashMap<String, f32>,
}

impl Lexicon {
    /// Reads `lexicon.tsv`: a word, a tab and its strength on each line. Lines that are empty or begin with `#` are skipped.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; otherwise as [`Lexicon::from_tsv`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_tsv(&std::fs::read(path).map_err(|e| Error::io(path, e))?, path)
    }

    /// Reads the bytes of such a file; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Vocabulary`], with the line's number, where the text is not UTF-8, a line has no tab, no word or more than
    /// one, a strength is no number in 0..=1, or a word comes twice.
    pub fn from_tsv(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        let wrong = |line: usize, reason: String| Error::Vocabulary { path: name.as_ref().into(), reason: format!("line {line}: {reason}") };
        let mut strengths = HashMap::new();
        for (number, line) in (1..).zip(bytes.split(|&b| b == b'\n')) {
            let line = std::str::from_utf8(line).map_err(|_| wrong(number, "not UTF-8".into()))?.trim_end_matches('\r');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, strength) =
                line.split_once('\t').ok_or_else(|| wrong(number, format!("expected a word, a tab and a number, got `{line}`")))?;
            if word.is_empty() || word.contains(char::is_whitespace) {
                return Err(wrong(number, format!("expected one word, got `{word}`")));
            }
            let value = strength.trim().parse().ok().filter(|v| (0.0..=1.0).contains(v));
            let value = value.ok_or_else(|| wrong(number, format!("expected a strength in 0..=1, got `{strength}`")))?;
            if strengths.insert(Tokenizer::normalize(word), value).is_some() {
                return Err(wrong(number, format!("`{word}` comes twice")));
            }
        }
        Ok(Lexicon { strengths })
    }

    /// The strength of a word, in whatever case and accents; none where the lexicon lacks it.
    pub fn strength(&self, word: &str) -> Option<f32> {
        self.strengths.get(&Tokenizer::normalize(word)).copied()
    }

    /// A strength for each of `ids`: every piece of a word has the word's; special tokens and unlisted words have 0.
    pub fn strengths(&self, tokenizer: &Tokenizer, ids: &[i32]) -> Vec<f32> {
        let mut all = vec![0.0; ids.len()];
        for word in tokenizer.words(ids) {
            if let Some(strength) = self.strength(&word.text) {
                all[word.range].fill(strength);
            }
        }
        all
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.strengths.len()
    }

    /// True where there are no words.
    pub fn is_empty(&self) -> bool {
        self.strengths.is_empty()
    }
}
