//! CIDEr-D: agreement with the references, a run of words weighing the more the fewer pictures it is said of (Vedantam et al. 2015,
//! arXiv:1411.5726).

use super::Pair;
use super::ngrams::{Counts, LONGEST, count};
use std::collections::{BTreeMap, BTreeSet};

/// The standard deviation, in words, of the penalty for another length.
const SIGMA: f64 = 6.0;

/// CIDEr-D, 0 to 10, the mean over all pairs, equal to pycocoevalcap's `Cider`.
///
/// ```text
/// g(run) = count of the run * (ln pairs - ln max(1, pairs of whose references one holds the run))
/// s_n(h, r) = sum over runs of n words in h of min(g_h, g_r) g_r / (|g_h| |g_r|) * exp(-(bigrams of h - bigrams of r)^2 / (2 * 6^2))
/// score = 10 * mean over n = 1..4 and over references of s_n
/// ```
///
/// Over one pair it is 0: every run is then said of every picture. None without pairs, or where one has no reference.
pub fn cider(pairs: &[Pair]) -> Option<f64> {
    if pairs.is_empty() || pairs.iter().any(|pair| pair.references.is_empty()) {
        return None;
    }
    let counted: Vec<(Counts, Vec<Counts>)> =
        pairs.iter().map(|pair| (count(&pair.hypothesis), pair.references.iter().map(|words| count(words)).collect())).collect();
    let mut pictures: BTreeMap<&[String], u64> = BTreeMap::new();
    for (_, references) in &counted {
        let runs: BTreeSet<&[String]> = references.iter().flatten().flat_map(BTreeMap::keys).copied().collect();
        runs.into_iter().for_each(|run| *pictures.entry(run).or_insert(0) += 1);
    }
    let all = (pairs.len() as f64).ln();
    let weigh = |run: &[String]| all - pictures.get(run).map_or(0.0, |&n| (n as f64).ln());
    let of_pair = |(hypothesis, references): &(Counts, Vec<Counts>)| {
        let hypothesis = Weighed::new(hypothesis, &weigh);
        let sum: f64 = references.iter().map(|reference| hypothesis.likeness(&Weighed::new(reference, &weigh))).sum();
        10.0 * sum / references.len() as f64
    };
    Some(counted.iter().map(of_pair).sum::<f64>() / pairs.len() as f64)
}

/// The runs of a text by length, each with its weight g; the norm of each length's weights; the number of bigrams.
struct Weighed<'a> {
    runs: [BTreeMap<&'a [String], f64>; LONGEST],
    norms: [f64; LONGEST],
    bigrams: u64,
}

impl<'a> Weighed<'a> {
    fn new(counts: &Counts<'a>, weigh: &dyn Fn(&[String]) -> f64) -> Self {
        let runs = std::array::from_fn(|n| counts[n].iter().map(|(&run, &times)| (run, times as f64 * weigh(run))).collect());
        let norm = |runs: &BTreeMap<&[String], f64>| runs.values().map(|g| g * g).sum::<f64>().sqrt();
        Weighed { norms: std::array::from_fn(|n| norm(&runs[n])), runs, bigrams: counts[1].values().sum() }
    }

    /// The mean of s_1 .. s_4.
    fn likeness(&self, reference: &Weighed) -> f64 {
        let apart = self.bigrams as f64 - reference.bigrams as f64;
        let penalty = (-apart * apart / (2.0 * SIGMA * SIGMA)).exp();
        let of_length = |n: usize| {
            let shared = self.runs[n].iter().filter_map(|(run, &mine)| reference.runs[n].get(run).map(|&its| mine.min(its) * its));
            let norms = self.norms[n] * reference.norms[n];
            if norms > 0.0 { shared.sum::<f64>() / norms } else { 0.0 }
        };
        penalty * (0..LONGEST).map(of_length).sum::<f64>() / LONGEST as f64
    }
}
