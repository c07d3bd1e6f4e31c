//! Moving averages of parameters: `avg <- d avg + (1 - d) p` for all pairs in one node, where the step was applied.
//!
//! The average starts as the parameter after the first update and forgets its youth quickly: with t updates before this one,
//!
//! ```text
//! d = min(decay, t / (9 + t))
//! ```
//!
//! That is 0 in the first, so that what the state held before does not count, and then `min(decay, (1 + n) / (10 + n))` with n the updates
//! of the average since its start, as TensorFlow's `ExponentialMovingAverage` with `num_updates` warms up.
//! Where the flag is 0 nothing is read or written, so that no NaN of a refused step gets in.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
#[cfg(feature = "wgpu")]
use super::support::optimizer::TASK;
use super::support::optimizer::{self, BLOCK, NAMES, SIZES};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, Side, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("ema");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/sweep", "ema");

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("ema", head!("ema.rs"), cases) };

/// Inputs: for each pair the average and the parameter, of one shape; then step and finite, i32\[1\] each. Updates the averages.
#[derive(Debug, Clone, Copy)]
pub struct Ema {
    /// How slowly the average forgets once it is old, in [0, 1].
    pub decay: f64,
    /// The number of pairs.
    pub pairs: usize,
}

/// Moves each average of `pairs` (average, parameter) towards its parameter where `finite` i32\[1\] is not 0.
///
/// * `step` i32\[1\]: how many updates were applied before this one.
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ or `decay` is outside [0, 1], [`crate::Error::Graph`] where an average is no state.
pub fn ema(b: &mut Builder, pairs: &[(Value, Value)], decay: f64, step: Value, finite: Value) -> Result<()> {
    let inputs: Vec<Value> = pairs.iter().flat_map(|&(average, parameter)| [average, parameter]).chain([step, finite]).collect();
    b.apply(Ema { decay, pairs: pairs.len() }, &inputs).map(drop)
}

impl Ema {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (before, finite) = (args.ints(2 * self.pairs)?[0], args.ints(2 * self.pairs + 1)?[0] != 0);
        if !finite {
            return Ok(());
        }
        let before = f64::from(before.max(0));
        let decay = self.decay.min(before / (9.0 + before));
        let (keep, share) = (T::of(decay), T::of(1.0 - decay));
        for i in 0..self.pairs {
            let (average, parameter) = (args.state(2 * i)?, args.floats(2 * i + 1)?);
            for_rows(
                average,
                BLOCK,
                #[inline(always)]
                |block, average| {
                    for (a, &p) in average.iter_mut().zip(&parameter[block * BLOCK..]) {
                        *a = keep * *a + share * p;
                    }
                },
            );
        }
        Ok(())
    }
}

impl Op for Ema {
    fn stem(&self) -> &'static str {
        "ema"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("ema");
        check.count(inputs, 2 * self.pairs + 2)?;
        check.that((0.0..=1.0).contains(&self.decay), "decay", "a share in [0, 1]", self.decay)?;
        for pair in inputs[..2 * self.pairs].chunks(2) {
            check.float("average", &pair[0])?;
            check.that(pair[1].dtype.is_float() && pair[1].shape == pair[0].shape, "parameter", pair[0], pair[1])?;
        }
        for (name, ty) in ["step", "finite"].into_iter().zip(&inputs[2 * self.pairs..]) {
            check.int(name, ty)?;
            check.shape(name, ty, &[1])?;
        }
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let written: Vec<TensorType> = self.updates().into_iter().map(|i| inputs[i]).collect();
        Cost::streaming(written.iter().map(|ty| 3 * ty.len() as u64).sum(), inputs, &written)
    }

    fn updates(&self) -> Vec<usize> {
        (0..self.pairs).map(|i| 2 * i).collect()
    }

    fn together(&self, _: usize) -> Vec<Vec<usize>> {
        optimizer::together(self.pairs, 2)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let tensors = [2 * self.pairs, 2 * self.pairs + 1].map(cuda::Operand::Input);
        let sides: Vec<cuda::Side> = (0..self.pairs).map(|pair| cuda::Side { inputs: vec![2 * pair, 2 * pair + 1], notes: [0; 2] }).collect();
        let kernel = cuda::Dispatch::new(&KERNELS, "ema_forward_f32");
        launch.sweep(kernel, &sides, |dispatch| dispatch.tensors(tensors).number(self.decay).number(1.0 - self.decay));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [step, finite] = [2 * self.pairs, 2 * self.pairs + 1].map(Operand::Input);
        let kernel = Dispatch::new(SHADER, "ema_forward_f32", [step]).swept(2, TASK).number(self.decay).number(1.0 - self.decay);
        let sides: Vec<Side> = (0..self.pairs).map(|pair| Side { inputs: vec![2 * pair, 2 * pair + 1], notes: [0; 2] }).collect();
        launch.sweep(&kernel, &sides, 1, TASK, &[finite])
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, first: usize, second: usize, decay: f64, finite: i32| {
        Case::new(name, move |b, v| ema(b, &[(v[0], v[1]), (v[2], v[3])], decay, v[4], v[5]).map(|()| Vec::new()))
            .state("a", TensorType::f32([first]), Fill::Normal(0.0, 1.0))
            .fixed("p", [first], Fill::Normal(0.0, 1.0))
            .state("b", TensorType::f32([second]), Fill::Normal(0.0, 1.0))
            .fixed("q", [second], Fill::Normal(0.0, 1.0))
            .ints("step", [1], Fill::Exact(vec![20_000]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
    };
    let known = |name: &str, step: i32, finite: i32, want: [f64; 2]| {
        Case::new(name, |b, v| ema(b, &[(v[0], v[1])], 0.75, v[2], v[3]).map(|()| Vec::new()))
            .state("a", TensorType::f32([2]), Fill::Values(vec![1.0, -4.0]))
            .fixed("p", [2], Fill::Values(vec![5.0, 4.0]))
            .ints("step", [1], Fill::Exact(vec![step]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
            .expects("a", want.to_vec())
    };
    let pairs = |v: &[Value]| v.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>();
    let step = move |b: &mut Builder, v: &[Value]| ema(b, &pairs(&v[..2 * SIZES.len()]), 0.9, v[v.len() - 2], v[v.len() - 1]).map(|()| Vec::new());
    let mut many = Case::new("many tensors", step);
    for ([average, parameter, ..], len) in NAMES.into_iter().zip(SIZES) {
        let ty = TensorType::f32([len]);
        many = many.state(average, ty, Fill::Normal(0.0, 1.0)).state(parameter, ty, Fill::Normal(0.0, 1.0));
    }
    vec![
        many.ints("step", [1], Fill::Exact(vec![20_000])).ints("finite", [1], Fill::Exact(vec![1])),
        known("known", 1000, 1, [2.0, -2.0]),
        known("first", 0, 1, [5.0, 4.0]),
        known("fourth", 3, 1, [4.0, 2.0]),
        known("first skipped", 0, 0, [1.0, -4.0]),
        case("two", 1, 35, 0.9, 1),
        case("several blocks", 3, 40_001, 0.999, 1),
        case("skipped", 7, 5, 0.9, 0),
        case("2x 3072x768", 3072 * 768, 3072 * 768, 0.999, 1).large(),
    ]
}
