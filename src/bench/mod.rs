//! Measures operators and devices: what is measured, how often, against which roof, and how it is written down.
//!
//! `parts` are the graphs of a model; `shapes` says which operators on which tensors, read off these or `listed` in a file; `subject` puts one of them on a device, checks
//! what it computes by a `yardstick` and runs it; `whole` does so with a graph, `filled` with numbers; `sampling` decides when enough is measured; `peaks` measures the roofs with the operator
//! [`crate::ops::peak`]; `clocks` and `others` watch the machine meanwhile; `record` is a row and its forms; `compare` sets two lists of rows side by side, `peers` rows of files
//! and of libraries beside ours. `profile`, `roofline`, `memory` and `trace` tell where a graph's time goes; `drawing` shows graphs, before fusion and after it; `tune`
//! finds the fastest variants of kernels; `health` is whether a device computes what it should. docs/benchmarking.md says why it is done so.

pub mod clocks;
pub mod compare;
pub mod drawing;
mod filled;
pub mod health;
mod listed;
pub mod memory;
pub mod others;
pub mod parts;
pub mod peaks;
pub mod peers;
mod picture;
pub mod profile;
pub mod record;
pub mod roofline;
pub mod sampling;
pub mod shapes;
pub mod subject;
pub mod trace;
pub mod tune;
#[cfg(feature = "vendor")]
pub mod vendor;
pub mod whole;
pub mod yardstick;

use crate::device::Device;
use crate::error::Result;
use crate::graph::Clocked;
use crate::ops::row;
use crate::tensor::DType;
use peaks::Peaks;
use peers::Peers;
use record::{Host, Row};
use sampling::{Patience, Samples};
use shapes::Subject;
use subject::{Memory, Prepared};

/// How subjects are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is stored and, on tensor cores, multiplied in.
    pub dtype: DType,
    /// Whether each execution finds its tensors in memory or in a cache.
    pub memory: Memory,
    /// When enough is measured.
    pub patience: Patience,
}

/// The device with each variant of an operator's kernels that it has for these tensors, by name; the device as it is where there is nothing to choose among.
///
/// # Errors
/// Those of the device.
pub fn variants(subject: &Subject, device: &Device) -> Result<Vec<(&'static str, Device)>> {
    let mut found: Vec<(&'static str, Device)> = Vec::new();
    let mut seen: Vec<Vec<String>> = Vec::new();
    for (variant, device) in names(subject, device).iter().filter_map(|&name| forced(subject, device, name)) {
        // What a variant has no kernel for runs as another, whose kernels were met already, or will be.
        let kernels = launched(subject, &device)?;
        if is_of(variant, &kernels) && !seen.contains(&kernels) {
            seen.push(kernels);
            found.push((variant, device));
        }
    }
    if found.is_empty() {
        found.push(("", device.clone()));
    }
    Ok(found)
}

fn names(subject: &Subject, device: &Device) -> &'static [&'static str] {
    row(subject.op.stem()).map_or(&[], |row| row.variants_on(device))
}

/// The device with this variant of an operator's kernels, whether or not there is one for these tensors; none where the operator has none of this name there.
pub fn forced(subject: &Subject, device: &Device, name: &str) -> Option<(&'static str, Device)> {
    let variant = names(subject, device).iter().find(|variant| **variant == name)?;
    Some((variant, device.with_variant(variant)?))
}

/// Whether kernels are those of a variant, by their names; all may be those of `exact`, which stands in none.
pub fn is_of(variant: &str, kernels: &[String]) -> bool {
    variant == "exact" || kernels.iter().any(|kernel| kernel.split('_').any(|word| word == variant))
}

/// The kernels that a subject launches on a device.
fn launched(subject: &Subject, device: &Device) -> Result<Vec<String>> {
    let mut prepared = Prepared::new(subject, device, Memory::Hot)?;
    // What is launched is known once it has been.
    prepared.run()?;
    prepared.kernels()
}

/// Checks and measures one subject.
///
/// # Errors
/// Those of the device: memory that it lacks, a kernel that it does not have.
pub fn measure(subject: &Subject, device: &Device, peaks: Option<&Peaks>, host: &Host, settings: &Settings) -> Result<Row> {
    measure_beside(&mut Peers::default(), subject, device, peaks, host, settings)
}

/// The same, and behind it those of the peers that are measured along, on the same tensors.
///
/// # Errors
/// As [`measure`], and those of the peers.
pub fn measure_beside(peers: &mut Peers, subject: &Subject, device: &Device, peaks: Option<&Peaks>, host: &Host, settings: &Settings) -> Result<Row> {
    let mut prepared = Prepared::new(subject, device, settings.memory)?;
    let check = prepared.check()?;
    let samples = sampled(&settings.patience, || prepared.run())?;
    let row = Row::new(prepared.measured(&check)?, &samples, peaks, host);
    peers.measure(subject, &mut prepared, peaks, host, settings)?;
    Ok(row)
}

/// Samples of what this runs, until there are enough.
fn sampled(patience: &Patience, mut run: impl FnMut() -> Result<Clocked>) -> Result<Samples> {
    // The first run compiles, captures and fills caches.
    run()?;
    let mut samples = Samples::new(patience.clone());
    while samples.wants_more() {
        samples.add(run()?);
    }
    Ok(samples)
}
