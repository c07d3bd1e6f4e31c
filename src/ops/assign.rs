//! Puts a value into state: always, or where a flag on the device is not 0, such as statistics that are kept only if the step is.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("assign");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("assign");

/// The row of the table.
pub const ROW: Row = Row { wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("assign", head!("assign.rs"), cases) };

/// Inputs: state, a value of the same shape, floating point or i32 as the state is, and i32\[1\] with `conditional`. Updates the state.
#[derive(Debug, Clone, Copy)]
pub struct Assign {
    /// There is a flag; where it is 0 nothing changes.
    pub conditional: bool,
}

/// `state <- value`.
///
/// # Errors
/// [`crate::Error::Op`] where the types differ, [`crate::Error::Graph`] where `state` is none.
pub fn assign(b: &mut Builder, state: Value, value: Value) -> Result<()> {
    b.apply(Assign { conditional: false }, &[state, value]).map(drop)
}

/// `state <- value` where `flag` i32\[1\] is not 0.
///
/// # Errors
/// As [`assign`].
pub fn assign_if(b: &mut Builder, state: Value, value: Value, flag: Value) -> Result<()> {
    b.apply(Assign { conditional: true }, &[state, value, flag]).map(drop)
}

const BLOCK: usize = 4096;

impl Assign {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        if self.conditional && args.ints(2)?[0] == 0 {
            return Ok(());
        }
        match args.ints(1) {
            Ok(value) => copy(args.state_ints(0)?, value),
            Err(_) => copy(args.state(0)?, args.floats(1)?),
        }
        Ok(())
    }
}

fn copy<E: Copy + Send + Sync>(to: &mut [E], from: &[E]) {
    for_rows(to, BLOCK, |block, to| to.copy_from_slice(&from[block * BLOCK..][..to.len()]));
}

impl Op for Assign {
    fn stem(&self) -> &'static str {
        "assign"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("assign");
        check.count(inputs, if self.conditional { 3 } else { 2 })?;
        let (state, value) = (&inputs[0], &inputs[1]);
        check.that(value.shape == state.shape && value.dtype.is_float() == state.dtype.is_float(), "value", state, value)?;
        if self.conditional {
            check.int("flag", &inputs[2])?;
            check.shape("flag", &inputs[2], &[1])?;
        }
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(0, &inputs[1..], &inputs[..1])
    }

    fn updates(&self) -> Vec<usize> {
        vec![0]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (n, word) = (launch.ty(0).len(), launch.word(launch.ty(0)));
        let flag = if self.conditional { cuda::Operand::Input(2) } else { cuda::Operand::Nothing };
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), flag];
        launch.add(cuda::Dispatch::new(&KERNELS, format!("assign_forward_{word}")).tensors(tensors).count(n).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let flag = if self.conditional { Operand::Input(2) } else { Operand::Nothing };
        launch.in_pieces(launch.ty(0).len(), &[Operand::Update(0), Operand::Input(1)], |launch| {
            let n = launch.ty(0).len();
            let dispatch = Dispatch::new(SHADER, "assign_forward_u32", [Operand::Update(0), Operand::Input(1), flag]);
            launch.add(dispatch.constant("CONDITIONAL", self.conditional).size(n).over(n));
        });
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let floats = |name: &str, n: usize, flag: Option<i32>| {
        let case = Case::new(name, move |b, v| {
            match v.get(2) {
                Some(&flag) => assign_if(b, v[0], v[1], flag)?,
                None => assign(b, v[0], v[1])?,
            }
            Ok(Vec::new())
        });
        let case = case.state("state", TensorType::f32([n]), Fill::Normal(0.0, 1.0)).fixed("value", [n], Fill::Normal(0.0, 1.0));
        match flag {
            Some(flag) => case.ints("flag", [1], Fill::Exact(vec![flag])),
            None => case,
        }
    };
    let known = |name: &str, flag: i32, want: f64| {
        Case::new(name, |b, v| assign_if(b, v[0], v[1], v[2]).map(|()| Vec::new()))
            .state("state", TensorType::f32([1]), Fill::Values(vec![3.0]))
            .fixed("value", [1], Fill::Values(vec![-0.5]))
            .ints("flag", [1], Fill::Exact(vec![flag]))
            .expects("state", vec![want])
    };
    vec![
        floats("none", 0, None),
        floats("one", 1, None),
        floats("9001", 9001, None),
        floats("kept", 17, Some(0)),
        floats("committed", 17, Some(1)),
        floats("committed by any number", 17, Some(-3)),
        Case::new("integers", |b, v| assign(b, v[0], v[1]).map(|()| Vec::new()))
            .state("state", TensorType::i32([5]), Fill::Ints(0, 9))
            .ints("value", [5], Fill::Exact(vec![10, 11, 12, 13, 14]))
            .expects("state", vec![10.0, 11.0, 12.0, 13.0, 14.0]),
        known("known kept", 0, 3.0),
        known("known committed", 1, -0.5),
        floats("3072x768", 3072 * 768, None).large(),
    ]
}
