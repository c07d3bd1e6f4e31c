//! Two lists of rows side by side: what became faster, what slower, and whether the difference is more than noise.

use super::record::Row;
use serde::Serialize;
use std::collections::HashMap;

/// A row that both lists have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The operator and its pass.
    pub label: String,
    /// The extents of its inputs.
    pub shape: String,
    /// Its attributes.
    pub attributes: String,
    /// What was computed in.
    pub dtype: String,
    /// Median before, microseconds.
    pub before: f64,
    /// Median after.
    pub after: f64,
    /// after / before
    pub ratio: f64,
    /// Within these the ratio lies with 95 % confidence.
    pub interval: [f64; 2],
    /// Whose the first is, where several were asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
}

/// Two lists compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What both have, in the order of the second.
    pub pairs: Vec<Pair>,
    /// How many rows only one of them has: the first, the second.
    pub alone: [usize; 2],
    /// The geometric mean of the ratios; 1 where there are none.
    pub mean: f64,
}

/// Joins rows of one operator, pass, shape, type and memory; of several in one list the last counts.
pub fn compare(before: &[Row], after: &[Row]) -> Comparison {
    beside(&[("", before)], after)
}

/// The same, where before are the rows of several peers by their names: of those that have a row the fastest counts.
pub fn beside(peers: &[(&str, &[Row])], after: &[Row]) -> Comparison {
    let mut first: HashMap<_, (&str, &Row)> = HashMap::new();
    for (peer, rows) in peers {
        let of_peer: HashMap<_, &Row> = rows.iter().map(|row| (row.key(), row)).collect();
        for (key, row) in of_peer {
            let best = first.entry(key).or_insert((*peer, row));
            if row.us < best.1.us {
                *best = (*peer, row);
            }
        }
    }
    let last: HashMap<_, &Row> = after.iter().map(|row| (row.key(), row)).collect();
    let is_last = |row: &&Row| last.get(&row.key()).is_some_and(|last| std::ptr::eq(*last, *row));
    let pairs: Vec<Pair> =
        after.iter().filter(is_last).filter_map(|row| first.get(&row.key()).map(|(peer, before)| pair(peer, before, row))).collect();
    let mean = if pairs.is_empty() { 1.0 } else { (pairs.iter().map(|pair| pair.ratio.ln()).sum::<f64>() / pairs.len() as f64).exp() };
    Comparison { alone: [first.len() - pairs.len(), last.len() - pairs.len()], pairs, mean }
}

fn pair(peer: &str, before: &Row, after: &Row) -> Pair {
    // The standard error of a median of normal samples, whose middle nine tenths are 3.29 deviations wide; relative, so that those of a ratio add up in squares.
    let error = |row: &Row| 1.2533 * (row.p95 - row.p5) / 3.2897 / (row.samples.max(1) as f64).sqrt() / row.us;
    let ratio = after.us / before.us;
    let width = 1.96 * (error(before).powi(2) + error(after).powi(2)).sqrt();
    Pair {
        label: after.label(),
        shape: after.shape.clone(),
        attributes: after.attributes.clone(),
        dtype: after.dtype.clone(),
        before: before.us,
        after: after.us,
        ratio,
        interval: [ratio * (1.0 - width).max(0.0), ratio * (1.0 + width)],
        peer: peer.to_owned(),
    }
}

impl Pair {
    /// Slower by more than a share, noise set aside.
    pub fn is_regression(&self, threshold: f64) -> bool {
        self.interval[0] > 1.0 + threshold
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::row;
    use super::*;

    #[test]
    fn the_last_of_equal_rows_is_compared() {
        let before = [row("linear", 9.0), row("linear", 10.0), row("add", 1.0)];
        let after = [row("linear", 20.0), row("linear", 5.0), row("mul", 1.0)];
        let compared = compare(&before, &after);
        assert_eq!((compared.pairs.len(), compared.alone), (1, [1, 1]));
        assert!((compared.pairs[0].ratio - 0.5).abs() < 1e-12 && (compared.mean - 0.5).abs() < 1e-12);
        assert_eq!(compare(&before, &[]), Comparison { pairs: Vec::new(), alone: [2, 0], mean: 1.0 });
    }

    #[test]
    fn of_several_peers_the_fastest_counts() {
        let (slow, fast) = ([row("linear", 9.0), row("add", 1.0)], [row("linear", 1.0), row("linear", 5.0), row("mul", 3.0)]);
        let after = [row("linear", 10.0), row("add", 2.0), row("gelu", 1.0)];
        let compared = beside(&[("slow", &slow), ("fast", &fast)], &after);
        let told: Vec<(&str, f64)> = compared.pairs.iter().map(|pair| (pair.peer.as_str(), pair.ratio)).collect();
        assert_eq!((told, compared.alone), (vec![("fast", 2.0), ("slow", 2.0)], [1, 1]));
    }

    #[test]
    fn noise_is_no_regression() {
        // p5 and p95 lie a tenth off: with 25 samples a median is known to 1.5 %, a ratio of two to 4.2 %.
        let slower = |by: f64| compare(&[row("linear", 10.0)], &[row("linear", 10.0 * by)]).pairs[0].clone();
        assert!((slower(1.0).interval[1] - 1.0422).abs() < 1e-3, "{:?}", slower(1.0));
        assert!(!slower(1.05).is_regression(0.03) && slower(1.10).is_regression(0.03) && !slower(0.5).is_regression(0.03));
        assert!(slower(1.05).is_regression(0.0) && !slower(1.03).is_regression(0.0));
    }
}
