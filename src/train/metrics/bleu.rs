//! BLEU-4 of a whole corpus (Papineni et al. 2002).

use super::Pair;
use super::ngrams::{LONGEST, count};

/// BLEU-4, 0 to 1: the geometric mean of the shares p_1 .. p_4 of the hypotheses' runs of n words that their references hold too, times the
/// brevity penalty.
///
/// ```text
/// p_n = sum over pairs of sum over runs of min(count in the hypothesis, largest count in a reference) / sum of counts in the hypotheses
/// BLEU = min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4)
/// ```
///
/// c is the length of all hypotheses, r that of all references, of a pair the one closest to the hypothesis's, the shorter of two. Counts are
/// of the whole corpus and not smoothed, as in pycocoevalcap, which has some 1e-4 where this has 0: where no run of some length is found.
pub fn bleu(pairs: &[Pair]) -> f64 {
    let (mut found, mut all) = ([0u64; LONGEST], [0u64; LONGEST]);
    let (mut hypothesis_length, mut reference_length) = (0, 0);
    for Pair { hypothesis, references } in pairs {
        let references_counts: Vec<_> = references.iter().map(|words| count(words)).collect();
        for (n, runs) in count(hypothesis).iter().enumerate() {
            for (run, &times) in runs {
                let most = references_counts.iter().filter_map(|reference| reference[n].get(run)).max().copied().unwrap_or(0);
                found[n] += times.min(most);
                all[n] += times;
            }
        }
        let length = hypothesis.len();
        hypothesis_length += length;
        reference_length += references.iter().map(Vec::len).min_by_key(|&l| (l.abs_diff(length), l)).unwrap_or(0);
    }
    if found.contains(&0) {
        return 0.0;
    }
    let logs: f64 = found.iter().zip(all).map(|(&found, all)| (found as f64 / all as f64).ln()).sum();
    let brevity = (1.0 - reference_length as f64 / hypothesis_length as f64).min(0.0);
    (logs / LONGEST as f64 + brevity).exp()
}
