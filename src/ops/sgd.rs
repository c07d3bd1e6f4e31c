//! Stochastic gradient descent with momentum over all parameters in one node, as PyTorch's `torch.optim.SGD`:
//!
//! ```text
//! g <- g + decay p
//! m <- mu m + g            where mu is not 0
//! g <- g + mu m (Nesterov), or m
//! p <- p - lr g
//! ```
//!
//! g is the gradient, clipped by the norm of all, before decay. Where a gradient is not finite nothing changes.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::optimizer::{self, BLOCK, NAMES, Role, SIZES};
use crate::device::cpu::{Args, Real, vectorized};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("sgd");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/sweep", "common/optimizer", "sgd");

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, fill, ..Row::new("sgd", head!("sgd.rs"), cases) };

fn fill(op: &dyn Op, inputs: &[TensorType], i: usize) -> Option<Fill> {
    optimizer::fill(op.downcast::<SgdStep>()?.roles.len(), EACH, inputs, i)
}

/// The settings that all parameters share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// mu: how slowly the sum of past gradients forgets.
    pub momentum: f64,
    /// Look ahead by one step of momentum.
    pub nesterov: bool,
    /// Pulls parameters towards 0.
    pub weight_decay: f64,
    /// The most that the norm of all gradients may be.
    pub clip_norm: Option<f64>,
}

/// One parameter with what belongs to it, all of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Tuned {
    /// State: the parameter.
    pub parameter: Value,
    /// State: the decayed sum of past gradients, 0 before the first step.
    pub m: Value,
    /// Its gradient.
    pub gradient: Value,
    /// The group whose learning rate it takes.
    pub group: usize,
    /// Whether weight decay applies to it.
    pub decay: bool,
}

/// One step of all parameters. Inputs: for each p, m, g; then lr f32\[G\], step i32\[1\], norm f32[], finite i32\[1\]. Updates p and m.
#[derive(Debug, Clone)]
pub struct SgdStep {
    /// What all parameters share.
    pub settings: Sgd,
    /// How each parameter is treated.
    pub roles: Vec<Role>,
}

/// Appends one step over all `tuned` parameters. The control is that of [`super::adamw::adamw`].
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ or a group has no learning rate, [`crate::Error::Graph`] where a parameter or its momentum is
/// no state.
pub fn sgd(b: &mut Builder, settings: Sgd, tuned: &[Tuned], lr: Value, step: Value, norm: Value, finite: Value) -> Result<()> {
    let tensors = tuned.iter().flat_map(|t| [t.parameter, t.m, t.gradient]);
    let inputs: Vec<Value> = tensors.chain([lr, step, norm, finite]).collect();
    let roles = tuned.iter().map(|t| Role { group: t.group, decay: t.decay }).collect();
    b.apply(SgdStep { settings, roles }, &inputs).map(drop)
}

const EACH: usize = 3;

impl SgdStep {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let Sgd { momentum, nesterov, weight_decay, clip_norm } = self.settings;
        let Some(step) = optimizer::step(args, self.roles.len() * EACH, clip_norm)? else { return Ok(()) };
        let momentum = T::of(momentum);
        let mut tensors = Vec::with_capacity(self.roles.len());
        for (i, role) in self.roles.iter().enumerate() {
            tensors.push((args.state(i * EACH)?, args.state(i * EACH + 1)?, args.floats(i * EACH + 2)?, role));
        }
        tensors.into_par_iter().for_each(|(p, m, g, role)| {
            let lr = step.lr[role.group];
            let decay = T::of(if role.decay { weight_decay } else { 0.0 });
            p.par_chunks_mut(BLOCK).zip(m.par_chunks_mut(BLOCK)).zip(g.par_chunks(BLOCK)).for_each(|((p, m), g)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((p, m), &g) in p.iter_mut().zip(m).zip(g) {
                            let g = g * step.clip + decay * *p;
                            *m = momentum * *m + g;
                            *p -= lr * if nesterov { g + momentum * *m } else { *m };
                        }
                    },
                );
            });
        });
        Ok(())
    }
}

impl Op for SgdStep {
    fn stem(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("sgd");
        let Sgd { momentum, nesterov, weight_decay, clip_norm } = self.settings;
        check.that((0.0..1.0).contains(&momentum), "momentum", "a share in [0, 1)", momentum)?;
        check.that(momentum > 0.0 || !nesterov, "momentum", "above 0 for nesterov", momentum)?;
        optimizer::check_settings(&check, weight_decay, clip_norm)?;
        optimizer::check(&check, inputs, &self.roles, EACH)?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let written: Vec<TensorType> = self.updates().into_iter().map(|i| inputs[i]).collect();
        Cost::streaming(written.iter().map(|ty| 4 * ty.len() as u64).sum(), inputs, &written)
    }

    fn updates(&self) -> Vec<usize> {
        (0..self.roles.len()).flat_map(|i| [i * EACH, i * EACH + 1]).collect()
    }

    fn together(&self, _: usize) -> Vec<Vec<usize>> {
        optimizer::together(self.roles.len(), EACH)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let Sgd { momentum, nesterov, weight_decay, clip_norm } = self.settings;
        let kernel = cuda::Dispatch::new(&KERNELS, "sgd_forward_f32");
        let finish = |dispatch: cuda::Dispatch| dispatch.number(momentum).flag(nesterov);
        optimizer::cuda_launch(launch, kernel, (&self.roles, EACH), (weight_decay, clip_norm), finish);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let Sgd { momentum, nesterov, weight_decay, clip_norm } = self.settings;
        let finish = |dispatch: Dispatch| dispatch.constant("NESTEROV", nesterov).number(momentum);
        optimizer::launch(launch, (SHADER, "sgd"), (&self.roles, EACH), (weight_decay, clip_norm), finish)
    }
}

