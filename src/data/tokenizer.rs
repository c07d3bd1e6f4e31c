//! WordPiece by BERT's uncased rules, equal to Hugging Face's `BertTokenizerFast`.
//!
//! Text is cleaned of control characters, ideographs are set apart, accents and capitals dropped, then split at white space and
//! punctuation; each word becomes the longest pieces the vocabulary has, from the left, all but the first marked `##`.
//!
//! Over all code points this cleans and splits as Hugging Face does, save some 700 marks and punctuation characters of rare
//! scripts that Unicode gained after 2015, which the tables there lack.

use crate::error::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory as Category, GeneralCategoryGroup as Group, UnicodeGeneralCategory};

/// A word of more characters than this is not cut into pieces but unknown.
const LONGEST_WORD: usize = 100;

/// Tokens that are taken whole where they stand in a text.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// BLIP's own: its captions begin with the first. Special when ids are read, plain text when a text is.
const SPECIAL_IDS: [&str; 2] = ["[DEC]", "[ENC]"];

/// A vocabulary, and text to ids and back by it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    tokens: Vec<String>,
    /// Tokens that may begin a word.
    first: HashMap<String, i32>,
    /// Tokens that may follow in a word, without their `##`.
    later: HashMap<String, i32>,
    pad: i32,
    unknown: i32,
    cls: i32,
    sep: i32,
}

/// A word of a text, and the positions of its pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The pieces put together.
    pub text: String,
    /// Where in the ids they stand.
    pub range: Range<usize>,
}

