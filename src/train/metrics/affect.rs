//! Whether a caption has the words that speak of emotion.

use super::{Pair, Share};
use std::collections::BTreeSet;

/// Affect-word recall: of the affect words in a pair's references, each counted once a pair however often it is said, how many the hypothesis has
/// too, in any place; summed over all pairs. `is_affect` says of a basic word whether it is one: of a [`Lexicon`](crate::data::lexicon::Lexicon)
/// those with a strength above 0.
pub fn affect_recall(pairs: &[Pair], is_affect: impl Fn(&str) -> bool) -> Share {
    let mut share = Share::default();
    for Pair { hypothesis, references } in pairs {
        let wanted: BTreeSet<&String> = references.iter().flatten().filter(|word| is_affect(word)).collect();
        wanted.into_iter().for_each(|word| share.count(hypothesis.contains(word)));
    }
    share
}
