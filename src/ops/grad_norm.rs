//! The norm of all gradients together, `norm = sqrt(sum over tensors and elements of g^2)`, and whether all of them are finite.
//!
//! One node over any number of tensors. On the CPU squares are added in f64, in fixed blocks whose sums are added in order, so that no
//! finite f32 overflows and any number of threads gives the same bits.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, sum_wide};
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("grad_norm");

/// Gradients of a launch.
#[cfg(feature = "wgpu")]
const GRADIENTS: usize = 7;

/// Elements of a workgroup.
#[cfg(feature = "wgpu")]
const BLOCK: usize = 8192;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, ..Row::new("grad_norm", cases) };

/// Inputs: gradients of any shapes. Outputs: the norm f32[]; i32\[1\], 0 where an element is NaN or infinite, else 1.
#[derive(Debug, Clone, Copy)]
pub struct GradNorm;

/// (norm f32[], finite i32\[1\]) of all `grads`.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn grad_norm(b: &mut Builder, grads: &[Value]) -> Result<(Value, Value)> {
    let outputs = b.apply(GradNorm, grads)?;
    Ok((outputs[0], outputs[1]))
}

impl GradNorm {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let grads = (0..args.count()).map(|i| args.floats(i)).collect::<Result<Vec<_>>>()?;
        let squares = |g: &[T]| {
            sum_wide(
                g,
                #[inline(always)]
                |x| x * x,
            )
        };
        let squares: Vec<f64> = grads.into_par_iter().map(squares).collect();
        let sum: f64 = squares.into_iter().sum();
        args.out(0)?[0] = T::of(sum.sqrt());
        args.out_ints(1)?[0] = i32::from(sum.is_finite());
        Ok(())
    }
}

impl Op for GradNorm {
    fn stem(&self) -> &'static str {
        "grad_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("grad_norm");
        inputs.iter().try_for_each(|ty| check.float("gradient", ty))?;
        Ok(vec![TensorType::f32([]), TensorType::i32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs.iter().map(|ty| 2 * ty.len() as u64).sum(), inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let counts: Vec<usize> = (0..launch.inputs()).map(|i| launch.ty(i).len()).collect();
        let blocks_of = |counts: &[usize]| counts.iter().map(|n| n.div_ceil(BLOCK)).sum::<usize>();
        let blocks = blocks_of(&counts);
        let found = launch.scratch(3 * blocks);
        let dispatch = |entry: &str, operands: Vec<Operand>, counts: &[usize], first: usize| {
            let dispatch = Dispatch::new(SHADER, entry, operands).constant("BLOCK", format!("{BLOCK}u"));
            let dispatch = (0..8).fold(dispatch, |d, i| d.size(counts.get(i).copied().unwrap_or(0)));
            dispatch.size(first).size(blocks)
        };
        let mut first = 0;
        for (chunk, counts) in counts.chunks(GRADIENTS).enumerate() {
            let gradient = |i: usize| if i < counts.len() { Operand::Input(chunk * GRADIENTS + i) } else { Operand::Nothing };
            let operands = [found].into_iter().chain((0..GRADIENTS).map(gradient)).collect();
            launch.add(dispatch("grad_norm_blocks_f32", operands, counts, first).rows(blocks_of(counts)));
            first += blocks_of(counts);
        }
        launch.add(dispatch("grad_norm_forward_f32", vec![found, Operand::Output(0), Operand::Output(1)], &[], 0));
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, fills: &[(&'static str, &[usize], Fill)]| {
        let case = Case::new(name, |b, v| {
            let (norm, finite) = grad_norm(b, v)?;
            Ok(vec![("norm", norm), ("finite", finite)])
        });
        fills.iter().fold(case, |case, (name, dims, fill)| case.fixed(name, dims_of(dims), fill.clone()))
    };
    // The norm itself may not be finite, or not in f32.
    let finite = |name: &str, numbers: Vec<f64>, is: f64| {
        let case = Case::new(name, |b, v| Ok(vec![("finite", grad_norm(b, v)?.1)])).fixed("g", [numbers.len()], Fill::Values(numbers));
        case.fixed("h", [3], Fill::Uniform(0.0, 1.0)).expects("finite", vec![is])
    };
    let normal = Fill::Normal(0.0, 2.0);
    let known = case("known", &[("g", &[3], Fill::Values(vec![1.0, -4.0, 2.0])), ("h", &[], Fill::Values(vec![2.0]))]);
    vec![
        known.expects("norm", vec![5.0]).expects("finite", vec![1.0]),
        case("ones", &[("g", &[40_000], Fill::Uniform(1.0, 1.0))]).expects("norm", vec![200.0]),
        case("nothing", &[("g", &[0], normal.clone())]).expects("norm", vec![0.0]).expects("finite", vec![1.0]),
        case("nothing and one", &[("g", &[0, 3], normal.clone()), ("h", &[1], Fill::Values(vec![-2.0]))]).expects("norm", vec![2.0]),
        case("one element", &[("g", &[1], normal.clone())]),
        case("three tensors", &[("f", &[3, 5], normal.clone()), ("g", &[131], normal.clone()), ("h", &[], normal.clone())]),
        case("squares beyond f32", &[("g", &[40], Fill::Normal(0.0, 1e25))]),
        case("squares below f32", &[("g", &[40], Fill::Normal(0.0, 1e-22))]),
        case("large and small", &[("g", &[900], Fill::Normal(0.0, 1e6)), ("h", &[70], normal.clone())]),
        finite("infinite", vec![1.0, f64::NEG_INFINITY, 2.0], 0.0),
        finite("not a number", vec![f64::NAN, 2.0], 0.0),
        finite("largest", vec![f64::from(f32::MAX); 300], 1.0),
        case("nine tensors", &["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| (name, &[5][..], normal.clone()))),
        case("many blocks", &[("g", &[2_200_000], Fill::Uniform(-1.0, 2.0))]),
        case("several blocks", &[("g", &[70_001], normal.clone()), ("h", &[3], normal.clone())]),
        case("2x 3072x768", &[("g", &[3072, 768], normal.clone()), ("h", &[3072, 768], normal)]).large(),
    ]
}
