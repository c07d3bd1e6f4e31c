//! Random graphs of real operators.

use escnet::TensorType;
use escnet::graph::{Builder, Graph, Segment, StateKind, Value};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::reduce::{Axes, Reduction, reduce};
use escnet::ops::{add::add, assign::assign, gelu::gelu, mul::mul, relu::relu, reshape::reshape, scale::scale, tanh::tanh, transpose::transpose};
use proptest::prelude::*;

/// One node to be: which operator, and which of the values so far it reads.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    operator: u8,
    first: usize,
    second: usize,
    named: bool,
}

/// Rows and columns of every matrix, one way or the other.
const SIDES: [usize; 2] = [3, 5];

/// Up to 40 nodes, of which a few give results.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..12u8, 0..1000usize, 0..1000usize, 0..8u8);
    let step = step.prop_map(|(operator, first, second, named)| Step { operator, first, second, named: named == 0 });
    prop::collection::vec(step, 1..40)
}

/// The graph of these steps. All of them name their results if `all`; else those that say so, and the last.
pub fn build(steps: &[Step], all: bool) -> Graph {
    let mut b = Builder::new();
    let [rows, cols] = SIDES;
    let mut values = vec![b.input("x", TensorType::f32([rows, cols])).unwrap()];
    values.push(b.parameter("p", [rows, cols]).unwrap());
    values.push(b.state("s", TensorType::f32([cols, rows]), StateKind::Cache).unwrap());
    let state = values[2];
    let apply_from = steps.len() * 3 / 4;
    for (n, step) in steps.iter().enumerate() {
        if n == apply_from {
            b.set_segment(Segment::Apply);
        }
        let x = values[step.first % values.len()];
        let alike = |b: &Builder, to: Value| {
            let same: Vec<Value> = values.iter().copied().filter(|&v| b.ty(v) == b.ty(to)).collect();
            same[step.second % same.len()]
        };
        let made = match step.operator {
            0 => relu(&mut b, x),
            1 => gelu(&mut b, x),
            2 => tanh(&mut b, x),
            3 => scale(&mut b, x, 0.5),
            4 | 5 => {
                let y = alike(&b, x);
                add(&mut b, x, y)
            }
            6 => {
                let y = alike(&b, x);
                mul(&mut b, x, y)
            }
            7 => {
                let [r, c] = [b.shape(x)[0], b.shape(x)[1]];
                reshape(&mut b, x, [c, r])
            }
            8 => transpose(&mut b, x, &[1, 0]),
            9 => {
                // x w^T and back to the shape of one side: [r, c] by [c', c].
                let w = alike(&b, x);
                linear(&mut b, x, w, None, Activation::Gelu).and_then(|square| {
                    let sum = reduce(&mut b, square, Reduction::Mean, Axes::Leading(1))?;
                    let [r, c] = [b.shape(x)[0], b.shape(x)[1]];
                    let row = reshape(&mut b, sum, [1, r])?;
                    let column = transpose(&mut b, x, &[1, 0])?;
                    linear(&mut b, column, row, None, Activation::None).and_then(|y| {
                        let y = reshape(&mut b, y, [c])?;
                        let y = reshape(&mut b, y, [c, 1])?;
                        let ones = reduce(&mut b, x, Reduction::Mean, Axes::Trailing(1))?;
                        let ones = reshape(&mut b, ones, [r, 1])?;
                        linear(&mut b, y, ones, None, Activation::None)
                    })
                })
            }
            10 => {
                // Not the state itself under another name.
                let value = alike(&b, state);
                scale(&mut b, value, -1.0).and_then(|value| assign(&mut b, state, value)).map(|()| x)
            }
            _ => relu(&mut b, x),
        }
        .unwrap();
        if step.named || all || n + 1 == steps.len() {
            b.output(&format!("y{n}"), made);
        }
        values.push(made);
    }
    b.finish()
}
