//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over all parameters in one node, as PyTorch's `torch.optim.AdamW`:
//!
//! ```text
//! p <- p (1 - lr decay)
//! m <- m + (1 - beta1) (g - m)
//! v <- beta2 v + (1 - beta2) g^2
//! p <- p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! g is the gradient times the scale, clipped by the norm of all gradients; t counts the applied updates from 1. Where a gradient is not
//! finite nothing changes. Bound by memory: four reads and three writes an element.

use super::Row;
use super::support::case::{Case, Fill, Golden};
use super::support::optimizer::{self, BLOCK};
use crate::device::cpu::{Args, Real, vectorized};
use crate::error::Result;
use crate::graph::{Builder, Precision, StateKind, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Tensor, TensorType};
use rayon::prelude::*;

pub use super::support::optimizer::{Control, Role};

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, golden: Some(golden), ..Row::new("adamw", cases) };

/// The settings that all parameters share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwConfig {
    /// How slowly the first moment forgets.
    pub beta1: f64,
    /// How slowly the second moment forgets.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Pulls parameters towards 0, in units of the learning rate.
    pub weight_decay: f64,
    /// The most that the norm of all gradients may be.
    pub clip_norm: Option<f64>,
}

/// One parameter with what belongs to it, all of one shape.
#[derive(Debug, Clone, Copy)]
pub struct AdamwParameter {
    /// State: the parameter.
    pub value: Value,
    /// State: the first moment, 0 before the first step.
    pub first_moment: Value,
    /// State: the second moment, 0 before the first step.
    pub second_moment: Value,
    /// Its gradient.
    pub grad: Value,
    /// How it is treated.
    pub role: Role,
}

/// One step of all parameters. Inputs: for each p, m, v, g; then lr f32[G], step i32[1], norm f32[], finite i32[1], and f32[] with `scale`.
/// Updates p, m and v.
#[derive(Debug, Clone)]
pub struct Adamw {
    /// What all parameters share.
    pub config: AdamwConfig,
    /// How each parameter is treated.
    pub roles: Vec<Role>,
    /// There is a scale among the inputs.
    pub scale: bool,
}

/// Appends one step over all `parameters`.
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ or a group has no learning rate, [`crate::Error::Graph`] where a parameter or moment is no
/// state.
pub fn adamw(b: &mut Builder, parameters: &[AdamwParameter], control: &Control, config: AdamwConfig) -> Result<()> {
    let tensors = parameters.iter().flat_map(|p| [p.value, p.first_moment, p.second_moment, p.grad]);
    let inputs: Vec<Value> = tensors.chain(control.values()).collect();
    let roles = parameters.iter().map(|p| p.role).collect();
    b.apply(Adamw { config, roles, scale: control.scale.is_some() }, &inputs).map(drop)
}

const EACH: usize = 4;

