//! One operator on a device: its tensors filled, its results checked, its runs timed.

use super::record::Measured;
use super::shapes::{Role, Subject};
use super::yardstick::{Reference, Wanted, Yardstick, reference};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Builder, Clocked, Graph, Options, Segment, Session, StateKind, Store};
use crate::op::{Cost, Op};
use crate::ops::row;
use crate::ops::support::case::Fill;
use crate::ops::support::draws::Draws;
use crate::tensor::{DType, Tensor, TensorType};
use crate::verify::{Comparison, Floor, compare};

/// Where executions find their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// In memory: executions take turns on so many copies that none is left of the last turn in a cache.
    Cold,
    /// Where the execution before left them.
    Hot,
}

/// More bytes than caches hold: three times an H200's L2, and a server's share of L3.
const BEYOND_CACHES: usize = 192 << 20;
/// The most copies of an execution in a run.
const MOST_COPIES: usize = 256;

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// The result that is worst.
    Checked(Comparison),
    /// There is nothing to compare with: it would take too long to compute.
    TooLarge,
    /// Nothing is computed: integers alone, and they are right.
    Exact,
}

/// A subject, ready to run.
pub struct Prepared {
    subject: Subject,
    device: Device,
    store: Store,
    session: Session,
    copies: usize,
    /// What [`Prepared::check`] compared with.
    reference: Option<Reference>,
}

impl Prepared {
    /// Lays its tensors down in a device's memory.
    ///
    /// # Errors
    /// Those of [`Session::new`].
    pub fn new(subject: &Subject, device: &Device, memory: Memory) -> Result<Self> {
        let copies = match memory {
            Memory::Hot => 1,
            Memory::Cold => BEYOND_CACHES.div_ceil(bytes(subject).max(1)).clamp(1, MOST_COPIES),
        };
        let (store, session) = laid_down(subject, &all_numbers(subject)?, device, copies)?;
        Ok(Prepared { subject: subject.clone(), device: device.clone(), store, session, copies, reference: None })
    }

    /// How many executions a run is.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// Whether the copies are more than caches hold.
    pub fn is_cold(&self) -> bool {
        self.copies * bytes(&self.subject) >= BEYOND_CACHES
    }

    /// The device it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The kernels that an execution launches, by name; none on the CPU.
    ///
    /// # Errors
    /// Those of [`Session::times`].
    pub fn kernels(&mut self) -> Result<Vec<String>> {
        let first = self.session.times()?.into_iter().next();
        Ok(first.map(|node| node.kernels.into_iter().map(|kernel| kernel.name()).collect()).unwrap_or_default())
    }

    /// Runs all copies once.
    ///
    /// # Errors
    /// Those of [`Session::run_clocked`].
    pub fn run(&mut self) -> Result<Clocked> {
        let Clocked { host, device } = self.session.run_clocked(&mut self.store, segment())?;
        let each = self.copies as u32;
        Ok(Clocked { host: host / each, device: device.map(|time| time / each) })
    }

    /// Compares what the last copy computes with what its `yardstick` does. To be called before any other run, since state moves on.
    ///
    /// # Errors
    /// [`Error::Graph`] where they differ by more than the operator's limit; those of the devices.
    pub fn check(&mut self) -> Result<Check> {
        let Some(reference) = reference(&self.subject, &self.device)? else { return Ok(Check::TooLarge) };
        self.session.run(&mut self.store, segment())?;
        let found = self.compared(&reference.numbers);
        self.reference = Some(reference);
        found
    }

    /// What [`Prepared::check`] compared with.
    #[cfg(feature = "vendor")]
    pub(super) fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// The memory of a copy's inputs and outputs, on one of CUDA's devices; none for what is fixed or not wanted.
    #[cfg(feature = "vendor")]
    pub(super) fn parts(&self, copy: usize) -> [Vec<Option<crate::device::cuda::Part>>; 2] {
        let of = |name: String| self.session.part(&name, &self.store);
        [(0..self.subject.inputs.len()).map(|i| of(input(copy, i))).collect(), (0..self.subject.outputs.len()).map(|i| of(output(copy, i))).collect()]
    }

