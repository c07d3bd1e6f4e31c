//! The norm of all gradients together, `norm = sqrt(sum over tensors and elements of g^2)`, and whether all of them are finite.
//!
//! One node over any number of tensors. On the CPU squares are added in f64, in fixed blocks whose sums are added in order, so that no
//! finite f32 overflows and any number of threads gives the same bits.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use super::support::optimizer::{NAMES, SIZES};
use crate::device::cpu::{Args, Real, sum_wide};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, Side, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("grad_norm");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/sweep", "grad_norm");

/// Elements of a workgroup.
#[cfg(feature = "wgpu")]
const BLOCK: usize = 8192;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("grad_norm", head!("grad_norm.rs"), cases) };

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

    fn together(&self, count: usize) -> Vec<Vec<usize>> {
        vec![(0..count).collect()]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let blocks = launch.swept(0..launch.inputs());
        let found = launch.scratch(3 * blocks);
        let sides: Vec<cuda::Side> = (0..launch.inputs()).map(|i| cuda::Side { inputs: vec![i], notes: [0; 2] }).collect();
        launch.sweep(cuda::Dispatch::new(&KERNELS, "grad_norm_blocks_f32"), &sides, |dispatch| dispatch.tensors([found]));
        let tensors = [found, cuda::Operand::Output(0), cuda::Operand::Output(1)];
        launch.add(cuda::Dispatch::new(&KERNELS, "grad_norm_forward_f32").tensors(tensors).sizes([blocks]));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let blocks = (0..launch.inputs()).map(|i| launch.ty(i).len().div_ceil(BLOCK)).sum();
        let found = launch.scratch(3 * blocks);
        let kernel = |pass: &str, operands: &[Operand]| Dispatch::new(SHADER, format!("grad_norm_{pass}_f32"), operands).swept(1, BLOCK).size(blocks);
        let sides: Vec<Side> = (0..launch.inputs()).map(|i| Side { inputs: vec![i], notes: [0; 2] }).collect();
        launch.sweep(&kernel("blocks", &[found]), &sides, 0, BLOCK, &[])?;
        launch.add(kernel("forward", &[found, Operand::Output(0), Operand::Output(1)]));
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
    let many = Case::new("many tensors", |b, v| {
        let (norm, finite) = grad_norm(b, v)?;
        Ok(vec![("norm", norm), ("finite", finite)])
    });
    let side_by_side = |case: Case, (names, len): ([&'static str; 4], usize)| case.state(names[3], TensorType::f32([len]), Fill::Normal(0.0, 2.0));
    let known = case("known", &[("g", &[3], Fill::Values(vec![1.0, -4.0, 2.0])), ("h", &[], Fill::Values(vec![2.0]))]);
    vec![
        known.expects("norm", vec![5.0]).expects("finite", vec![1.0]),
        case("ones", &[("g", &[40_000], Fill::Uniform(1.0, 1.0))]).expects("norm", vec![200.0]),
        NAMES.into_iter().zip(SIZES).fold(many, side_by_side),
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
