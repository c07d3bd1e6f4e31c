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
    let is_faster = |row: &&Row| {
        let pairs = compare(&rows[at_rule..=at_rule], std::slice::from_ref(*row)).pairs;
        pairs.first().is_some_and(|pair| pair.interval[1] < 1.0 - WORTH)
    };
    let best = rows.iter().filter(is_faster).min_by(|a, b| a.us.total_cmp(&b.us)).unwrap_or(&rows[at_rule]);
    let at_best = rows.iter().position(|row| std::ptr::eq(row, best)).unwrap_or(at_rule);
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