    /// Compares the results of the last copy with these; where these are fewer, the first of them.
    ///
    /// # Errors
    /// As [`Prepared::check`].
    pub(super) fn compared(&mut self, want: &Wanted) -> Result<Check> {
        let last = self.copies - 1;
        let mut worst: Option<Comparison> = None;
        for ((ty, of_copy), want) in results(&self.subject).zip(want) {
            let Some(want) = want else { continue };
            let mut got = of_copy.read(last, &self.session, &mut self.store)?;
            got.truncate(want.len());
            let mut want = want.clone();
            // Infinities that both have, such as sums over no keys at all, are no difference.
            for (got, want) in got.iter_mut().zip(&mut want).filter(|(got, want)| got.is_infinite() && got == want) {
                (*got, *want) = (0.0, 0.0);
            }
            if ty.dtype == DType::I32 {
                if got != want && !may_tie(&self.subject) {
                    return Err(Error::graph(self.subject.op.label(), format!("the integers of f64 in {of_copy:?}"), "others"));
                }
                continue;
            }
            let compared = compare(format!("{of_copy:?}"), &got, &want, None, Floor::operator(computed_in(types(&self.subject))), ty.dtype, 0.0);
            if !compared.passed() {
                let label = format!("{} {}", self.subject.op.label(), self.subject.shape());
                return Err(Error::graph(label, format!("an error of at most {} in {of_copy:?}", compared.limit), compared.error));
            }
            if worst.as_ref().is_none_or(|worst| worst.error < compared.error) {
                worst = Some(compared);
            }
        }
        Ok(worst.map_or(Check::Exact, Check::Checked))
    }

    /// What rows say of it, once it has run.
    ///
    /// # Errors
    /// Those of [`Session::times`].
    pub fn measured(&mut self, check: &Check) -> Result<Measured> {
        let kernels = self.kernels()?.join(" ");
        let by = self.reference.as_ref().map_or(Yardstick::F64, |reference| reference.by);
        let subject = &self.subject;
        Ok(Measured {
            device: self.device.describe(),
            op: subject.op.stem().to_owned(),
            pass: subject.op.pass(),
            shape: subject.shape(),
            attributes: subject.short_attributes(),
            part: subject.part,
            uses: subject.uses,
            kernels,
            memory: if self.is_cold() { "cold" } else { "hot" },
            cost: subject.cost,
            in_half: is_product(&*subject.op) && computed_in(types(subject)) != DType::F32,
            error: match check {
                Check::Checked(worst) => Some(worst.error),
                Check::Exact => Some(0.0),
                Check::TooLarge => None,
            },
            checked: Some(by).filter(|_| *check != Check::TooLarge),
        })
    }
}

/// Of all tensors of an execution.
fn types(subject: &Subject) -> impl Iterator<Item = TensorType> {
    subject.inputs.iter().map(|(ty, _)| *ty).chain(subject.outputs.iter().map(|(ty, _)| *ty))
}

fn bytes(subject: &Subject) -> usize {
    types(subject).map(|ty| ty.bytes()).sum()
}

/// Everything is put into one segment, whichever it ran in.
pub(super) fn segment() -> Segment {
    Segment::Run
}

/// Half precision, where any number of these types is stored so.
pub(super) fn computed_in(mut types: impl Iterator<Item = TensorType>) -> DType {
    types.find(|ty| matches!(ty.dtype, DType::F16 | DType::BF16)).map_or(DType::F32, |ty| ty.dtype)
}

/// Whether an operator is made of products that tensor cores have kernels for.
pub(super) fn is_product(op: &dyn Op) -> bool {
    row(op.stem()).is_some_and(|row| !row.variants.is_empty())
}

/// Indices of the largest numbers, which change places where rounding makes them equal.
fn may_tie(subject: &Subject) -> bool {
    matches!(subject.op.stem(), "argmax" | "top_k")
}

/// A result of an execution.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Output(usize),
    State(usize),
}

impl Place {
    pub(super) fn read(self, copy: usize, session: &Session, store: &mut Store) -> Result<Vec<f64>> {
        match self {
            Place::Output(i) => session.read_f64(&output(copy, i), store),
            Place::State(i) => store.read_f64(&input(copy, i)),
        }
    }
}

pub(super) fn results(subject: &Subject) -> impl Iterator<Item = (TensorType, Place)> {
    let outputs = subject.outputs.iter().enumerate().filter(|(_, (_, wanted))| *wanted).map(|(i, (ty, _))| (*ty, Place::Output(i)));
    let states = subject.inputs.iter().enumerate().filter(|(_, (_, role))| *role == Role::Updated).map(|(i, (ty, _))| (*ty, Place::State(i)));
    outputs.chain(states)
}

fn input(copy: usize, i: usize) -> String {
    format!("{copy}.in.{i}")
}

fn output(copy: usize, i: usize) -> String {
    format!("{copy}.out.{i}")
}

/// A session of so many copies of the operator, each on its own tensors, which hold these numbers.
pub(super) fn laid_down(subject: &Subject, numbers: &[Tensor], device: &Device, copies: usize) -> Result<(Store, Session)> {
    let graph = graph(subject, copies)?;
    let mut store = Store::new(device);
    let mut session = Session::new(graph, &mut store, Options::default())?;
    for (i, ((_, role), numbers)) in subject.inputs.iter().zip(numbers).enumerate() {
        for copy in 0..copies {
            match role {
                Role::Fixed(_) => {}
                Role::Given => session.write(&input(copy, i), numbers)?,
                _ => store.write(&input(copy, i), numbers)?,
            }
        }
    }
    Ok((store, session))
}

