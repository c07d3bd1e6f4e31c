//! The same elements under another shape: a view, never executed.

use super::support::case::Case;
use super::{Kernel, Row};
use crate::device::cpu::Args;
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Fallback(&[]), cuda: Kernel::Fallback(&[]), ..Row::new("reshape", head!("reshape.rs"), cases) };

/// A view under this shape.
#[derive(Debug, Clone, Copy)]
pub struct Reshape {
    /// The extents that come out.
    pub to: Shape,
}

/// `x` under another shape of as many elements.
///
/// # Errors
/// [`crate::Error::Op`] where the counts differ.
pub fn reshape(b: &mut Builder, x: Value, to: impl Into<Shape>) -> Result<Value> {
    let to = to.into();
    if b.shape(x) == to { Ok(x) } else { b.apply1(Reshape { to }, &[x]) }
}

impl Op for Reshape {
    fn stem(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("reshape");
        check.count(inputs, 1)?;
        check.that(inputs[0].len() == self.to.len(), "x", format!("as many elements as {}", self.to), inputs[0])?;
        Ok(vec![inputs[0].with_shape(self.to)])
    }

    fn cost(&self, _: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::default()
    }

    fn is_view(&self) -> bool {
        true
    }

    fn reference(&self, _: &mut Args<f64>) -> Result<()> {
        Ok(())
    }

    fn cpu(&self, _: &mut Args<f32>) -> Result<()> {
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        let x = cx.input(0);
        let to = cx.builder().shape(x);
        cx.set_by(0, Reshape { to }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    // A relu on either side: a view of a slot, read again after the view's reader may have computed in place.
    let through = |b: &mut Builder, v: &[Value]| {
        let x = super::relu::relu(b, v[0])?;
        let y = reshape(b, x, [15, 2])?;
        let y = super::tanh::tanh(b, y)?;
        let x = reshape(b, x, [15, 2])?;
        super::add::add(b, x, y)
    };
    vec![
        Case::of("view of a slot", through).float("x", [2, 3, 5], super::support::case::Fill::Distinct),
        Case::of("view of an input", |b, v| reshape(b, v[0], [6])).normal("x", [2, 3]),
    ]
}
