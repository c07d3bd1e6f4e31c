//! Sum of a tensor and a smaller one repeated over its leading dimensions: `y[.., s] = x[.., s] + a[s]`.
//!
//! The shape of a is a suffix of x's: a table of positions [N, D] onto [B, N, D], a bias [D]. In place of x. Backward: `dx = dy`,
//! `da = sum of dy over the leading dimensions`, in a fixed order. Bound by memory.

use super::Row;
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_rows, sum_rows};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), ..Row::new("broadcast_add", cases) };

/// The forward pass. Inputs: x, a.
#[derive(Debug, Clone, Copy)]
pub struct BroadcastAdd;

/// The gradient of a: the sum of dy over its leading dimensions.
#[derive(Debug, Clone, Copy)]
pub struct BroadcastAddBackward {
    /// The shape of a.
    pub to: Shape,
}

/// `x + a`, where the shape of `a` is a suffix of that of `x`.
///
/// # Errors
/// [`crate::Error::Op`] where it is not.
pub fn broadcast_add(b: &mut Builder, x: Value, a: Value) -> Result<Value> {
    b.apply1(BroadcastAdd, &[x, a])
}

impl Op for BroadcastAdd {
    fn stem(&self) -> &'static str {
        "broadcast_add"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("broadcast_add");
        check.count(inputs, 2)?;
        let (x, a) = (&inputs[0], &inputs[1]);
        check.float("x", x)?;
        check.that(x.shape.ends_with(&a.shape) && x.dtype == a.dtype, "a", format!("{} and a suffix of {}", x.dtype, x.shape), a)?;
        Ok(vec![*x])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        forward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        forward(args)
    }
}

fn forward<T: Real>(args: &mut Args<T>) -> Result<()> {
    let a = args.floats(1)?;
    let width = a.len();
    let (x, y) = args.in_out(0, 0)?;
    for_rows(
        y,
        width,
        #[inline(always)]
        |row, y| {
            if let Some(x) = x {
                for ((y, &x), &a) in y.iter_mut().zip(&x[row * width..]).zip(a) {
                    *y = x + a;
                }
            } else {
                for (y, &a) in y.iter_mut().zip(a) {
                    *y += a;
                }
            }
        },
    );
    Ok(())
}

impl Op for BroadcastAddBackward {
    fn stem(&self) -> &'static str {
        "broadcast_add"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("broadcast_add");
        check.count(inputs, 1)?;
        check.float("dy", &inputs[0])?;
        check.that(inputs[0].shape.ends_with(&self.to), "dy", format!("a shape that ends with {}", self.to), inputs[0])?;
        Ok(vec![inputs[0].with_shape(self.to)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        backward_small(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        backward_small(args)
    }
}

fn backward_small<T: Real>(args: &mut Args<T>) -> Result<()> {
    /// Columns that make a task of their own where there are more of them than rows.
    const COLUMNS: usize = 1024;
    let (dy, da) = (args.floats(0)?, args.out(0)?);
    let width = da.len();
    let rows = dy.len() / width.max(1);
    if width < COLUMNS.max(rows) {
        sum_rows(
            da,
            rows,
            #[inline(always)]
            |row, sum| {
                for (s, &d) in sum.iter_mut().zip(&dy[row * width..]) {
                    *s += d;
                }
            },
        );
        return Ok(());
    }
    for_rows(
        da,
        COLUMNS,
        #[inline(always)]
        |block, sum| {
            sum.fill(T::ZERO);
            for row in 0..rows {
                for (s, &d) in sum.iter_mut().zip(&dy[row * width + block * COLUMNS..]) {
                    *s += d;
                }
            }
        },
    );
    Ok(())
}

fn backward(cx: &mut Backward) -> Result<()> {
    cx.op::<BroadcastAdd>()?;
    if let Some(dy) = cx.grad(0) {
        let a = cx.input(1);
        let to = cx.builder().shape(a);
        cx.set(0, dy);
        cx.set_by(1, BroadcastAddBackward { to }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |x: &[usize], a: &[usize]| {
        let case = Case::of(format!("{x:?}+{a:?}"), |b, v| broadcast_add(b, v[0], v[1])).normal("x", dims_of(x));
        case.float("a", dims_of(a), Fill::Normal(0.0, 2.0))
    };
    let in_place = Case::of("in place", |b, v| {
        let x = super::tanh::tanh(b, v[0])?;
        broadcast_add(b, x, v[1])
    });
    vec![
        case(&[1], &[1]),
        case(&[5, 1], &[1]),
        case(&[7], &[]),
        case(&[3, 5, 7], &[7]),
        case(&[3, 5, 7], &[5, 7]),
        case(&[3, 5, 7], &[3, 5, 7]),
        case(&[601, 33], &[33]),
        case(&[3, 37, 67], &[37, 67]),
        in_place.normal("x", [3, 5, 7]).normal("a", [5, 7]),
        case(&[8, 577, 768], &[577, 768]).large(),
    ]
}
