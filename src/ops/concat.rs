//! Tensors one behind the other along one dimension: `y = [x_0, x_1, ..]`.
//!
//! All extents but that one, and the element type, are the same; integers too. Backward: slices of dy. Pure data movement.

use super::Row;
use super::slice::{Slice, inner, with_extent};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_rows};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), ..Row::new("concat", cases) };

/// The forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    /// The dimension that grows.
    pub axis: usize,
}

/// The tensors one behind the other along `axis`.
///
/// # Errors
/// [`crate::Error::Op`] where there are none, or the other extents differ.
pub fn concat(b: &mut Builder, parts: &[Value], axis: usize) -> Result<Value> {
    b.apply1(Concat { axis }, parts)
}

impl Op for Concat {
    fn stem(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("concat");
        check.that(!inputs.is_empty(), "inputs", "at least one", 0)?;
        let first = &inputs[0];
        check.that(first.shape.get(self.axis).is_some(), "x_0", format!("a dimension {}", self.axis), first)?;
        let mut extent = 0;
        for (i, x) in inputs.iter().enumerate() {
            let name = format!("x_{i}");
            check.rank(&name, x, first.shape.iter().count())?;
            check.same(&name, &x.with_shape(with_extent(&x.shape, self.axis, 0)), &first.with_shape(with_extent(&first.shape, self.axis, 0)))?;
            extent += x.shape[self.axis];
        }
        Ok(vec![first.with_shape(with_extent(&first.shape, self.axis, extent))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

impl Concat {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let widths: Vec<usize> = (0..args.count()).map(|i| args.shape(i)[self.axis] * inner(args.shape(i), self.axis)).collect();
        if args.ints(0).is_ok() {
            let parts = (0..args.count()).map(|i| args.ints(i)).collect::<Result<Vec<_>>>()?;
            join(args.out_ints(0)?, &parts, &widths);
        } else {
            let parts = (0..args.count()).map(|i| args.floats(i)).collect::<Result<Vec<_>>>()?;
            join(args.out(0)?, &parts, &widths);
        }
        Ok(())
    }
}

/// Each row of `y` is a row of each part.
fn join<E: Copy + Send + Sync>(y: &mut [E], parts: &[&[E]], widths: &[usize]) {
    for_rows(y, widths.iter().sum(), |row, mut y| {
        for (part, &width) in parts.iter().zip(widths) {
            let (to, rest) = y.split_at_mut(width);
            to.copy_from_slice(&part[row * width..][..width]);
            y = rest;
        }
    });
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Concat { axis } = cx.op()?;
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let mut start = 0;
    for i in 0..cx.input_count() {
        let x = cx.input(i);
        let len = cx.builder().shape(x)[axis];
        cx.set_by(i, Slice { axis, start, len }, &[dy])?;
        start += len;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |axis: usize, parts: &[&[usize]]| {
        const NAMES: [&str; 3] = ["x", "y", "z"];
        let case = Case::of(format!("{axis}_{parts:?}"), move |b, v| concat(b, v, axis));
        parts.iter().zip(NAMES).fold(case, |case, (dims, name)| case.normal(name, dims_of(dims)))
    };
    let twice = Case::of("x, x", |b, v| concat(b, &[v[0], v[0]], 1)).normal("x", [3, 5]);
    let ints = Case::of("ints", |b, v| concat(b, v, 1)).ints("x", [3, 5], Fill::Ints(-9, 9)).ints("y", [3, 2], Fill::PrefixMask);
    vec![
        case(0, &[&[1]]),
        case(0, &[&[3], &[5], &[1]]),
        case(0, &[&[2, 3], &[1, 3]]),
        case(1, &[&[2, 1, 7], &[2, 5, 7], &[2, 3, 7]]),
        case(2, &[&[2, 3, 1], &[2, 3, 4]]),
        case(1, &[&[3, 101, 67], &[3, 300, 67]]),
        twice,
        ints,
        case(1, &[&[8, 49, 768], &[8, 40, 768]]).large(),
    ]
}
