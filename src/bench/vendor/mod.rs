//! NVIDIA's own libraries as yardsticks: they compute what our kernels just computed, on the same tensors, in the same stream, by the same clock. Nothing but
//! `escnet bench --against` uses them, and they are loaded when that asks for them.
//!
//! A library tells in which ways it can compute a subject (a `Plan`), the whole of it first, and by which of its algorithms. Of the first way that works, all
//! algorithms are tried, and the fastest one that is right makes the row. Types and numbers of their interfaces are cudarc's; the functions are looked up here,
//! since cudarc panics where a library lacks one, and looks for libraries of the CUDA that it was built for alone.

mod cublas;
mod cudnn;
mod status;

use super::peaks::Peaks;
use super::record::{Host, Row};
use super::shapes::Subject;
use super::subject::{Check, Prepared};
use super::yardstick::{Wanted, reference};
use super::{Settings, sampled};
use crate::device::Device;
use crate::device::cuda::{Guest, Part, Recorded};
use crate::error::{Error, Result};
use crate::graph::Clocked;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Replays by which algorithms are ranked.
const TRIALS: usize = 3;

/// One library, on one device.
pub struct Vendor {
    name: &'static str,
    guest: Guest,
    library: Box<dyn Library>,
    /// By the name of the library and what it leaves out.
    rows: BTreeMap<String, Vec<Row>>,
    notes: Vec<String>,
}

/// What a library is to a benchmark.
trait Library {
    /// Its name and version, such as `cuBLASLt 13.0`.
    fn version(&self) -> String;

    /// The ways in which it can compute a subject, those first that leave least out; none where it has no such operator.
    ///
    /// # Errors
    /// Those of the device.
    fn plans(&self, subject: &Subject) -> Result<Vec<Plan>>;
}

/// One way to compute a subject.
struct Plan {
    /// What is computed where that is not all of it: on the first of its inputs, as many as this has, giving its outputs as far as this wants them.
    part: Option<Subject>,
    /// What is left out, for people, as in `without gelu`.
    without: &'static str,
    candidates: Vec<Candidate>,
}

/// Puts the work of one copy into the stream.
type Work = Box<dyn Fn(&Tensors) -> Result<()>>;

/// One algorithm.
struct Candidate {
    name: String,
    work: Work,
}

/// The tensors of one copy: none where one is fixed, or not wanted.
struct Tensors {
    inputs: Vec<Option<Part>>,
    outputs: Vec<Option<Part>>,
}

impl Tensors {
    /// The address of an input.
    fn input(&self, i: usize) -> Result<u64> {
        self.inputs.get(i).and_then(Option::as_ref).map(|part| part.at).ok_or_else(|| Error::graph("peer", "memory of an input", i))
    }

    /// The address of an output.
    fn output(&self, i: usize) -> Result<u64> {
        self.outputs.get(i).and_then(Option::as_ref).map(|part| part.at).ok_or_else(|| Error::graph("peer", "memory of an output", i))
    }
}

impl Vendor {
    /// Loads a library, `cublas` or `cudnn`, for a device.
    ///
    /// # Errors
    /// [`Error::Device`] where the device is none of CUDA's, or the library is not there.
    pub fn open(name: &str, device: &Device) -> Result<Self> {
        let fails = |reason: String| Error::Device { device: name.to_owned(), reason };
        let gpu = device.cuda_gpu().ok_or_else(|| fails(format!("it computes on CUDA's devices, not on {}: --device cuda", device.describe())))?;
        let guest = gpu.guest();
        let (name, library): (&'static str, Box<dyn Library>) = match name {
            "cublas" => ("cublas", Box::new(cublas::Cublas::load(&guest)?)),
            "cudnn" => ("cudnn", Box::new(cudnn::Cudnn::load(&guest)?)),
            _ => return Err(fails("no library of this name; there are cublas and cudnn".to_owned())),
        };
        Ok(Vendor { name, guest, library, rows: BTreeMap::new(), notes: Vec::new() })
    }

