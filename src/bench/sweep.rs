//! Operators beside any model: the sizes at which kernels are compared elsewhere, from launches that are too short to fill a device to ones that fill any.

use crate::error::Result;
use crate::graph::{Builder, Graph, Value, gradients};
use crate::ops::attention::{AttentionOptions, Qkv, attention};
use crate::ops::conv2d::conv2d;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::layernorm::layernorm;
use crate::ops::linear::{Activation, linear};
use crate::ops::matmul::matmul;
use crate::ops::rules;
use crate::ops::softmax::softmax;
use crate::tensor::{Shape, TensorType};

/// Extents of square products.
const SQUARES: [usize; 5] = [512, 1024, 2048, 4096, 8192];
/// Pictures, tokens, heads and columns of a head: a ViT-B's at 224 and 384 pixels, a language model's.
const ATTENTIONS: [[usize; 4]; 4] = [[32, 197, 12, 64], [8, 577, 12, 64], [8, 577, 16, 128], [2, 2048, 16, 128]];
/// Pictures, height and width, channels, filters, kernel, stride: a ResNet's kinds.
const CONVOLUTIONS: [[usize; 6]; 5] =
    [[32, 224, 3, 64, 7, 2], [32, 56, 64, 64, 3, 1], [32, 56, 64, 256, 1, 1], [32, 28, 256, 256, 3, 2], [32, 7, 512, 512, 3, 1]];
/// Rows and columns.
const ROWS: [[usize; 2]; 4] = [[4096, 768], [4096, 3072], [1024, 8192], [16, 32_768]];
/// Rows and classes of a loss.
const LOSSES: [[usize; 2]; 2] = [[1248, 30_524], [4096, 1000]];

/// One graph of all of them, forward and backward; it is taken apart, not run.
pub fn graph() -> Result<Graph> {
    let mut sweep = Sweep { b: Builder::new(), made: 0, results: Vec::new(), weights: Vec::new() };
    let s = &mut sweep;
    for n in SQUARES {
        let (x, y) = (s.input([n, n])?, s.input([n, n])?);
        let product = matmul(&mut s.b, x, y)?;
        s.b.output(&format!("product {n}"), product);
        let (x, w) = (s.input([n, n])?, s.weight([n, n])?);
        let y = linear(&mut s.b, x, w, None, Activation::None)?;
        s.results.push(y);
    }
    for [batch, tokens, heads, size] in ATTENTIONS {
        let across = [batch, tokens, heads * size];
        let (q, k, v) = (s.weight(across)?, s.weight(across)?, s.weight(across)?);
        for causal in [false, true] {
            let options = AttentionOptions { causal, ..AttentionOptions::new(heads, size) };
            let y = attention(&mut s.b, Qkv::Separate { q, k, v }, options)?.y;
            s.results.push(y);
        }
    }
    for [batch, side, channels, filters, kernel, stride] in CONVOLUTIONS {
        let (x, w) = (s.weight([batch, side, side, channels])?, s.weight([filters, kernel, kernel, channels])?);
        let y = conv2d(&mut s.b, x, w, None, stride, kernel / 2)?;
        s.results.push(y);
    }
    for [rows, columns] in ROWS {
        let (x, weight, bias) = (s.weight([rows, columns])?, s.weight([columns])?, s.weight([columns])?);
        let y = layernorm(&mut s.b, x, weight, bias, 1e-5)?;
        let p = softmax(&mut s.b, x)?;
        s.results.extend([y, p]);
    }
    for [rows, classes] in LOSSES {
        let logits = s.weight([rows, classes])?;
        let labels = s.b.input(&format!("labels {classes}"), TensorType::i32([rows]))?;
        let loss = cross_entropy(&mut s.b, logits, labels, None, 0.0, -100)?;
        s.results.push(loss);
    }
    sweep.finish()
}

struct Sweep {
    b: Builder,
    made: usize,
    results: Vec<Value>,
    weights: Vec<Value>,
}

impl Sweep {
    fn input(&mut self, shape: impl Into<Shape>) -> Result<Value> {
        self.made += 1;
        self.b.input(&format!("input {}", self.made), TensorType::f32(shape))
    }

    /// An input whose gradient is wanted.
    fn weight(&mut self, shape: impl Into<Shape>) -> Result<Value> {
        let input = self.input(shape)?;
        self.weights.push(input);
        Ok(input)
    }

    fn finish(mut self) -> Result<Graph> {
        let mut seeds = Vec::new();
        for y in self.results.clone() {
            let shape = self.b.ty(y).shape;
            seeds.push((y, self.input(shape)?));
            self.b.output(&format!("result {}", self.made), y);
        }
        for (n, gradient) in gradients(&mut self.b, &rules(), &seeds, &self.weights)?.into_iter().enumerate() {
            gradient.iter().for_each(|&gradient| self.b.output(&format!("gradient {n}"), gradient));
        }
        Ok(self.b.finish())
    }
}
