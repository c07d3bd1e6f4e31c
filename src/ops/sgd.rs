//! Stochastic gradient descent with momentum over all parameters in one node, as PyTorch's `torch.optim.SGD`:
//!
//! ```text
//! g <- g + decay p
//! m <- mu m + g            where mu is not 0
//! g <- g + mu m (Nesterov), or m
//! p <- p - lr g
//! ```
//!
//! g is the gradient times the scale, clipped by the norm of all gradients, before decay. Where a gradient is not finite nothing changes.

use super::Row;
use super::support::case::{Case, Fill};
use super::support::optimizer::{self, BLOCK, Control, Role};
use crate::device::cpu::{Args, Real, vectorized};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, ..Row::new("sgd", cases) };

/// The settings that all parameters share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// How slowly the sum of past gradients forgets.
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
pub struct SgdParameter {
    /// State: the parameter.
    pub value: Value,
    /// State: the decayed sum of past gradients, 0 before the first step.
    pub momentum: Value,
    /// Its gradient.
    pub grad: Value,
    /// How it is treated.
    pub role: Role,
}

/// One step of all parameters. Inputs: for each p, m, g; then lr f32[G], step i32[1], norm f32[], finite i32[1], and f32[] with `scale`.
/// Updates p and m.
#[derive(Debug, Clone)]
pub struct Sgd {
    /// What all parameters share.
    pub config: SgdConfig,
    /// How each parameter is treated.
    pub roles: Vec<Role>,
    /// There is a scale among the inputs.
    pub scale: bool,
}

/// Appends one step over all `parameters`.
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ or a group has no learning rate, [`crate::Error::Graph`] where a parameter or momentum is no
/// state.
pub fn sgd(b: &mut Builder, parameters: &[SgdParameter], control: &Control, config: SgdConfig) -> Result<()> {
    let tensors = parameters.iter().flat_map(|p| [p.value, p.momentum, p.grad]);
    let inputs: Vec<Value> = tensors.chain(control.values()).collect();
    let roles = parameters.iter().map(|p| p.role).collect();
    b.apply(Sgd { config, roles, scale: control.scale.is_some() }, &inputs).map(drop)
}

const EACH: usize = 3;

impl Sgd {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let c = self.config;
        let Some(step) = optimizer::step(args, self.roles.len() * EACH, c.clip_norm, self.scale)? else { return Ok(()) };
        let momentum = T::of(c.momentum);
        let mut tensors = Vec::with_capacity(self.roles.len());
        for (i, role) in self.roles.iter().enumerate() {
            tensors.push((args.state(i * EACH)?, args.state(i * EACH + 1)?, args.floats(i * EACH + 2)?, role));
        }
        tensors.into_par_iter().for_each(|(p, m, g, role)| {
            let lr = step.lr[role.group];
            let decay = T::of(if role.decay { c.weight_decay } else { 0.0 });
            p.par_chunks_mut(BLOCK).zip(m.par_chunks_mut(BLOCK)).zip(g.par_chunks(BLOCK)).for_each(|((p, m), g)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((p, m), &g) in p.iter_mut().zip(m).zip(g) {
                            let g = g * step.coefficient + decay * *p;
                            *m = momentum * *m + g;
                            *p -= lr * if c.nesterov { g + momentum * *m } else { *m };
                        }
                    },
                );
            });
        });
        Ok(())
    }
}

impl Op for Sgd {
    fn stem(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        optimizer::check(&Check("sgd"), inputs, &self.roles, EACH, self.scale)?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let written: Vec<TensorType> = self.updates().into_iter().map(|i| inputs[i]).collect();
        Cost::streaming(written.iter().map(|ty| 4 * ty.len() as u64).sum(), inputs, &written)
    }

    fn updates(&self) -> Vec<usize> {
        (0..self.roles.len()).flat_map(|i| [i * EACH, i * EACH + 1]).collect()
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

fn cases() -> Vec<Case> {
    let config = SgdConfig { momentum: 0.9, nesterov: false, weight_decay: 0.05, clip_norm: Some(3.0) };
    // Two parameters in two groups, only the first of which decays.
    let case = |name: &str, first: usize, second: usize, config: SgdConfig, norm: f64, finite: i32| {
        let step = move |b: &mut Builder, v: &[Value]| {
            let parameter = |i: usize, group: usize, decay: bool| SgdParameter {
                value: v[i],
                momentum: v[i + 1],
                grad: v[i + 2],
                role: Role { group, decay },
            };
            let control = Control { lr: v[6], step: v[7], norm: v[8], finite: v[9], scale: v.get(10).copied() };
            sgd(b, &[parameter(0, 1, true), parameter(3, 0, false)], &control, config)?;
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
    vec![
        case("clipped", 7, 1, config, 12.5, 1),
        case("nesterov", 33, 65, SgdConfig { nesterov: true, ..config }, 2.5, 1),
        case("no momentum", 5, 3, SgdConfig { momentum: 0.0, clip_norm: None, ..config }, 1e6, 1),
        case("scaled", 17, 3, config, 12.5, 1).fixed("scale", [], Fill::Values(vec![0.125])),
        case("not finite", 9, 4, config, 2.5, 0),
        case("several blocks", 40_001, 3, config, 12.5, 1),
        case("2x 3072x768", 3072 * 768, 3072 * 768, config, 2.5, 1).large(),
    ]
}
