//! Counts of the runs of up to four words in a text.

use std::collections::BTreeMap;

/// The longest run that is counted.
pub const LONGEST: usize = 4;

/// How often each run of words occurs, a map for each length. The maps are sorted, so that sums over them are the same on every machine.
pub type Counts<'a> = [BTreeMap<&'a [String], u64>; LONGEST];

/// Counts all runs of 1 to [`LONGEST`] words.
pub fn count(words: &[String]) -> Counts<'_> {
    std::array::from_fn(|shorter| {
        let mut counts = BTreeMap::new();
        words.windows(shorter + 1).for_each(|run| *counts.entry(run).or_insert(0) += 1);
        counts
    })
}
