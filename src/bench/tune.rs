//! Which variant of an operator's kernels is fastest on certain tensors: each is checked, measured, and set beside the one that the operator chooses by its rule.

use super::compare::compare;
use super::record::{Host, Row};
use super::shapes::Subject;
use super::{Settings, launched, measure, variants};
use crate::device::Device;
use crate::error::Result;
use serde::Serialize;

/// A variant must be faster by more than this, noise set aside, to be preferred to the rule's.
const WORTH: f64 = 0.02;

/// What was found for an operator on certain tensors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuned {
    /// What choices are kept by: see [`Subject::signature`].
    #[serde(skip)]
    pub signature: String,
    /// The operator and its pass.
    pub op: String,
    /// The extents of its inputs.
    pub shape: String,
    /// How often it runs in the graph that it was met in first.
    pub uses: usize,
    /// The variant of the rule.
    pub rule: &'static str,
    /// The one that is fastest; the rule's where none is faster for certain.
    pub best: &'static str,
    /// Microseconds of each variant, in the order of the operator's list.
    pub us: Vec<(&'static str, f64)>,
}

impl Tuned {
    /// Microseconds of a variant.
    fn of(&self, variant: &str) -> f64 {
        self.us.iter().find(|(name, _)| *name == variant).map_or(f64::NAN, |(_, us)| *us)
    }

    /// Microseconds of the rule's variant, and of the best.
    pub fn rule_and_best(&self) -> [f64; 2] {
        [self.rule, self.best].map(|variant| self.of(variant))
    }
}

/// Measures each variant of the subject that a device has; none where there are not two. The device is one without choices of its own.
///
/// # Errors
/// As [`measure`]: a variant that is wrong is an error, not a slow one.
pub fn tune(subject: &Subject, device: &Device, host: &Host, settings: &Settings) -> Result<Option<Tuned>> {
    let variants = variants(subject, device)?;
    if variants.len() < 2 {
        return Ok(None);
    }
    let chosen = launched(subject, device)?.join(" ");
    // Without their names, rows of two variants are rows of one thing.
    let row = |(_, device): &(&'static str, Device)| measure(subject, device, None, host, settings);
    let rows = variants.iter().map(row).collect::<Result<Vec<Row>>>()?;
    let at_rule = rows.iter().position(|row| row.kernels == chosen).unwrap_or(0);
    let at_best = best(&rows, at_rule);
    Ok(Some(Tuned {
        signature: subject.signature(),
        op: subject.op.label(),
        shape: subject.shape(),
        uses: subject.uses,
        rule: variants[at_rule].0,
        best: variants[at_best].0,
        us: variants.iter().zip(&rows).map(|((name, _), row)| (*name, row.us)).collect(),
    }))
}

/// The fastest of one thing's rows, where it is faster than the rule's for certain; what nothing was compared with is not kept, however fast.
fn best(rows: &[Row], at_rule: usize) -> usize {
    let is_better = |row: &Row| {
        let pairs = compare(&rows[at_rule..=at_rule], std::slice::from_ref(row)).pairs;
        row.error.is_some() && pairs.first().is_some_and(|pair| pair.interval[1] < 1.0 - WORTH)
    };
    let better = rows.iter().enumerate().filter(|(_, row)| is_better(row));
    better.min_by(|(_, a), (_, b)| a.us.total_cmp(&b.us)).map_or(at_rule, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::row;
    use super::*;

    #[test]
    fn what_was_not_checked_is_not_kept() {
        let unchecked = Row { error: None, ..row("linear", 1.0) };
        let rows = [row("linear", 10.0), unchecked, row("linear", 5.0), row("linear", 9.95)];
        assert_eq!([best(&rows, 0), best(&rows, 2), best(&rows[..2], 0), best(&rows[2..], 1)], [2, 2, 0, 0]);
        assert_eq!(best(&[row("linear", 10.0), row("linear", 9.95)], 0), 0, "within noise");
    }
}
