//! Reorders dimensions: dimension `i` of the result is dimension `order[i]` of the input.

use super::Row;
use super::support::case::Case;
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{MAX_RANK, TensorType};
use rayon::prelude::*;

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), ..Row::new("transpose", cases) };

/// A permutation of the dimensions.
#[derive(Debug, Clone)]
pub struct Transpose {
    /// For each dimension of the result, which of the input's it is.
    pub order: Vec<usize>,
}

/// `x` with its dimensions reordered.
///
/// # Errors
/// [`crate::Error::Op`] where `order` is no permutation of the dimensions.
pub fn transpose(b: &mut Builder, x: Value, order: &[usize]) -> Result<Value> {
    b.apply1(Transpose { order: order.to_vec() }, &[x])
}

impl Op for Transpose {
    fn stem(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("transpose");
        check.count(inputs, 1)?;
        let shape = inputs[0].shape;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        check.that(sorted.iter().copied().eq(0..shape.iter().count()), "x", format!("{} dimensions, each once", self.order.len()), inputs[0])?;
        Ok(vec![inputs[0].with_shape(dims_of(&self.order.iter().map(|&i| shape[i]).collect::<Vec<_>>()))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args, &self.order)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args, &self.order)
    }
}

fn run<T: Real>(args: &mut Args<T>, order: &[usize]) -> Result<()> {
    let shape = args.shape(0);
    match args.ints(0) {
        Ok(x) => permute(x, args.out_ints(0)?, shape, order),
        Err(_) => permute(args.floats(0)?, args.out(0)?, shape, order),
    }
    Ok(())
}

/// Writes `y` in order, in parallel over its outermost dimension, reading `x` by strides.
fn permute<E: Copy + Send + Sync>(x: &[E], y: &mut [E], shape: &[usize], order: &[usize]) {
    let mut stride = [1; MAX_RANK];
    for d in (1..shape.len()).rev() {
        stride[d - 1] = stride[d] * shape[d];
    }
    let extent: Vec<usize> = order.iter().map(|&d| shape[d]).collect();
    let jump: Vec<usize> = order.iter().map(|&d| stride[d]).collect();
    let (Some(&outer), Some(&inner), Some(&step)) = (extent.first(), extent.last(), jump.last()) else {
        y.copy_from_slice(x);
        return;
    };
    let block = y.len() / outer.max(1);
    if block == 0 {
        return;
    }
    y.par_chunks_mut(block).enumerate().for_each(|(o, y)| {
        let middle = 1..extent.len().max(2) - 1;
        let width = if extent.len() == 1 { 1 } else { inner };
        for (r, row) in y.chunks_mut(width).enumerate() {
            let mut at = o * jump[0];
            let mut rest = r;
            for d in middle.clone().rev() {
                at += rest % extent[d] * jump[d];
                rest /= extent[d];
            }
            row.iter_mut().enumerate().for_each(|(i, y)| *y = x[at + i * step]);
        }
    });
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: Transpose = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let mut order = vec![0; op.order.len()];
        op.order.iter().enumerate().for_each(|(to, &from)| order[from] = to);
        cx.set_by(0, Transpose { order }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &'static [usize], order: &'static [usize]| {
        Case::of(format!("{dims:?}->{order:?}"), move |b, v| transpose(b, v[0], order)).normal("x", dims_of(dims))
    };
    vec![
        case(&[5], &[0]),
        case(&[3, 7], &[1, 0]),
        case(&[2, 3, 5, 7], &[0, 2, 3, 1]),
        case(&[2, 3, 5, 7], &[0, 3, 1, 2]),
        case(&[4, 1, 3], &[2, 0, 1]),
        Case::of("ints", |b, v| transpose(b, v[0], &[1, 0])).ints("x", [3, 5], super::support::case::Fill::Ints(-9, 9)),
        case(&[8, 3, 224, 224], &[0, 2, 3, 1]).large(),
    ]
}
