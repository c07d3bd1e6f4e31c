//! What is counted while a model is judged, and what comes of it.

use crate::data::attributes::Attributes;
use crate::data::captions::{Group, affect_words, recall};
use crate::data::lexicon::Lexicon;
use crate::error::{Error, Result};
use crate::infer::Classification;
use crate::train::metrics::{ClassScores, Confusion, Pair, Share, affect_recall, bleu, cider};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many steps of confidence the calibration error tells apart.
const BINS: usize = 15;

/// How good a model is on a split. What there is nothing to measure by is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Right answers of all pictures that count.
    pub accuracy: Option<f64>,
    /// See [`Confusion::macro_f1`].
    pub macro_f1: Option<f64>,
    /// Mean of -ln p(truth) over the pictures that were read, in nats.
    pub nll: Option<f64>,
    /// Expected calibration error (Guo et al. 2017, arXiv:1706.04599): over 15 even steps of the winner's probability, the mean distance of
    /// accuracy and mean probability, weighted by pictures that were read.
    pub ece: Option<f64>,
    /// Pictures that count.
    pub pictures: u64,
    /// Pictures that could not be read.
    pub broken: u64,
    /// They were left out; otherwise they count, as wrong answers.
    pub broken_skipped: bool,
    /// The scores of each class, in the model's order.
    pub classes: Vec<ClassScores>,
    /// What was taken for what.
    pub confusion: Confusion,
    /// What the captions are worth, where there was something to compare them with.
    pub captions: Option<CaptionScores>,
}

/// How good captions are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionScores {
    /// Pictures with a reference.
    pub pictures: usize,
    /// See [`bleu()`].
    pub bleu4: f64,
    /// See [`cider()`].
    pub cider: Option<f64>,
    /// See [`affect_recall()`]: by the model's lexicon, else by [`affect_words`].
    pub affect_word_recall: Option<f64>,
    /// Attributes that the captions say, by group and, as `all`, of all groups together.
    pub attribute_recall: BTreeMap<String, Option<f64>>,
}

/// What has been counted so far.
#[derive(Debug)]
pub struct Tally {
    confusion: Confusion,
    broken: u64,
    skipped: bool,
    surprise: f64,
    /// Pictures, right answers and summed probability of each step of confidence.
    bins: [(u64, u64, f64); BINS],
    pairs: Vec<Pair>,
    said: BTreeMap<Group, Share>,
}

impl Tally {
    /// Nothing yet.
    pub fn new(classes: &[String]) -> Self {
        let confusion = Confusion::new(classes);
        Tally { confusion, broken: 0, skipped: false, surprise: 0.0, bins: [(0, 0, 0.0); BINS], pairs: Vec::new(), said: BTreeMap::new() }
    }

    /// Counts an answer to a picture of class `truth`.
    pub fn answered(&mut self, truth: usize, result: &Classification) -> Result<()> {
        let classes = self.confusion.classes();
        let number = |name: &str| classes.iter().position(|class| class == name);
        let best = result.predictions.first().and_then(|best| Some((number(&best.class)?, f64::from(best.probability))));
        let (predicted, sure) = best.ok_or_else(|| Error::graph("probs", "a class of the model", "none"))?;
        let of_truth = result.predictions.iter().find(|p| number(&p.class) == Some(truth)).map_or(0.0, |p| p.probability);
        self.surprise -= f64::from(of_truth.max(f32::MIN_POSITIVE)).ln();
        if let Some((pictures, right, sum)) = self.bins.get_mut(((sure * BINS as f64) as usize).min(BINS - 1)) {
            *pictures += 1;
            *right += u64::from(predicted == truth);
            *sum += sure;
        }
        self.confusion.add(truth, predicted)
    }

    /// Counts a picture of class `truth` that cannot be read.
    pub fn broken(&mut self, truth: usize, skip: bool) -> Result<()> {
        self.broken += 1;
        self.skipped = skip;
        if skip { Ok(()) } else { self.confusion.miss(truth) }
    }

    /// Counts what was said of a picture.
    pub fn captioned(&mut self, said: &str, attributes: &Attributes, reference: Option<String>) {
        self.pairs.extend(reference.map(|reference| Pair::new(said, &[reference])));
        recall(said, attributes).into_iter().for_each(|(group, found)| self.said.entry(group).or_default().count(found));
    }

    /// What comes of it.
    pub fn report(self, lexicon: Option<&Lexicon>) -> Report {
        let read: u64 = self.bins.iter().map(|bin| bin.0).sum();
        let of_read = |sum: f64| (read > 0).then(|| sum / read as f64);
        let apart: f64 = self.bins.iter().map(|&(_, right, sum)| (right as f64 - sum).abs()).sum();
        let captions = (!self.pairs.is_empty()).then(|| self.caption_scores(lexicon));
        Report {
            accuracy: self.confusion.accuracy(),
            macro_f1: self.confusion.macro_f1(),
            nll: of_read(self.surprise),
            ece: of_read(apart),
            pictures: self.confusion.total(),
            broken: self.broken,
            broken_skipped: self.skipped,
            classes: self.confusion.scores(),
            captions,
            confusion: self.confusion,
        }
    }

    fn caption_scores(&self, lexicon: Option<&Lexicon>) -> CaptionScores {
        let affect = match lexicon {
            Some(lexicon) => affect_recall(&self.pairs, |word| lexicon.strength(word).is_some_and(|strength| strength > 0.0)),
            None => {
                let words = affect_words(self.confusion.classes());
                affect_recall(&self.pairs, |word| words.contains(word))
            }
        };
        let all = self.said.values().fold(Share::default(), |sum, share| Share { found: sum.found + share.found, of: sum.of + share.of });
        let groups = Group::ALL.iter().map(|group| (group.name().to_owned(), self.said.get(group).copied().and_then(Share::value)));
        CaptionScores {
            pictures: self.pairs.len(),
            bleu4: bleu(&self.pairs),
            cider: cider(&self.pairs),
            affect_word_recall: affect.value(),
            attribute_recall: groups.chain([("all".to_owned(), all.value())]).collect(),
        }
    }
}