/// The numbers of all inputs; what a forward pass would have given is computed from the others.
pub(super) fn all_numbers(subject: &Subject) -> Result<Vec<Tensor>> {
    let mut numbers = (0..subject.inputs.len()).map(|i| numbers(subject, i)).collect::<Result<Vec<_>>>()?;
    let Some(forward) = row(subject.op.stem()).and_then(|row| (row.forward)(&*subject.op, subject.inputs.len())) else { return Ok(numbers) };
    let inputs = subject.inputs[forward.inputs.clone()].iter().map(|(ty, _)| (*ty, Role::Given)).collect::<Vec<_>>();
    let types = inputs.iter().map(|(ty, _)| *ty).collect::<Vec<_>>();
    let outputs = forward.op.infer(&types)?.into_iter().map(|ty| (ty, true)).collect();
    let first = Subject { op: forward.op, inputs, outputs, cost: Cost::default(), part: subject.part, uses: 1 };
    let mut store = Store::new(&Device::cpu(0)?);
    let mut session = Session::new(graph(&first, 1)?, &mut store, Options::default())?;
    numbers[forward.inputs].iter().enumerate().try_for_each(|(i, numbers)| session.write(&input(0, i), numbers))?;
    session.run(&mut store, segment())?;
    for (from, to) in forward.outputs {
        numbers[to] = session.read(&output(0, from), &mut store)?;
    }
    Ok(numbers)
}

fn graph(subject: &Subject, copies: usize) -> Result<Graph> {
    let mut b = Builder::new();
    for copy in 0..copies {
        let mut inputs = Vec::with_capacity(subject.inputs.len());
        for (i, (ty, role)) in subject.inputs.iter().enumerate() {
            let name = input(copy, i);
            inputs.push(match role {
                Role::Given => b.input(&name, *ty)?,
                Role::Weight => b.global_state(&name, *ty, StateKind::Parameter)?,
                Role::Updated => b.global_state(&name, *ty, StateKind::Moment)?,
                Role::Fixed(tensor) => b.constant(tensor.clone()),
            });
        }
        let outputs = b.apply_shared(subject.op.clone(), &inputs)?;
        for (i, value) in outputs.into_iter().enumerate().filter(|(i, _)| subject.outputs[*i].1) {
            b.output(&output(copy, i), value);
        }
    }
    Ok(b.finish())
}

/// What an input is filled with: as its operator says, else normal numbers, and ones for integers; rounded to what is stored.
fn numbers(subject: &Subject, i: usize) -> Result<Tensor> {
    let types: Vec<TensorType> = subject.inputs.iter().map(|(ty, _)| *ty).collect();
    let ty = types[i];
    let told = row(subject.op.stem()).and_then(|row| (row.fill)(&*subject.op, &types, i));
    let usual = if ty.dtype == DType::I32 { Fill::Ints(1, 2) } else { Fill::Normal(0.0, 1.0) };
    Draws::new(&format!("{} {i}", subject.op.label())).tensor(&ty, &told.unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use super::super::parts::{Part, model};
    use super::super::shapes::subjects;
    use super::*;

    /// So that what a bench fills tensors with is what operators can compute with.
    #[test]
    fn every_operator_of_a_model_can_be_checked() -> Result<()> {
        let config = model("escnet-tiny")?;
        let device = Device::cpu(1)?;
        for subject in subjects(&config, &Part::ALL, 2, DType::F32)? {
            let mut prepared = Prepared::new(&subject, &device, Memory::Hot)?;
            if let Check::Checked(worst) = prepared.check()? {
                assert!(worst.error.is_finite(), "{}", subject.op.label());
            }
            assert!(prepared.run()?.host > std::time::Duration::ZERO);
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_not_measured() -> Result<()> {
        let config = model("escnet-tiny")?;
        let softmax = subjects(&config, &Part::ALL, 2, DType::F32)?
            .into_iter()
            .find(|s| s.op.stem() == "softmax")
            .ok_or_else(|| Error::graph("tiny", "softmax", "none"))?;
        let mut prepared = Prepared::new(&softmax, &Device::cpu(1)?, Memory::Hot)?;
        let ty = softmax.inputs[0].0;
        prepared.session.write(&input(0, 0), &Tensor::from_f32(ty.shape, vec![0.0; ty.len()])?)?;
        assert!(prepared.check().is_err());
        Ok(())
    }

    #[test]
    fn copies_are_as_many_as_leave_caches_behind() -> Result<()> {
        let config = model("escnet-tiny")?;
        let subject = &subjects(&config, &Part::ALL[..1], 1, DType::F32)?[0];
        let device = Device::cpu(1)?;
        assert_eq!(
            (Prepared::new(subject, &device, Memory::Hot)?.copies(), Prepared::new(subject, &device, Memory::Cold)?.copies()),
            (1, MOST_COPIES)
        );
        Ok(())
    }
}