    /// Its rows, by whose they are.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &[Row])> {
        self.rows.iter().map(|(name, rows)| (name.as_str(), rows.as_slice()))
    }

    /// Why an operator that it has got no row.
    pub(super) fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }

    /// Computes and measures a subject where it can.
    pub(super) fn measure(
        &mut self,
        subject: &Subject,
        prepared: &mut Prepared,
        peaks: Option<&Peaks>,
        host: &Host,
        settings: &Settings,
    ) -> Result<()> {
        let plans = self.library.plans(subject)?;
        if plans.is_empty() {
            return Ok(());
        }
        let copies: Vec<Tensors> =
            (0..prepared.copies()).map(|copy| prepared.parts(copy)).map(|[inputs, outputs]| Tensors { inputs, outputs }).collect();
        let label = format!("{} {}", subject.op.label(), subject.shape());
        let mut refused = Vec::new();
        for plan in &plans {
            let want = plan.wanted(subject, prepared)?;
            for (recorded, name) in self.fastest_first(plan, &copies, &mut refused)? {
                copies.iter().flat_map(|copy| copy.outputs.iter().flatten()).try_for_each(Part::poison)?;
                self.guest.clocked(&recorded)?;
                let check = match want.as_ref().map_or(Ok(Check::TooLarge), |want| prepared.compared(want)) {
                    Err(error @ Error::Graph { .. }) => {
                        refused.push(error.to_string());
                        continue;
                    }
                    check => check?,
                };
                let samples = sampled(&settings.patience, || self.run(&recorded, copies.len()))?;
                let row = Row::new(prepared.measured(&check)?, &samples, peaks, host);
                let row = Row { commit: self.library.version(), kernels: name, ..row };
                let whose = if plan.without.is_empty() { self.name.to_owned() } else { format!("{} without {}", self.name, plan.without) };
                self.rows.entry(whose).or_default().push(row);
                return Ok(());
            }
        }
        refused.dedup();
        self.notes.push(format!("{} has no row for {label}: {}", self.name, refused.join("; ")));
        Ok(())
    }

    /// The algorithms that work, recorded, by what they took.
    fn fastest_first(&self, plan: &Plan, copies: &[Tensors], refused: &mut Vec<String>) -> Result<Vec<(Recorded, String)>> {
        let mut found: Vec<(Duration, Recorded, String)> = Vec::new();
        for Candidate { name, work } in &plan.candidates {
            self.guest.enter()?;
            // Once by itself: what is loaded then cannot be while something is recorded.
            if let Err(error) = copies.first().map_or(Ok(()), work) {
                refused.push(error.to_string());
                continue;
            }
            self.guest.wait()?;
            let recorded = match self.guest.record(|| copies.iter().try_for_each(work)) {
                Ok(recorded) => recorded,
                Err(error) => {
                    refused.push(error.to_string());
                    continue;
                }
            };
            let took = (0..TRIALS).map(|_| self.guest.clocked(&recorded)).collect::<Result<Vec<_>>>()?;
            found.push((took.into_iter().min().unwrap_or_default(), recorded, name.clone()));
        }
        found.sort_by_key(|(took, ..)| *took);
        Ok(found.into_iter().map(|(_, recorded, name)| (recorded, name)).collect())
    }

    fn run(&self, recorded: &Recorded, copies: usize) -> Result<Clocked> {
        let start = Instant::now();
        let device = self.guest.clocked(recorded)?;
        let each = copies as u32;
        Ok(Clocked { host: start.elapsed() / each, device: Some(device / each) })
    }
}

impl std::fmt::Debug for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vendor").field("name", &self.name).field("version", &self.library.version()).finish_non_exhaustive()
    }
}

impl Plan {
    /// What its results should be: those that ours were compared with, where both compute the same.
    fn wanted(&self, subject: &Subject, prepared: &Prepared) -> Result<Option<Wanted>> {
        let Some(part) = &self.part else { return Ok(prepared.reference().map(|reference| reference.numbers.clone())) };
        let Some(found) = reference(part, prepared.device())? else { return Ok(None) };
        let mut found = found.numbers.into_iter();
        let is_in_part = |i: usize| part.outputs.get(i).is_some_and(|(_, wanted)| *wanted);
        let wanted = subject.outputs.iter().enumerate().filter(|(_, (_, wanted))| *wanted);
        Ok(Some(wanted.map(|(i, _)| if is_in_part(i) { found.next().flatten() } else { None }).collect()))
    }
}