fn cases() -> Vec<Case> {
    let settings = Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.05, clip_norm: Some(3.0) };
    // Two parameters in two groups, only the first of which decays.
    let case = |name: &str, first: usize, second: usize, settings: Sgd, norm: f64, finite: i32| {
        let step = move |b: &mut Builder, v: &[Value]| {
            let tuned = |i: usize, group: usize, decay: bool| Tuned { parameter: v[i], m: v[i + 1], gradient: v[i + 2], group, decay };
            sgd(b, settings, &[tuned(0, 1, true), tuned(3, 0, false)], v[6], v[7], v[8], v[9])?;
            Ok(Vec::new())
        };
        let mut case = Case::new(name, step);
        for (names, len) in [(["p", "m", "g"], first), (["q", "n", "h"], second)] {
            case = case
                .state(names[0], TensorType::f32([len]), Fill::Normal(0.0, 1.0))
                .state(names[1], TensorType::f32([len]), Fill::Normal(0.0, 0.5))
                .fixed(names[2], [len], Fill::Normal(0.0, 1.0));
        }
        case.fixed("lr", [2], Fill::Values(vec![0.01, 0.1]))
            .ints("step", [1], Fill::Exact(vec![6]))
            .fixed("norm", [], Fill::Values(vec![norm]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
    };
    let plain = two_steps("two steps", false)
        .expects("p", vec![0.387_153_835_877_706_24, -1.913_192_328_244_588_7, 1.474_822_156_489_175])
        .expects("q", vec![2.403_441_370_410_432_5])
        .expects("m", vec![0.758_761_917_484_744_6, -0.107_476_165_030_510_76, -1.206_922_669_938_978_6])
        .expects("n", vec![3.037_025_750_637_8]);
    let nesterov = two_steps("two steps of nesterov", true)
        .expects("p", vec![0.140_921_002_078_570_4, -1.878_314_245_842_859_2, 1.866_491_772_935_718_4])
        .expects("q", vec![2.118_720_206_288_138_3]);
    vec![
        plain,
        nesterov,
        case("clipped", 7, 1, settings, 12.5, 1),
        case("nesterov", 33, 65, Sgd { nesterov: true, ..settings }, 2.5, 1),
        case("no momentum", 5, 3, Sgd { momentum: 0.0, clip_norm: None, ..settings }, 1e6, 1),
        case("not finite", 9, 4, settings, 2.5, 0),
        case("several blocks", 40_001, 3, settings, 12.5, 1),
        many(settings),
        case("2x 3072x768", 3072 * 768, 3072 * 768, settings, 2.5, 1).large(),
    ]
}

/// Tensors of all sizes in three groups, every other one of which decays.
fn many(settings: Sgd) -> Case {
    let step = move |b: &mut Builder, v: &[Value]| {
        let tuned = |(i, t): (usize, &[Value])| Tuned { parameter: t[0], m: t[1], gradient: t[2], group: i % 3, decay: i % 2 == 0 };
        let (tensors, control) = v.split_at(SIZES.len() * EACH);
        let all: Vec<Tuned> = tensors.chunks(EACH).enumerate().map(tuned).collect();
        sgd(b, settings, &all, control[0], control[1], control[2], control[3])?;
        Ok(Vec::new())
    };
    let mut case = Case::new("many tensors", step);
    for ([p, m, _, g], len) in NAMES.into_iter().zip(SIZES) {
        let ty = TensorType::f32([len]);
        case = case.state(p, ty, Fill::Normal(0.0, 1.0)).state(m, ty, Fill::Normal(0.0, 0.5)).state(g, ty, Fill::Normal(0.0, 1.0));
    }
    case.fixed("lr", [3], Fill::Values(vec![0.01, 0.1, 0.03]))
        .ints("step", [1], Fill::Exact(vec![6]))
        .fixed("norm", [], Fill::Values(vec![12.5]))
        .ints("finite", [1], Fill::Exact(vec![1]))
}

/// Two steps of two groups, for numbers that PyTorch gives.
fn two_steps(name: &str, nesterov: bool) -> Case {
    let settings = Sgd { momentum: 0.75, nesterov, weight_decay: 0.25, clip_norm: Some(2.0) };
    let steps = move |b: &mut Builder, v: &[Value]| {
        let (norm, finite) = super::grad_norm::grad_norm(b, &[v[2], v[5]])?;
        for _ in 0..2 {
            let tuned = |i: usize, group: usize, decay: bool| Tuned { parameter: v[i], m: v[i + 1], gradient: v[i + 2], group, decay };
            sgd(b, settings, &[tuned(0, 1, true), tuned(3, 0, false)], v[6], v[7], norm, finite)?;
        }
        Ok(Vec::new())
    };
    let (three, one, zero) = (TensorType::f32([3]), TensorType::f32([1]), Fill::Uniform(0.0, 0.0));
    Case::new(name, steps)
        .state("p", three, Fill::Values(vec![1.0, -2.0, 0.5]))
        .state("m", three, zero.clone())
        .fixed("g", [3], Fill::Values(vec![0.5, 1.0, -2.0]))
        .state("q", one, Fill::Values(vec![3.0]))
        .state("n", one, zero)
        .fixed("h", [1], Fill::Values(vec![4.0]))
        .fixed("lr", [2], Fill::Values(vec![0.125, 0.5]))
        .ints("step", [1], Fill::Exact(vec![0]))
}
