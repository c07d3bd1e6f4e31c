//! How good a model is: at telling classes apart, and at saying what a picture shows.

pub mod affect;
pub mod bleu;
pub mod cider;
pub mod classes;
mod ngrams;

pub use affect::affect_recall;
pub use bleu::bleu;
pub use cider::cider;
pub use classes::{ClassScores, Confusion};

use crate::data::tokenizer::Tokenizer;
use serde::Serialize;

/// What a captioner said of a picture, and what may be said of it, in the tokenizer's basic words: lower case, no accents, each punctuation mark
/// a word of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// What was said.
    pub hypothesis: Vec<String>,
    /// What may be said.
    pub references: Vec<Vec<String>>,
}

impl Pair {
    /// Cuts the texts into words.
    pub fn new<R: AsRef<str>>(hypothesis: &str, references: &[R]) -> Self {
        Pair {
            hypothesis: Tokenizer::basic_words(hypothesis),
            references: references.iter().map(|text| Tokenizer::basic_words(text.as_ref())).collect(),
        }
    }
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many were found.
    pub found: u64,
    /// How many there were to find.
    pub of: u64,
}

impl Share {
    /// Counts one more, found or not.
    pub fn count(&mut self, found: bool) {
        self.found += u64::from(found);
        self.of += 1;
    }

    /// The share, 0 to 1; none of none is no share.
    pub fn value(self) -> Option<f64> {
        ratio(self.found, self.of)
    }
}

/// a / b; none where b is 0.
fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}
