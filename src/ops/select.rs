//! One of two tensors, element by element: `y = c != 0 ? a : b`.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("select");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("select");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, fill: |_, _, i| (i == 0).then_some(Fill::Ints(0, 2)), ..Row::new("select", head!("select.rs"), cases) };

/// The choice. Inputs: condition i32, a, b, all of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Select;

/// The gradients: `da = c != 0 ? dy : 0` and `db = c != 0 ? 0 : dy`. Inputs: condition, dy.
#[derive(Debug, Clone, Copy)]
pub struct SelectBackward;

/// `a` where `condition` is not 0, else `otherwise`.
///
/// # Errors
/// [`crate::Error::Op`] where the shapes differ.
pub fn select(b: &mut Builder, condition: Value, a: Value, otherwise: Value) -> Result<Value> {
    b.apply1(Select, &[condition, a, otherwise])
}

const BLOCK: usize = 4096;

/// Says which gradients are wanted.
#[cfg(feature = "wgpu")]
fn with_wanted(dispatch: Dispatch, [a, b]: [bool; 2]) -> Dispatch {
    dispatch.constant("WANT_A", a).constant("WANT_B", b)
}

impl Op for Select {
    fn stem(&self) -> &'static str {
        "select"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("select");
        check.count(inputs, 3)?;
        check.int("condition", &inputs[0])?;
        check.float("a", &inputs[1])?;
        check.same("b", &inputs[2], &inputs[1])?;
        check.shape("condition", &inputs[0], &inputs[1].shape)?;
        Ok(vec![inputs[1]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        forward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        forward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let n = launch.ty(1).len();
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Input(2), cuda::Operand::Output(0)];
        launch.add(cuda::Dispatch::new(&KERNELS, format!("select_forward_{}", launch.dtype())).tensors(tensors).count(n).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Input(0), Operand::Input(1), Operand::Input(2), Operand::Output(0)];
        launch.in_pieces(launch.ty(1).len(), &operands, |launch| {
            let n = launch.ty(1).len();
            launch.add(with_wanted(Dispatch::new(SHADER, "select_forward_f32", operands), [false; 2]).size(n).over(n));
        });
        Ok(())
    }
}

fn forward<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (condition, a, b, y) = (args.ints(0)?, args.floats(1)?, args.floats(2)?, args.out(0)?);
    for_rows(y, BLOCK, |block, y| {
        for (i, y) in (block * BLOCK..).zip(y) {
            *y = if condition[i] != 0 { a[i] } else { b[i] };
        }
    });
    Ok(())
}

impl Op for SelectBackward {
    fn stem(&self) -> &'static str {
        "select"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("select");
        check.count(inputs, 2)?;
        check.int("condition", &inputs[0])?;
        check.shape("condition", &inputs[0], &inputs[1].shape)?;
        Ok(vec![inputs[1], inputs[1]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        split(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        split(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let n = launch.ty(1).len();
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0), cuda::Operand::Output(1)];
        launch.add(cuda::Dispatch::new(&KERNELS, format!("select_backward_{}", launch.dtype())).tensors(tensors).count(n).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let wanted = [0, 1].map(|output| launch.out_ty(output).is_some());
        let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0), Operand::Output(1)];
        launch.in_pieces(launch.ty(1).len(), &operands, |launch| {
            let n = launch.ty(1).len();
            launch.add(with_wanted(Dispatch::new(SHADER, "select_backward_f32", operands), wanted).size(n).over(n));
        });
        Ok(())
    }
}

fn split<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (condition, dy) = (args.ints(0)?, args.floats(1)?);
    for (output, wanted) in [(0, true), (1, false)] {
        if let Some(d) = args.optional_out(output) {
            for_rows(d, BLOCK, |block, d| {
                for (i, d) in (block * BLOCK..).zip(d) {
                    *d = if (condition[i] != 0) == wanted { dy[i] } else { T::ZERO };
                }
            });
        }
    }
    Ok(())
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let condition = cx.input(0);
    let grads = cx.builder().apply(SelectBackward, &[condition, dy])?;
    cx.set(1, grads[0]);
    cx.set(2, grads[1]);
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |n: usize| {
        Case::of(format!("{n}"), |b, v| select(b, v[0], v[1], v[2])).ints("condition", [n], Fill::Ints(-1, 2)).normal("a", [n]).normal("b", [n])
    };
    let of = |name: &str| Case::of(name, |b, v| select(b, v[0], v[1], v[2])).ints("condition", [37], Fill::Ints(-1, 2));
    let normal = Fill::Normal(0.0, 1.0);
    vec![
        case(0),
        case(1),
        case(37),
        case(9001),
        of("gradient of a").normal("a", [37]).fixed("b", [37], normal.clone()),
        of("gradient of b").fixed("a", [37], normal).normal("b", [37]),
    ]
}
