//! Both optimizers against PyTorch's formulas, written out in f64: clipping, decay and learning rates of groups included.

use crate::run::{CLASSIFIER, Run};
use escnet::graph::Segment;
use escnet::train::{LEARNING_RATE, Optimizer, StepOptions, build};
use escnet::{Shape, Tensor};
use std::collections::BTreeMap;

const RATES: [f64; 2] = [1e-3, 0.02];
const DECAY: f64 = 0.1;
const CLIP: f64 = 0.75;
const STEPS: i32 = 3;

fn group(name: &str) -> usize {
    usize::from(name.starts_with("fusion."))
}

fn decayed(name: &str, shape: &Shape) -> bool {
    shape.rank() >= 2 && !name.contains("embeddings")
}

/// A parameter as the formulas see it.
struct Slow {
    p: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
    rate: f64,
    decay: f64,
}

/// Trains with the graph; after each of its gradients the formula follows in f64. Both must end at one place.
fn follow(optimizer: Optimizer, formula: impl Fn(&mut Slow, &[f64], i32)) {
    let options =
        StepOptions { optimizer, weight_decay: DECAY, clip_norm: Some(CLIP), groups: 2, group: &group, decayed: &decayed, ..StepOptions::default() };
    let mut run = Run::new(CLASSIFIER, &options);
    run.store.write(LEARNING_RATE, &Tensor::from_f32([2], RATES.map(|r| r as f32).to_vec()).unwrap()).unwrap();
    run.write_batch(CLASSIFIER);
    let mut slow: BTreeMap<String, Slow> = BTreeMap::new();
    for name in run.step.parameters.clone() {
        let shape = run.store.read(&name).unwrap().shape();
        let p = run.state(&name);
        let (m, v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        let rate = f64::from(RATES[group(&name)] as f32);
        slow.insert(name.clone(), Slow { p, m, v, rate, decay: if decayed(&name, &shape) { DECAY } else { 0.0 } });
    }
    let start: BTreeMap<String, Vec<f64>> = slow.iter().map(|(n, s)| (n.clone(), s.p.clone())).collect();
    for step in 0..STEPS {
        run.control(step, 0);
        run.run(Segment::Run);
        let gradients = run.gradients();
        let norm = gradients.iter().flat_map(|(_, g)| g).map(|g| g * g).sum::<f64>().sqrt();
        let clip = (CLIP / (norm + 1e-6)).min(1.0);
        assert!(clip < 1.0, "the norm of {norm} is not clipped");
        for (name, g) in gradients {
            let g: Vec<f64> = g.into_iter().map(|g| g * clip).collect();
            formula(slow.get_mut(&name).unwrap(), &g, step + 1);
        }
        run.run(Segment::Apply);
        assert!((f64::from(run.number("grad_norm")) - norm).abs() <= 1e-6 * norm);
    }
    for (name, slow) in slow {
        let length = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let moved = length(&mut slow.p.iter().zip(&start[&name]).map(|(p, s)| p - s));
        let apart = length(&mut slow.p.iter().zip(run.state(&name)).map(|(p, q)| p - q));
        // Rounding to f32 in each step; a wrong formula is off by a good part of the way.
        let floor = 1e-7 * length(&mut slow.p.iter().copied());
        assert!(apart <= 1e-4 * moved + floor, "{name}: {apart:e} apart after a way of {moved:e}");
    }
}

#[test]
fn adamw_is_pytorchs() {
    let (betas, eps) = ([0.8, 0.95], 1e-3);
    follow(Optimizer::AdamW { betas, eps }, |s, g, t| {
        for (i, &g) in g.iter().enumerate() {
            s.p[i] *= 1.0 - s.rate * s.decay;
            s.m[i] = betas[0] * s.m[i] + (1.0 - betas[0]) * g;
            s.v[i] = betas[1] * s.v[i] + (1.0 - betas[1]) * g * g;
            let (m, v) = (s.m[i] / (1.0 - betas[0].powi(t)), s.v[i] / (1.0 - betas[1].powi(t)));
            s.p[i] -= s.rate * m / (v.sqrt() + eps);
        }
    });
}

#[test]
fn sgd_is_pytorchs() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        follow(Optimizer::Sgd { momentum, nesterov }, |s, g, t| {
            for (i, &g) in g.iter().enumerate() {
                let g = g + s.decay * s.p[i];
                // The first time PyTorch's buffer is the gradient itself.
                s.m[i] = if t == 1 { g } else { momentum * s.m[i] + g };
                let along = match (momentum, nesterov) {
                    (0.0, _) => g,
                    (_, true) => g + momentum * s.m[i],
                    (_, false) => s.m[i],
                };
                s.p[i] -= s.rate * along;
            }
        });
    }
}

#[test]
fn settings_without_a_meaning_are_refused() {
    let fine = StepOptions::default;
    let adamw = |betas, eps| StepOptions { optimizer: Optimizer::AdamW { betas, eps }, ..fine() };
    let sgd = |momentum, nesterov| StepOptions { optimizer: Optimizer::Sgd { momentum, nesterov }, ..fine() };
    let wrong = [
        ("group", StepOptions { groups: 1, group: &group, ..fine() }),
        ("betas", adamw([0.9, 1.0], 1e-8)),
        ("eps", adamw([0.9, 0.999], -1e-8)),
        ("momentum", sgd(1.5, false)),
        ("momentum", sgd(0.0, true)),
        ("weight_decay", StepOptions { weight_decay: f64::NAN, ..fine() }),
        ("clip_norm", StepOptions { clip_norm: Some(0.0), ..fine() }),
        ("decay", StepOptions { ema: Some(1.5), ..fine() }),
        ("interval", StepOptions { loss_scale: true, growth_interval: 0, ..fine() }),
    ];
    for (what, options) in wrong {
        let error = build(&crate::run::config(), CLASSIFIER, &options).map(drop).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}
