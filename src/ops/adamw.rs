//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over all parameters in one node, as PyTorch's `torch.optim.AdamW`:
//!
//! ```text
//! p <- p (1 - lr decay)
//! m <- m + (1 - beta1) (g - m)
//! v <- beta2 v + (1 - beta2) g^2
//! p <- p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! g is the gradient, clipped by the norm of all; t counts the applied updates from 1. Where a gradient is not
//! finite nothing changes. Bound by memory: four reads and three writes an element.

use super::{Kernel, Row};
use super::support::case::{Case, Fill, Golden};
use super::support::optimizer::{self, BLOCK, NAMES, Role, SIZES};
use crate::device::cpu::{Args, Real, vectorized};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, StateKind, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Tensor, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("adamw");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/sweep", "common/optimizer", "adamw");

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, golden: Some(golden), fill, ..Row::new("adamw", head!("adamw.rs"), cases) };

fn fill(op: &dyn Op, inputs: &[TensorType], i: usize) -> Option<Fill> {
    optimizer::fill(op.downcast::<AdamWStep>()?.roles.len(), EACH, inputs, i)
}

/// The settings that all parameters share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// How slowly the first and the second moment forget.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Pulls parameters towards 0, in units of the learning rate.
    pub weight_decay: f64,
    /// The most that the norm of all gradients may be.
    pub clip_norm: Option<f64>,
}

/// One parameter with what belongs to it, all of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Tuned {
    /// State: the parameter.
    pub parameter: Value,
    /// State: the first moment, 0 before the first step.
    pub m: Value,
    /// State: the second moment, 0 before the first step.
    pub v: Value,
    /// Its gradient.
    pub gradient: Value,
    /// The group whose learning rate it takes.
    pub group: usize,
    /// Whether weight decay applies to it.
    pub decay: bool,
}

/// One step of all parameters. Inputs: for each p, m, v, g; then lr f32\[G\], step i32\[1\], norm f32[], finite i32\[1\]. Updates p, m and v.
#[derive(Debug, Clone)]
pub struct AdamWStep {
    /// What all parameters share.
    pub settings: AdamW,
    /// How each parameter is treated.
    pub roles: Vec<Role>,
}

/// Appends one step over all `tuned` parameters.
///
/// * `lr` f32\[G\]: the learning rate of each group.
/// * `step` i32\[1\]: how many updates were applied before.
/// * `norm` f32[]: the norm of all gradients.
/// * `finite` i32\[1\]: nothing changes where it is 0.
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ or a group has no learning rate, [`crate::Error::Graph`] where a parameter or moment is no
/// state.
pub fn adamw(b: &mut Builder, settings: AdamW, tuned: &[Tuned], lr: Value, step: Value, norm: Value, finite: Value) -> Result<()> {
    let tensors = tuned.iter().flat_map(|t| [t.parameter, t.m, t.v, t.gradient]);
    let inputs: Vec<Value> = tensors.chain([lr, step, norm, finite]).collect();
    let roles = tuned.iter().map(|t| Role { group: t.group, decay: t.decay }).collect();
    b.apply(AdamWStep { settings, roles }, &inputs).map(drop)
}

const EACH: usize = 4;

impl AdamWStep {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let AdamW { betas: [beta1, beta2], eps, weight_decay, clip_norm } = self.settings;
        let Some(step) = optimizer::step(args, self.roles.len() * EACH, clip_norm)? else { return Ok(()) };
        let bias = |beta: f64| 1.0 - beta.powi(step.count);
        let (forget1, keep2, forget2) = (T::of(1.0 - beta1), T::of(beta2), T::of(1.0 - beta2));
        let (root, eps) = (T::of(bias(beta2).sqrt()), T::of(eps));
        let mut tensors = Vec::with_capacity(self.roles.len());
        for (i, role) in self.roles.iter().enumerate() {
            let at = i * EACH;
            tensors.push((args.state(at)?, args.state(at + 1)?, args.state(at + 2)?, args.floats(at + 3)?, role));
        }
        tensors.into_par_iter().for_each(|(p, m, v, g, role)| {
            let lr = step.lr[role.group].wide();
            let decay = T::of(if role.decay { 1.0 - lr * weight_decay } else { 1.0 });
            let size = T::of(lr / bias(beta1));
            let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
            p.par_chunks_mut(BLOCK).zip(moments).zip(g.par_chunks(BLOCK)).for_each(|((p, (m, v)), g)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                            let g = g * step.clip;
                            *m += forget1 * (g - *m);
                            *v = keep2 * *v + forget2 * g * g;
                            *p = *p * decay - size * *m / (v.sqrt() / root + eps);
                        }
                    },
                );
            });
        });
        Ok(())
    }
}

