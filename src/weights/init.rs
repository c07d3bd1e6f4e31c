//! First values of tensors that no checkpoint gives: the fusion of a converted model, or all of a model in tests and benchmarks.
//!
//! | Part | Tensor | First values |
//! |---|---|---|
//! | all | norms: weight, bias, running mean, running variance | 1, 0, 0, 1 |
//! | backbone | filters | normal, variance 2 / (out * height * width) |
//! | vision tower | weights, filters | uniform within 1 / sqrt(in) |
//! | decoder, text encoder | weights | uniform, variance 1 / in |
//! | captioner, text encoder | embeddings | normal, deviation 1 |
//! | captioner, text encoder | biases | 0 |
//! | fusion | `visual_pos` | normal, deviation 0.02 |
//! | fusion | a linear layer's weight and bias | uniform within 1 / sqrt(in) |
//!
//! BLIP's and BERT's own 0.02 suits a hidden size of 768; in a narrow model it leaves attention even for long, and a position of 0.02 beside a
//! patch of about 1 is hardly there. What that costs is in docs/training.md.
//!
//! An element depends on the seed, the tensor's name and its index alone (Philox 4x32, ten rounds), so the same on every machine,
//! whatever else is drawn before it.

use super::manifest::Wanted;
use super::names::Part;
use crate::error::Result;
use crate::ops::support::philox::{philox, stable_key};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Draws a model's first values.
#[derive(Debug)]
pub struct Init<'a> {
    /// What a linear layer reads, by the name of its weight.
    inputs: HashMap<&'a str, usize>,
    seed: u64,
}

impl<'a> Init<'a> {
    /// The values of this seed for the tensors of this manifest.
    pub fn new(manifest: &'a [Wanted], seed: u64) -> Self {
        let inputs = manifest.iter().filter_map(|w| Some((w.name.as_str(), w.shape.get(1..)?.iter().product()))).collect();
        Init { inputs, seed }
    }

    /// One tensor of the manifest, f32.
    ///
    /// # Errors
    /// None, where `wanted` is of the manifest.
    pub fn tensor(&self, wanted: &Wanted) -> Result<Tensor> {
        let n = wanted.shape.len();
        let values = match self.law(wanted) {
            Law::All(x) => vec![x; n],
            Law::Normal(deviation) => draw(self.seed, &wanted.name, n, |bits| normals(bits).map(|x| (x * deviation) as f32)),
            Law::Uniform(bound) => draw(self.seed, &wanted.name, n, |bits| bits.map(|b| ((2.0 * unit(b) - 1.0) * bound) as f32)),
        };
        Tensor::from_f32(wanted.shape, values)
    }

    fn law(&self, wanted: &Wanted) -> Law {
        let (layer, leaf) = wanted.name.rsplit_once('.').unwrap_or(("", &wanted.name));
        let kind = layer.rsplit('.').next().unwrap_or_default();
        let norm = kind.to_lowercase().contains("norm") || kind.starts_with("bn") || layer.ends_with("downsample.1");
        let inputs = |name: &str| 1.0 / libm::sqrt(self.inputs.get(name).copied().unwrap_or(1).max(1) as f64);
        match (wanted.part, leaf) {
            (_, "running_mean") => Law::All(0.0),
            (_, "running_var") => Law::All(1.0),
            _ if norm => Law::All(if leaf == "weight" { 1.0 } else { 0.0 }),
            (Part::Backbone, _) => Law::Normal(libm::sqrt(2.0 * wanted.shape.get(1).copied().unwrap_or(1) as f64 / wanted.shape.len().max(1) as f64)),
            (Part::Fusion, "visual_pos") => Law::Normal(0.02),
            (Part::Fusion, "bias") => Law::Uniform(inputs(&format!("{layer}.weight"))),
            (Part::Fusion, _) => Law::Uniform(inputs(&wanted.name)),
            (_, "bias") => Law::All(0.0),
            _ if wanted.name.contains("embedding") && !wanted.name.contains("patch_embedding") => Law::Normal(1.0),
            (_, "weight") if wanted.name.contains(".vision_model.") => Law::Uniform(inputs(&wanted.name)),
            _ => Law::Uniform(libm::sqrt(3.0) * inputs(&wanted.name)),
        }
    }
}

/// How a tensor's elements are spread.
enum Law {
    All(f32),
    /// About 0, with this deviation.
    Normal(f64),
    /// Within this bound of 0.
    Uniform(f64),
}

/// `n` values, four from each block of random bits.
fn draw(seed: u64, name: &str, n: usize, values: impl Fn([u32; 4]) -> [f32; 4]) -> Vec<f32> {
    let words = |x: u64| [x as u32, (x >> 32) as u32];
    let ([low, high], key) = (words(stable_key(name)), words(seed));
    let blocks = (0..n.div_ceil(4) as u64).map(words).flat_map(|[block, carry]| values(philox([block, carry, low, high], key)));
    blocks.take(n).collect()
}

/// A number strictly between 0 and 1.
fn unit(bits: u32) -> f64 {
    (f64::from(bits) + 0.5) / 4_294_967_296.0
}

/// Four normal numbers by Box and Muller; libm's functions, so that all machines agree.
fn normals(bits: [u32; 4]) -> [f64; 4] {
    let pair = |a, b| {
        let (radius, angle) = (libm::sqrt(-2.0 * libm::log(unit(a))), std::f64::consts::TAU * unit(b));
        [radius * libm::cos(angle), radius * libm::sin(angle)]
    };
    let ([a, b], [c, d]) = (pair(bits[0], bits[1]), pair(bits[2], bits[3]));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_deviation_asked_for() {
        let x = draw(7, "x", 10_000, |bits| normals(bits).map(|x| x as f32));
        let square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e4;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e4;
        assert!((square - 1.0).abs() < 0.05 && mean.abs() < 0.05, "{mean} {square}");
        assert_ne!(x, draw(8, "x", 10_000, |bits| normals(bits).map(|x| x as f32)));
    }
}