impl Tokenizer {
    /// Reads `vocab.txt`: a token on each line, its id the number of lines before it.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Vocabulary`] where it is not UTF-8, or as
    /// [`Tokenizer::from_vocab`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let line = |valid: usize| bytes[..valid].iter().filter(|&&b| b == b'\n').count() + 1;
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| Error::Vocabulary { path: path.into(), reason: format!("line {}: not UTF-8", line(e.valid_up_to())) })?;
        Self::from_vocab(text.lines(), path)
    }

    /// The tokens in the order of their ids; `name` is what errors call the vocabulary.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] where it is empty, a token is empty or comes twice, or `[PAD]`, `[UNK]`, `[CLS]` or `[SEP]` is
    /// missing.
    pub fn from_vocab<T: Into<String>>(tokens: impl IntoIterator<Item = T>, name: impl AsRef<Path>) -> Result<Self> {
        let wrong = |reason: String| Error::Vocabulary { path: name.as_ref().into(), reason };
        let tokens: Vec<String> = tokens.into_iter().map(Into::into).collect();
        if tokens.is_empty() {
            return Err(wrong("the vocabulary is empty".into()));
        }
        let (mut first, mut later) = (HashMap::new(), HashMap::new());
        for (id, token) in (0i32..).zip(&tokens) {
            let line = id + 1;
            if token.is_empty() {
                return Err(wrong(format!("line {line}: an empty token")));
            }
            let (map, piece) = match token.strip_prefix("##") {
                Some(piece) if !piece.is_empty() => (&mut later, piece),
                _ => (&mut first, token.as_str()),
            };
            if let Some(before) = map.insert(piece.to_string(), id) {
                return Err(wrong(format!("line {line}: `{token}` comes twice, first on line {}", before + 1)));
            }
        }
        let special = |token: &str| first.get(token).copied().ok_or_else(|| wrong(format!("`{token}` is missing")));
        let [pad, unknown, cls, sep] = [special("[PAD]")?, special("[UNK]")?, special("[CLS]")?, special("[SEP]")?];
        Ok(Tokenizer { tokens, first, later, pad, unknown, cls, sep })
    }

    /// The ids of a text between `[CLS]` and `[SEP]`. Where they are more than `max_len`, the text's last ids are dropped,
    /// `[SEP]` is kept.
    pub fn encode(&self, text: &str, max_len: Option<usize>) -> Vec<i32> {
        let room = max_len.map_or(usize::MAX, |all| all.saturating_sub(2));
        let mut ids = vec![self.cls];
        ids.extend(self.pieces(text).take(room));
        ids.push(self.sep);
        ids.truncate(max_len.unwrap_or(usize::MAX));
        ids
    }

    /// The text of ids, its pieces joined and the spaces before punctuation closed up. `skip_special` leaves out `[PAD]`,
    /// `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`, `[DEC]` and `[ENC]`. Ids outside the vocabulary are left out always.
    pub fn decode(&self, ids: &[i32], skip_special: bool) -> String {
        let mut text = String::new();
        for &id in ids {
            match self.token(id) {
                Some(token) if skip_special && is_special(token) => {}
                Some(token) if text.is_empty() => text.push_str(token),
                Some(token) => match token.strip_prefix("##") {
                    Some(piece) => text.push_str(piece),
                    None => text.extend([" ", token]),
                },
                None => {}
            }
        }
        const CLOSED_UP: [(&str, &str); 10] = [
            (" .", "."),
            (" ?", "?"),
            (" !", "!"),
            (" ,", ","),
            (" ' ", "'"),
            (" n't", "n't"),
            (" 'm", "'m"),
            (" 's", "'s"),
            (" 've", "'ve"),
            (" 're", "'re"),
        ];
        CLOSED_UP.iter().fold(text, |text, (open, closed)| text.replace(open, closed))
    }

    /// The words that ids spell and the positions of their pieces, special tokens left out.
    pub fn words(&self, ids: &[i32]) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::new();
        for (at, &id) in ids.iter().enumerate() {
            let Some(token) = self.token(id).filter(|token| !is_special(token)) else { continue };
            let piece = token.strip_prefix("##").filter(|piece| !piece.is_empty());
            match (piece, words.last_mut()) {
                (Some(piece), Some(word)) if word.range.end == at => {
                    word.text.push_str(piece);
                    word.range.end += 1;
                }
                _ => words.push(Word { text: piece.unwrap_or(token).into(), range: at..at + 1 }),
            }
        }
        words
    }

    /// The id of a token, `##` included where it has one.
    pub fn id(&self, token: &str) -> Option<i32> {
        let later = token.strip_prefix("##").and_then(|piece| self.later.get(piece));
        later.or_else(|| self.first.get(token)).copied()
    }

    /// The token of an id.
    pub fn token(&self, id: i32) -> Option<&str> {
        self.tokens.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True where there are no tokens: never, a vocabulary has at least its special ones.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The id of `[PAD]`.
    pub fn pad(&self) -> i32 {
        self.pad
    }

    /// The id of `[UNK]`.
    pub fn unknown(&self) -> i32 {
        self.unknown
    }

    /// The id of `[CLS]`.
    pub fn cls(&self) -> i32 {
        self.cls
    }

    /// The id of `[SEP]`.
    pub fn sep(&self) -> i32 {
        self.sep
    }

    /// A text as the vocabulary spells it: no control characters, plain spaces, spaces around ideographs, no accents, no
    /// capitals.
    pub fn normalize(text: &str) -> String {
        let mut spaced = String::with_capacity(text.len());
        for c in text.chars().filter(|&c| !is_dropped(c)) {
            match c {
                c if c.is_whitespace() => spaced.push(' '),
                c if is_ideograph(c) => spaced.extend([' ', c, ' ']),
                c => spaced.push(c),
            }
        }
        spaced.nfd().filter(|c| c.general_category() != Category::NonspacingMark).flat_map(char::to_lowercase).collect()
    }

    /// The words of a text before they are cut into pieces: normalized, each punctuation mark a word of its own.
    pub fn basic_words(text: &str) -> Vec<String> {
        words(&Self::normalize(text)).map(str::to_owned).collect()
    }

    /// The ids of a text, special tokens in it taken whole.
    fn pieces<'a>(&'a self, text: &'a str) -> impl Iterator<Item = i32> + 'a {
        parts(text).flat_map(|part| {
            let special = self.first.get(part).filter(|_| SPECIAL.contains(&part)).copied();
            let text = if special.is_some() { String::new() } else { Self::normalize(part) };
            let ids: Vec<i32> = words(&text).flat_map(|word| self.split(word)).collect();
            special.into_iter().chain(ids)
        })
    }

    /// The longest pieces of a word, from the left; one unknown where any part of it is no piece.
    fn split(&self, word: &str) -> Vec<i32> {
        let mut ids = Vec::new();
        let mut rest = word;
        while !rest.is_empty() {
            let map = if ids.is_empty() { &self.first } else { &self.later };
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take(LONGEST_WORD);
            let longest = ends.filter_map(|end| map.get(&rest[..end]).map(|&id| (id, end))).last();
            match longest {
                Some((id, end)) if word.chars().nth(LONGEST_WORD).is_none() => {
                    ids.push(id);
                    rest = &rest[end..];
                }
                _ => return vec![self.unknown],
            }
        }
        ids
    }
}

fn is_special(token: &str) -> bool {
    SPECIAL.contains(&token) || SPECIAL_IDS.contains(&token)
}

/// A text cut at the special tokens that stand in it literally; they are parts of their own.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let special_at = |at: usize| SPECIAL.iter().find(|s| rest[at..].starts_with(**s)).map(|s| (at, s.len()));
        let (at, len) = rest.match_indices('[').find_map(|(at, _)| special_at(at)).unwrap_or((rest.len(), 0));
        let (part, after) = rest.split_at(if at == 0 { len } else { at });
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// A normalized text cut at white space, each punctuation mark a word of its own.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(char::is_whitespace).flat_map(|run| {
        let mut rest = run;
        std::iter::from_fn(move || {
            let end = match rest.char_indices().find(|&(_, c)| is_punctuation(c)) {
                Some((0, mark)) => mark.len_utf8(),
                Some((at, _)) => at,
                None => rest.len(),
            };
            let (word, after) = rest.split_at(end);
            rest = after;
            (!word.is_empty()).then_some(word)
        })
    })
}

/// Control, format and private characters, save those that are white space, and the replacement character.
fn is_dropped(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\0' | '\u{FFFD}' => true,
        c => matches!(c.general_category(), Category::Control | Category::Format | Category::PrivateUse),
    }
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.general_category_group() == Group::Punctuation
}

/// The blocks of ideographs that BERT sets apart: the CJK unified ones and their extensions, not kana, not hangul.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2B73F}'
        | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}