impl Op for AdamWStep {
    fn stem(&self) -> &'static str {
        "adamw"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("adamw");
        let AdamW { betas, eps, weight_decay, clip_norm } = self.settings;
        check.that(betas.iter().all(|beta| (0.0..1.0).contains(beta)), "betas", "two shares in [0, 1)", format!("{betas:?}"))?;
        check.that(eps >= 0.0 && eps.is_finite(), "eps", "a number of at least 0", eps)?;
        optimizer::check_settings(&check, weight_decay, clip_norm)?;
        optimizer::check(&check, inputs, &self.roles, EACH)?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let written: Vec<TensorType> = self.updates().into_iter().map(|i| inputs[i]).collect();
        Cost::streaming(written.iter().map(|ty| 5 * ty.len() as u64).sum(), inputs, &written)
    }

    fn updates(&self) -> Vec<usize> {
        (0..self.roles.len()).flat_map(|i| (0..3).map(move |t| i * EACH + t)).collect()
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
        let AdamW { betas: [beta1, beta2], eps, weight_decay, clip_norm } = self.settings;
        // Of a beta of 0 the logarithm is minus infinity; this is far enough for f32.
        let log = |beta: f64| beta.ln().max(-200.0);
        let numbers = [1.0 - beta1, beta2, 1.0 - beta2, log(beta1), log(beta2), eps];
        let finish = |dispatch| numbers.into_iter().fold(dispatch, cuda::Dispatch::number);
        let kernel = cuda::Dispatch::new(&KERNELS, "adamw_forward_f32");
        optimizer::cuda_launch(launch, kernel, (&self.roles, EACH), (weight_decay, clip_norm), finish);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let AdamW { betas: [beta1, beta2], eps, weight_decay, clip_norm } = self.settings;
        // Of a beta of 0 the logarithm is minus infinity; this is far enough for f32.
        let log = |beta: f64| beta.ln().max(-200.0);
        let numbers = [1.0 - beta1, beta2, 1.0 - beta2, log(beta1), log(beta2), eps];
        let finish = |dispatch| numbers.into_iter().fold(dispatch, Dispatch::number);
        optimizer::launch(launch, (SHADER, "adamw"), (&self.roles, EACH), (weight_decay, clip_norm), finish)
    }
}

/// A case of the golden file: p0 [..] and the gradients [S, ..] of S steps; p, m and v after them.
fn golden(case: &Golden, b: &mut Builder, input: &dyn Fn(&str) -> Result<Value>) -> Result<Vec<(&'static str, Value)>> {
    let beta = |i: usize| case.attributes["betas"][i].as_f64().unwrap_or(f64::NAN);
    let settings = AdamW {
        betas: [beta(0), beta(1)],
        eps: case.number("eps")?,
        weight_decay: case.number("weight_decay")?,
        clip_norm: case.attributes["clip_norm"].as_f64(),
    };
    let (start, grads) = (input("p0")?, input("g")?);
    let ty = b.ty(start);
    let steps = b.shape(grads)[0];
    let [p, m, v] = [("p", StateKind::Parameter), ("m", StateKind::Moment), ("v", StateKind::Moment)];
    let (p, m, v) = (b.state(p.0, ty, p.1)?, b.state(m.0, ty, m.1)?, b.state(v.0, ty, v.1)?);
    super::assign::assign(b, p, start)?;
    let step = b.state("step", TensorType::i32([1]), StateKind::Control)?;
    let lr = b.constant(Tensor::scalar(case.number("lr")? as f32).reshape([1])?);
    for s in 0..steps {
        let gradient = super::slice::slice(b, grads, 0, s, 1)?;
        let gradient = super::reshape::reshape(b, gradient, ty.shape)?;
        let (norm, finite) = super::grad_norm::grad_norm(b, &[gradient])?;
        adamw(b, settings, &[Tuned { parameter: p, m, v, gradient, group: 0, decay: true }], lr, step, norm, finite)?;
        super::advance::advance(b, step, finite)?;
    }
    Ok(vec![("p", p), ("m", m), ("v", v)])
}