impl Adamw {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let c = self.config;
        let Some(step) = optimizer::step(args, self.roles.len() * EACH, c.clip_norm, self.scale)? else { return Ok(()) };
        let bias = |beta: f64| 1.0 - beta.powi(step.count);
        let (forget1, keep2, forget2) = (T::of(1.0 - c.beta1), T::of(c.beta2), T::of(1.0 - c.beta2));
        let (root, eps) = (T::of(bias(c.beta2).sqrt()), T::of(c.eps));
        let mut tensors = Vec::with_capacity(self.roles.len());
        for (i, role) in self.roles.iter().enumerate() {
            let at = i * EACH;
            tensors.push((args.state(at)?, args.state(at + 1)?, args.state(at + 2)?, args.floats(at + 3)?, role));
        }
        tensors.into_par_iter().for_each(|(p, m, v, g, role)| {
            let lr = step.lr[role.group].wide();
            let decay = T::of(if role.decay { 1.0 - lr * c.weight_decay } else { 1.0 });
            let size = T::of(lr / bias(c.beta1));
            let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
            p.par_chunks_mut(BLOCK).zip(moments).zip(g.par_chunks(BLOCK)).for_each(|((p, (m, v)), g)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                            let g = g * step.coefficient;
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

impl Op for Adamw {
    fn stem(&self) -> &'static str {
        "adamw"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        optimizer::check(&Check("adamw"), inputs, &self.roles, EACH, self.scale)?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let written: Vec<TensorType> = self.updates().into_iter().map(|i| inputs[i]).collect();
        Cost::streaming(written.iter().map(|ty| 5 * ty.len() as u64).sum(), inputs, &written)
    }

    fn updates(&self) -> Vec<usize> {
        (0..self.roles.len()).flat_map(|i| (0..3).map(move |t| i * EACH + t)).collect()
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

/// A case of the golden file: p0 [..] and the gradients [S, ..] of S steps; p, m and v after them.
fn golden(case: &Golden, b: &mut Builder, input: &dyn Fn(&str) -> Result<Value>) -> Result<Vec<(&'static str, Value)>> {
    let beta = |i: usize| case.attributes["betas"][i].as_f64().unwrap_or(f64::NAN);
    let config = AdamwConfig {
        beta1: beta(0),
        beta2: beta(1),
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
        // Gradient s: the rows times 1 for s and 0 for the others, added up.
        let one = b.constant(Tensor::from_f32([steps], (0..steps).map(|i| f32::from(u8::from(i == s))).collect())?);
        let rows = super::reshape::reshape(b, grads, [steps, ty.len()])?;
        let rows = super::mul::mul_rows(b, rows, one)?;
        let grad = super::reduce::reduce(b, rows, super::reduce::Reduction::Sum, super::reduce::Axes::Leading(1))?;
        let grad = super::reshape::reshape(b, grad, ty.shape)?;
        let (norm, finite) = super::grad_norm::grad_norm(b, &[grad], None)?;
        let parameter =
            AdamwParameter { value: p, first_moment: m, second_moment: v, grad, role: Role { group: 0, decay: config.weight_decay > 0.0 } };
        adamw(b, &[parameter], &Control { lr, step, norm, finite, scale: None }, config)?;
        super::advance::advance(b, step, finite)?;
    }
    Ok(vec![("p", p), ("m", m), ("v", v)])
}

fn cases() -> Vec<Case> {
    let config = AdamwConfig { beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.05, clip_norm: Some(3.0) };
    // Two parameters in two groups, only the first of which decays.
    let case = |name: &str, first: usize, second: usize, config: AdamwConfig, norm: f64, finite: i32| {
        let step = move |b: &mut Builder, v: &[Value]| {
            let parameter = |i: usize, group: usize, decay: bool| AdamwParameter {
                value: v[i],
                first_moment: v[i + 1],
                second_moment: v[i + 2],
                grad: v[i + 3],
                role: Role { group, decay },
            };
            let control = Control { lr: v[8], step: v[9], norm: v[10], finite: v[11], scale: v.get(12).copied() };
            adamw(b, &[parameter(0, 1, true), parameter(4, 0, false)], &control, config)?;
            Ok(Vec::new())
        };
        let mut case = Case::new(name, step);
        for (names, len) in [(["p", "m", "v", "g"], first), (["q", "n", "w", "h"], second)] {
            case = case
                .state(names[0], TensorType::f32([len]), Fill::Normal(0.0, 1.0))
                .state(names[1], TensorType::f32([len]), Fill::Normal(0.0, 0.5))
                .state(names[2], TensorType::f32([len]), Fill::Uniform(0.1, 1.0))
                .fixed(names[3], [len], Fill::Normal(0.0, 1.0));
        }
        case.fixed("lr", [2], Fill::Values(vec![0.01, 0.1]))
            .ints("step", [1], Fill::Exact(vec![6]))
            .fixed("norm", [], Fill::Values(vec![norm]))
            .ints("finite", [1], Fill::Exact(vec![finite]))
    };
    vec![
        case("clipped", 7, 1, config, 12.5, 1),
        case("not clipped", 33, 65, config, 2.5, 1),
        case("no limit", 5, 3, AdamwConfig { clip_norm: None, ..config }, 1e6, 1),
        case("scaled", 17, 3, config, 12.5, 1).fixed("scale", [], Fill::Values(vec![0.125])),
        case("not finite", 9, 4, config, 2.5, 0),
        case("several blocks", 40_001, 3, config, 12.5, 1),
        case("2x 3072x768", 3072 * 768, 3072 * 768, config, 2.5, 1).large(),
    ]
}
