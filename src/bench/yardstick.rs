//! What an operator's results are compared with before it is timed: its plain f64 code on the same numbers, as long as that does not take minutes.

use super::shapes::{Role, Subject};
use super::subject::{all_numbers, is_product, laid_down, results, segment};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::{Data, Shape, Tensor, TensorType};
use std::fmt;

/// The most FLOPs that the plain f64 code is asked to do;
pub(super) const CHECKABLE: u64 = 8_000_000_000;
/// but for a single picture of a batch that has more of them: so many times as many.
const OF_ONE: u64 = 4;

/// Numbers that results should have, in the order of [`results`], or as many of the first of them; none for one that nobody looks at.
pub(super) type Wanted = Vec<Option<Vec<f64>>>;

/// Where such numbers are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yardstick {
    /// The plain f64 code.
    F64,
    /// The same; of the results only the first so many rows of all.
    Rows(usize, usize),
    /// The CPU's own code, in the type that is computed in.
    Cpu,
}

impl fmt::Display for Yardstick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Yardstick::F64 => f.write_str("f64"),
            Yardstick::Rows(first, of) => write!(f, "f64 of {first}/{of}"),
            Yardstick::Cpu => f.write_str("cpu"),
        }
    }
}

/// Numbers to compare with.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub numbers: Wanted,
    pub by: Yardstick,
}

/// What a device's results for a subject are compared with: f64; beyond [`CHECKABLE`] a GPU's with the CPU's, and the CPU's with f64 on the first rows, where rows are
/// computed each by itself; else nothing.
pub(super) fn reference(subject: &Subject, device: &Device) -> Result<Option<Reference>> {
    within(CHECKABLE, subject, device)
}

fn within(most: u64, subject: &Subject, device: &Device) -> Result<Option<Reference>> {
    let numbers = all_numbers(subject)?;
    if subject.cost.flops <= most {
        return run(subject, &numbers, &Device::reference()?, Yardstick::F64).map(Some);
    }
    if device.name() != "cpu" {
        return run(subject, &numbers, &Device::cpu(0)?, Yardstick::Cpu).map(Some);
    }
    let Some(Cut { subject: fewer, along, first, of }) = cut(subject, most) else { return Ok(None) };
    let numbers = numbers.iter().zip(along).map(|(tensor, dimension)| dimension.map_or(Ok(tensor.clone()), |d| beginning(tensor, d, first)));
    let found = run(&fewer, &numbers.collect::<Result<Vec<_>>>()?, &Device::reference()?, Yardstick::Rows(first, of))?;
    // Results that are no rows, such as sums over all of them, are not looked at.
    let mut found = found.numbers.into_iter();
    let wanted = subject.outputs.iter().zip(&fewer.outputs).filter(|((_, wanted), _)| *wanted);
    let numbers = wanted.map(|(_, (_, is_row))| if *is_row { found.next().flatten() } else { None }).collect();
    Ok(Some(Reference { numbers, by: Yardstick::Rows(first, of) }))
}

fn run(subject: &Subject, numbers: &[Tensor], device: &Device, by: Yardstick) -> Result<Reference> {
    let (mut store, mut session) = laid_down(subject, numbers, device, 1)?;
    session.run(&mut store, segment())?;
    let numbers = results(subject).map(|(_, of_copy)| of_copy.read(0, &session, &mut store).map(Some)).collect::<Result<_>>()?;
    Ok(Reference { numbers, by })
}

/// A subject with less to compute.
struct Cut {
    /// It; wanted are those of its outputs that are the first rows of the whole one's.
    subject: Subject,
    /// The dimension along which each input is cut.
    along: Vec<Option<usize>>,
    first: usize,
    of: usize,
}