fn cases() -> Vec<Case> {
    let settings = AdamW { betas: [0.9, 0.99], eps: 1e-6, weight_decay: 0.05, clip_norm: Some(3.0) };
    let slow = AdamW { betas: [0.9999, 0.9999], ..settings };
    // Two parameters in two groups, only the first of which decays.
    let case = |name: &str, first: usize, second: usize, settings: AdamW, step: i32, norm: f64, finite: i32| {
        let build = move |b: &mut Builder, v: &[Value]| {
            let tuned = |i: usize, group: usize, decay: bool| Tuned { parameter: v[i], m: v[i + 1], v: v[i + 2], gradient: v[i + 3], group, decay };
            adamw(b, settings, &[tuned(0, 1, true), tuned(4, 0, false)], v[8], v[9], v[10], v[11])?;
            Ok(Vec::new())
        };
        let mut case = Case::new(name, build);
        for (names, len) in [(["p", "m", "v", "g"], first), (["q", "n", "w", "h"], second)] {
            case = case
                .state(names[0], TensorType::f32([len]), Fill::Normal(0.0, 1.0))
                .state(names[1], TensorType::f32([len]), Fill::Normal(0.0, 0.5))
                .state(names[2], TensorType::f32([len]), Fill::Uniform(0.1, 1.0))
                .fixed(names[3], [len], Fill::Normal(0.0, 1.0));
        }
        case.fixed("lr", [2], Fill::Values(vec![0.01, 0.1]))
            .ints("step", [1], Fill::Exact(vec![step]))
            .fixed("norm", [], Fill::Values(vec![norm]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
    };
    vec![
        case("clipped", 7, 1, settings, 6, 12.5, 1),
        case("first step", 33, 65, slow, 0, 2.5, 1),
        case("late step", 33, 65, slow, 1_000_000, 2.5, 1),
        case("not clipped", 33, 65, settings, 6, 2.5, 1),
        case("no limit", 5, 3, AdamW { clip_norm: None, ..settings }, 6, 1e6, 1),
        case("not finite", 9, 4, settings, 6, 2.5, 0),
        case("several blocks", 40_001, 3, settings, 6, 12.5, 1),
        two_steps(),
        many("many tensors", |_| true),
        many("many tensors, some gradients elsewhere", |i| i % 3 != 0),
        case("2x 3072x768", 3072 * 768, 3072 * 768, settings, 6, 2.5, 1).large(),
    ]
}

/// Tensors of all sizes in three groups, every other one of which decays. Gradients that are state lie side by side.
fn many(name: &str, is_state: fn(usize) -> bool) -> Case {
    let settings = AdamW { betas: [0.9, 0.99], eps: 1e-6, weight_decay: 0.05, clip_norm: Some(3.0) };
    let step = move |b: &mut Builder, v: &[Value]| {
        let tuned = |(i, t): (usize, &[Value])| Tuned { parameter: t[0], m: t[1], v: t[2], gradient: t[3], group: i % 3, decay: i % 2 == 0 };
        let (tensors, control) = v.split_at(SIZES.len() * EACH);
        let all: Vec<Tuned> = tensors.chunks(EACH).enumerate().map(tuned).collect();
        adamw(b, settings, &all, control[0], control[1], control[2], control[3])?;
        Ok(Vec::new())
    };
    let mut case = Case::new(name, step);
    for (i, ([p, m, v, g], len)) in NAMES.into_iter().zip(SIZES).enumerate() {
        let ty = TensorType::f32([len]);
        case = case.state(p, ty, Fill::Normal(0.0, 1.0)).state(m, ty, Fill::Normal(0.0, 0.5)).state(v, ty, Fill::Uniform(0.1, 1.0));
        let normal = Fill::Normal(0.0, 1.0);
        case = if is_state(i) { case.state(g, ty, normal) } else { case.fixed(g, [len], normal) };
    }
    case.fixed("lr", [3], Fill::Values(vec![0.01, 0.1, 0.03]))
        .ints("step", [1], Fill::Exact(vec![6]))
        .fixed("norm", [], Fill::Values(vec![12.5]))
        .ints("finite", [1], Fill::Exact(vec![1]))
}

/// Two steps of two groups, with numbers that PyTorch gives.
fn two_steps() -> Case {
    let settings = AdamW { betas: [0.75, 0.875], eps: 0.0625, weight_decay: 0.25, clip_norm: Some(2.0) };
    let steps = move |b: &mut Builder, v: &[Value]| {
        let (norm, finite) = super::grad_norm::grad_norm(b, &[v[3], v[7]])?;
        for _ in 0..2 {
            let tuned = |i: usize, group: usize, decay: bool| Tuned { parameter: v[i], m: v[i + 1], v: v[i + 2], gradient: v[i + 3], group, decay };
            adamw(b, settings, &[tuned(0, 1, true), tuned(4, 0, false)], v[8], v[9], norm, finite)?;
            super::advance::advance(b, v[9], finite)?;
        }
        Ok(Vec::new())
    };
    let (three, one, zero) = (TensorType::f32([3]), TensorType::f32([1]), Fill::Uniform(0.0, 0.0));
    Case::new("two steps", steps)
        .state("p", three, Fill::Values(vec![1.0, -2.0, 0.5]))
        .state("m", three, zero.clone())
        .state("v", three, zero.clone())
        .fixed("g", [3], Fill::Values(vec![0.5, 1.0, -2.0]))
        .state("q", one, Fill::Values(vec![3.0]))
        .state("n", one, zero.clone())
        .state("w", one, zero)
        .fixed("h", [1], Fill::Values(vec![4.0]))
        .fixed("lr", [2], Fill::Values(vec![0.125, 0.5]))
        .state("step", TensorType::i32([1]), Fill::Exact(vec![0]))
        .expects("p", vec![0.037_814_954_077_183_716, -2.350_703_314_081_868, 1.257_323_479_653_673_6])
        .expects("q", vec![2.758_690_485_468_024_5])
        .expects("m", vec![0.094_907_054_707_431_24, 0.189_814_109_414_862_5, -0.379_628_218_829_725])
        .expects("v", vec![0.011_029_406_979_476_752, 0.044_117_627_917_907_01, 0.176_470_511_671_628_03])
        .expects("step", vec![2.0])
}
