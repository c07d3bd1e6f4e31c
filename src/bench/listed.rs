//! Operators on extents that a file lists, forward and backward: `sweep.toml`, which comes with the program, or a reader's own.

use crate::error::{Error, Result};
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
use serde::Deserialize;
use std::path::Path;

/// The list that comes with the program.
pub const SWEEP: &str = include_str!("listed/sweep.toml");

/// What a file lists, by operator.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listed {
    matmul: Vec<Product>,
    linear: Vec<Layer>,
    attention: Vec<Attention>,
    conv2d: Vec<Convolution>,
    layernorm: Vec<Rows>,
    softmax: Vec<Rows>,
    cross_entropy: Vec<Loss>,
}

/// [batch, m, k] times [batch, k, n]; without a batch of matrices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    batch: Option<usize>,
    m: usize,
    n: usize,
    k: usize,
}

/// [rows, in] times [out, in], with a bias where asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    rows: usize,
    #[serde(rename = "in")]
    inputs: usize,
    #[serde(rename = "out")]
    outputs: usize,
    #[serde(default)]
    bias: bool,
    #[serde(default)]
    activation: Activation,
}

/// Queries [batch, tokens, heads size], keys and values [batch, keys, heads size]; as many keys as tokens where it is not said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attention {
    batch: usize,
    tokens: usize,
    keys: Option<usize>,
    heads: usize,
    size: usize,
    #[serde(default)]
    causal: bool,
}

/// Pictures [batch, height, width, channels] and square filters, padded by half their side.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Convolution {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    filters: usize,
    kernel: usize,
    #[serde(default = "one")]
    stride: usize,
}

fn one() -> usize {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    rows: usize,
    columns: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Loss {
    rows: usize,
    classes: usize,
}

impl Listed {
    /// Reads a list in TOML.
    ///
    /// # Errors
    /// [`Error::Config`] with the field that is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong =
            |field: String, got: String| Error::Config { path: path.to_owned(), field, expected: "a list of operators' extents".to_owned(), got };
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(String::new(), e.to_string()))?;
        serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|e| wrong(e.path().to_string(), e.into_inner().to_string()))
    }

    /// One graph of all of them, forward and backward; it is taken apart, not run.
    ///
    /// # Errors
    /// Those of the operators' shape rules.
    pub fn graph(&self) -> Result<Graph> {
        let mut making = Making { b: Builder::new(), made: 0, results: Vec::new(), weights: Vec::new() };
        let s = &mut making;
        for &Product { batch, m, n, k } in &self.matmul {
            let of = |rows: usize, columns: usize| -> Shape { batch.map_or([rows, columns].into(), |batch| [batch, rows, columns].into()) };
            let (x, y) = (s.input(of(m, k))?, s.input(of(k, n))?);
            let product = matmul(&mut s.b, x, y)?;
            s.b.output(&format!("product {}", s.made), product);
        }
        for layer in &self.linear {
            let (x, w) = (s.weight([layer.rows, layer.inputs])?, s.weight([layer.outputs, layer.inputs])?);
            let bias = if layer.bias { Some(s.weight([layer.outputs])?) } else { None };
            let y = linear(&mut s.b, x, w, bias, layer.activation)?;
            s.results.push(y);
        }
        for &Attention { batch, tokens, keys, heads, size, causal } in &self.attention {
            let of = |tokens: usize| [batch, tokens, heads * size];
            let keys = of(keys.unwrap_or(tokens));
            let (q, k, v) = (s.weight(of(tokens))?, s.weight(keys)?, s.weight(keys)?);
            let options = AttentionOptions { causal, ..AttentionOptions::new(heads, size) };
            let y = attention(&mut s.b, Qkv::Separate { q, k, v }, options)?.y;
            s.results.push(y);
        }
        for &Convolution { batch, height, width, channels, filters, kernel, stride } in &self.conv2d {
            let (x, w) = (s.weight([batch, height, width, channels])?, s.weight([filters, kernel, kernel, channels])?);
            let y = conv2d(&mut s.b, x, w, None, stride, kernel / 2)?;
            s.results.push(y);
        }
        for &Rows { rows, columns } in &self.layernorm {
            let (x, weight, bias) = (s.weight([rows, columns])?, s.weight([columns])?, s.weight([columns])?);
            let y = layernorm(&mut s.b, x, weight, bias, 1e-5)?;
            s.results.push(y);
        }
        for &Rows { rows, columns } in &self.softmax {
            let x = s.weight([rows, columns])?;
            let y = softmax(&mut s.b, x)?;
            s.results.push(y);
        }
        for &Loss { rows, classes } in &self.cross_entropy {
            let logits = s.weight([rows, classes])?;
            let labels = s.b.input(&format!("labels {}", s.made), TensorType::i32([rows]))?;
            let loss = cross_entropy(&mut s.b, logits, labels, None, 0.0, -100)?;
            s.results.push(loss);
        }
        making.finish()
    }
}

struct Making {
    b: Builder,
    made: usize,
    results: Vec<Value>,
    weights: Vec<Value>,
}

impl Making {
    fn input(&mut self, shape: impl Into<Shape>) -> Result<Value> {
        self.made += 1;
        let ty = TensorType::f32(shape);
        if ty.is_empty() {
            return Err(Error::graph("list", "extents of at least 1", ty));
        }
        self.b.input(&format!("input {}", self.made), ty)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_holds_wrongly_is_named() {
        let fault = |text: &str| Listed::parse(text, Path::new("own.toml")).map(|_| ()).unwrap_err().to_string();
        for (text, named) in [
            ("matmul = [{ m = 1, n = 1 }]", "matmul[0]"),
            ("linear = [{ rows = 1, in = 2, out = 3, activation = \"tanh\" }]", "linear[0].activation"),
            ("conv3d = []", "conv3d"),
            ("matmul", "own.toml"),
        ] {
            assert!(fault(text).contains(named), "{}", fault(text));
        }
    }

    #[test]
    fn what_is_not_said_is_usual() -> Result<()> {
        let text = "attention = [{ batch = 2, tokens = 3, keys = 5, heads = 2, size = 4 }]\nconv2d = [{ batch = 1, height = 5, width = 4, channels = 2, filters = 3, kernel = 3 }]";
        let graph = Listed::parse(text, Path::new("own.toml"))?.graph()?;
        let told: Vec<String> = graph.outputs().iter().map(|(name, v)| format!("{name} {}", graph.ty(*v))).collect();
        assert!(told.iter().any(|t| t.contains("f32[2, 3, 8]")) && told.iter().any(|t| t.contains("f32[1, 5, 4, 3]")), "{told:?}");
        assert_eq!(told.len(), 2 + 5, "two results and the gradients of q, k, v, x and w: {told:?}");
        assert!(Listed::parse("softmax = [{ rows = 0, columns = 4 }]", Path::new("own.toml"))?.graph().is_err());
        Ok(())
    }
}