/// Of what is made of products, which computes pictures of a batch, rows, or filters each by itself. Which inputs are cut for that, the operator's shape rule tells: of
/// each result the same must be left along its first dimension, and all else be as it was.
fn cut(subject: &Subject, most: u64) -> Option<Cut> {
    if !is_product(&*subject.op) || subject.inputs.iter().any(|(_, role)| *role == Role::Updated) {
        return None;
    }
    let shapes: Vec<Shape> = subject.inputs.iter().map(|(ty, _)| ty.shape).collect();
    let batch = *shapes.first()?.first()?;
    let only = |i: usize, dimension: usize| (0..shapes.len()).map(|j| (i == j).then_some(dimension)).collect::<Vec<_>>();
    let of_batch = shapes.iter().map(|shape| (shape.first() == Some(&batch)).then_some(0)).collect();
    let columns = (0..shapes.len()).filter(|&i| shapes[i].rank() > 0).map(|i| (only(i, shapes[i].rank() - 1), shapes[i].rows_and_width().1));
    [(of_batch, batch), (only(0, 0), batch)].into_iter().chain(columns).find_map(|(along, of)| cut_along(subject, along, of, most))
}

fn cut_along(subject: &Subject, along: Vec<Option<usize>>, of: usize, most: u64) -> Option<Cut> {
    let first = ((of as f64 * most as f64 / subject.cost.flops as f64) as usize).max(1);
    if first >= of {
        return None;
    }
    let less = |ty: &TensorType, dimension: usize| Some(ty.with_shape(shortened(&ty.shape, dimension, first)?));
    let mut inputs = Vec::new();
    for ((ty, role), dimension) in subject.inputs.iter().zip(&along) {
        inputs.push(match (dimension, role) {
            (None, role) => (*ty, role.clone()),
            (Some(_), Role::Fixed(_)) => return None,
            (Some(dimension), role) => (less(ty, *dimension)?, role.clone()),
        });
    }
    let types: Vec<TensorType> = inputs.iter().map(|(ty, _)| *ty).collect();
    let found = subject.op.infer(&types).ok()?;
    let cost = subject.op.cost(&types, &found);
    let is_row = |whole: &TensorType, ty: &TensorType| whole.shape.first() == Some(&of) && less(whole, 0) == Some(*ty);
    let is_known = |whole: &TensorType, ty: &TensorType| whole == ty || is_row(whole, ty);
    let both = || subject.outputs.iter().zip(&found);
    let is_sound = found.len() == subject.outputs.len() && both().all(|((whole, _), ty)| is_known(whole, ty)) && cost.flops <= OF_ONE * most;
    let outputs: Vec<(TensorType, bool)> = both().map(|((whole, wanted), ty)| (*ty, *wanted && is_row(whole, ty))).collect();
    let is_any = outputs.iter().any(|(_, wanted)| *wanted);
    (is_sound && is_any).then(|| Cut { subject: Subject { inputs, outputs, cost, ..subject.clone() }, along, first, of })
}

fn shortened(shape: &Shape, dimension: usize, first: usize) -> Option<Shape> {
    let mut extents = shape.to_vec();
    *extents.get_mut(dimension)? = first;
    Shape::new(&extents).ok()
}

/// The first so many along a dimension.
fn beginning(tensor: &Tensor, dimension: usize, first: usize) -> Result<Tensor> {
    fn of<T: Copy>(v: &[T], each: usize, kept: usize) -> Vec<T> {
        v.chunks(each.max(1)).flat_map(|chunk| &chunk[..kept]).copied().collect()
    }
    let shape = tensor.shape();
    let inner: usize = shape[dimension + 1..].iter().product();
    let (each, kept) = (shape[dimension] * inner, first * inner);
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(of(v, each, kept)),
        Data::F16(v) => Data::F16(of(v, each, kept)),
        Data::BF16(v) => Data::BF16(of(v, each, kept)),
        Data::I32(v) => Data::I32(of(v, each, kept)),
    };
    Tensor::new(shortened(&shape, dimension, first).unwrap_or(shape), data)
}

#[cfg(test)]
mod tests {
    use super::super::shapes::listed;
    use super::super::subject::{Check, Memory, Prepared};
    use super::*;
    use crate::error::Error;
    use crate::tensor::DType;

