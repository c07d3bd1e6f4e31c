//! First values of tensors that no checkpoint gives: the fusion of a converted model, or all of a model in tests and benchmarks.
//!
//! | Part | Tensor | First values |
//! |---|---|---|
//! | all | norms: weight, bias, running mean, running variance | 1, 0, 0, 1 |
//! | backbone | filters | normal, variance 2 / (out * height * width) |
//! | captioner, text encoder | weights, embeddings | normal, deviation 0.02 |
//! | captioner, text encoder | biases | 0 |
//! | fusion | `visual_pos` | normal, deviation 0.02 |
//! | fusion | a linear layer's weight and bias | uniform within 1 / sqrt(in) |
//!
//! An element depends on the seed, the tensor's name and its index alone (Philox 4x32, ten rounds), so the same on every machine,
//! whatever else is drawn before it.

use super::manifest::Wanted;
use super::names::Part;
use crate::error::Result;
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
            _ => Law::Normal(0.02),
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
    let stream = hash(name);
    let blocks = (0..n.div_ceil(4) as u64).flat_map(|block| values(philox(seed, stream, block)));
    blocks.take(n).collect()
}

/// FNV-1a: the same for a name on every machine.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Four random words for a place in a stream (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
fn philox(seed: u64, stream: u64, block: u64) -> [u32; 4] {
    let (mut key, mut x) = ([seed as u32, (seed >> 32) as u32], [block as u32, (block >> 32) as u32, stream as u32, (stream >> 32) as u32]);
    for _ in 0..10 {
        let (a, b) = (u64::from(x[0]) * 0xd251_1f53, u64::from(x[2]) * 0xcd9e_8d57);
        x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    x
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

    /// From the authors' known-answer file: counter and key all zero, all ones.
    #[test]
    fn philox_gives_the_published_words() {
        assert_eq!(philox(0, 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, u64::MAX, u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn draws_have_the_deviation_asked_for() {
        let x = draw(7, "x", 10_000, |bits| normals(bits).map(|x| x as f32));
        let square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e4;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e4;
        assert!((square - 1.0).abs() < 0.05 && mean.abs() < 0.05, "{mean} {square}");
        assert_ne!(x, draw(8, "x", 10_000, |bits| normals(bits).map(|x| x as f32)));
    }
}