    /// Products of all kinds, forward and backward, where batches and channels are alike too.
    fn products() -> Result<Vec<Subject>> {
        let text = "matmul = [{ m = 12, n = 5, k = 7 }, { m = 8, n = 8, k = 8 }, { batch = 6, m = 3, n = 4, k = 5 }]
linear = [{ rows = 12, in = 7, out = 5, bias = true }, { rows = 8, in = 8, out = 8, activation = \"gelu\" }]
attention = [{ batch = 6, tokens = 5, heads = 2, size = 4, causal = true }]
conv2d = [{ batch = 8, height = 6, width = 5, channels = 8, filters = 8, kernel = 3, stride = 2 }]";
        let path = std::env::temp_dir().join(format!("escnet-products-{}.toml", std::process::id()));
        std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
        let found = listed(&path.to_string_lossy(), DType::F32)?;
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        Ok(found.into_iter().filter(|subject| is_product(&*subject.op)).collect())
    }

    /// On the CPU a part of the f64 code's results stands for the whole: it must be the very same.
    #[test]
    fn first_rows_are_those_of_the_whole() -> Result<()> {
        let cpu = Device::cpu(1)?;
        let mut told = std::collections::BTreeSet::new();
        for subject in products()? {
            let name = format!("{} {}", subject.op.label(), subject.shape());
            let whole = within(u64::MAX, &subject, &cpu)?.ok_or_else(|| Error::graph(&name, "f64", "none"))?;
            let part = within(subject.cost.flops / 3, &subject, &cpu)?.ok_or_else(|| Error::graph(&name, "some rows", "none"))?;
            assert!(whole.by == Yardstick::F64 && matches!(part.by, Yardstick::Rows(first, of) if first < of), "{name}: {}", part.by);
            assert!(part.numbers.iter().any(Option::is_some), "{name}");
            for (part, whole) in part.numbers.iter().zip(&whole.numbers).filter_map(|(part, whole)| part.as_ref().zip(whole.as_ref())) {
                assert!(part.len() < whole.len() && *part == whole[..part.len()], "{name}");
            }
            told.insert(subject.op.label());
        }
        for label in
            ["matmul", "linear", "linear.backward_input", "linear.backward_weight", "conv2d", "conv2d.backward_input", "conv2d.backward_weight"]
        {
            assert!(told.contains(label), "{label} of {told:?}");
        }
        assert!(told.contains("attention") && told.contains("attention.backward"), "{told:?}");
        Ok(())
    }

    /// What is too large for f64 is not left unchecked, on neither.
    #[test]
    fn what_is_wrong_in_its_first_rows_is_seen() -> Result<()> {
        for mut subject in products()? {
            subject.cost.flops = 3 * CHECKABLE;
            let mut prepared = Prepared::new(&subject, &Device::cpu(1)?, Memory::Hot)?;
            assert!(matches!(prepared.check()?, Check::Checked(worst) if worst.error < 1e-5), "{}", subject.op.label());
            let elsewhere = reference(&subject, &Device::reference()?)?.map(|reference| reference.by);
            assert_eq!(elsewhere, Some(Yardstick::Cpu), "any device but the CPU");
            let mut wrong = reference(&subject, &Device::cpu(1)?)?.ok_or_else(|| Error::graph("product", "some rows", "none"))?.numbers;
            wrong.iter_mut().flatten().for_each(|numbers| numbers[0] += 1.0);
            assert!(prepared.compared(&wrong).is_err(), "{}", subject.op.label());
        }
        Ok(())
    }

    /// A norm takes all rows together: no part of them tells what it should be.
    #[test]
    fn what_is_no_product_is_not_cut() -> Result<()> {
        let config = super::super::parts::model("escnet-tiny")?;
        let all = super::super::shapes::subjects(&config, &[super::super::parts::Part::TrainClassify], 2, DType::F32)?;
        for subject in all.iter().filter(|subject| ["batchnorm", "adamw"].contains(&subject.op.stem())) {
            assert!(cut(subject, subject.cost.flops / 2).is_none(), "{}", subject.op.label());
        }
        Ok(())
    }
}
