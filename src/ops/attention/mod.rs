//! Multi-head attention: `y = softmax(scale Q K^T + mask) V` for each head (Vaswani et al. 2017).
//!
//! Tensors are [B, L, W] with the heads side by side in the last dimension: head h is columns h D .. (h + 1) D. Queries, keys and values
//! come as three tensors, or side by side in one, [B, L, 3 H D]; neither is copied.
//!
//! * `causal`: query i sees keys up to i + (Lk - Lq).
//! * `mask`, i32 [B, Lk]: keys marked 0 are not seen. `lengths`, i32 \[1\] or \[B\]: only the first n keys exist, and a causal query i sees
//!   keys up to i + (n - Lq): for caches that are longer than what they hold. A query that sees nothing gives zeros.
//! * Beams: q may have g times the batch of k and v; query batch b reads key batch b / g. Mask and lengths may have either batch.
//! * Dropout: `P` is multiplied by keep / (1 - p) before it meets V. The element of the mask is
//!   `((b H + h) Lq + i) R + j`, with R = Lk rounded up to a multiple of 4 ([`super::support::philox`]).
//!
//! The scores of a head never exist as a whole: blocks of queries are taken through product, softmax and product while they are in
//! cache (Dao et al. 2022, FlashAttention). Saved for the backward pass is the logarithm of the softmax's denominator, lse [B, H, Lq],
//! from which it recomputes the probabilities:
//!
//! ```text
//! P = exp(scale Q K^T - lse)     delta = sum over D of dy y
//! dV = P^T dy                    dS = scale P (dy V^T - delta)
//! dQ = dS K                      dK = dS^T Q
//! ```
//!
//! FLOPs: 4 B H Lq Lk D forward, 10 B H Lq Lk D backward. Bound by arithmetic, but for one query (decoding), where every key and value is
//! read once from memory.

mod backward;
mod cases;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod reference;
mod tensors;
#[cfg(feature = "wgpu")]
mod wgpu;

use super::{Forward, Kernel, Row};
use super::reshape::reshape;
use super::transpose::transpose;
use crate::device::cpu::Args;
#[cfg(feature = "cuda")]
use crate::device::cuda::Launch as CudaLaunch;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::{Error, Result};
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use std::sync::Arc;

pub use backward::AttentionBackward;
pub use tensors::Form;
use tensors::Tensors;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward_rule),
    precision: Precision::Low,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    variants: &["exact", "mma64", "mma128", "wgmma64", "wgmma128"],
    fill: |op, inputs, i| {
        let (form, from) = match (op.downcast::<Attention>(), op.downcast::<AttentionBackward>()) {
            (Some(op), _) => (op.form, 0),
            (_, Some(op)) => (op.form, backward::SOURCES),
            _ => return None,
        };
        form.fill(&inputs[from..], i.checked_sub(from)?)
    },
    forward: |op, inputs| {
        let op: Arc<dyn Op> = Arc::new(Attention { form: op.downcast::<AttentionBackward>()?.form, mean_probabilities: false });
        Some(Forward { op, inputs: backward::SOURCES..inputs, outputs: vec![(0, 1), (1, 2)] })
    },
    golden: Some(|case, b, input| {
        // [B, H, L, D] is PyTorch's layout.
        let [batch, heads, queries, size] = case.shape("q")?[..] else { return Err(Error::graph(case.name, "q [B, H, L, D]", "another rank")) };
        let side_by_side = |b: &mut Builder, x: Value| {
            let length = b.shape(x)[2];
            let x = transpose(b, x, &[0, 2, 1, 3])?;
            reshape(b, x, [batch, length, heads * size])
        };
        let (q, k, v) = (side_by_side(b, input("q")?)?, side_by_side(b, input("k")?)?, side_by_side(b, input("v")?)?);
        let mask = if case.ty("mask").is_some() { Some(input("mask")?) } else { None };
        let options = AttentionOptions { scale: case.number("scale")?, causal: case.flag("causal")?, mask, ..AttentionOptions::new(heads, size) };
        let attended = attention(b, Qkv::Separate { q, k, v }, options)?;
        let y = reshape(b, attended.y, [batch, queries, heads, size])?;
        Ok(vec![("y", transpose(b, y, &[0, 2, 1, 3])?)])
    }),
    ..Row::new("attention", head!("mod.rs"), cases::cases)
};

/// Where queries, keys and values are.
#[derive(Debug, Clone, Copy)]
pub enum Qkv {
    /// Side by side in the last dimension, [B, L, 3 H D].
    Fused(Value),
    /// Each its own tensor.
    Separate {
        /// [B g, Lq, H D]
        q: Value,
        /// [B, Lk, H D]
        k: Value,
        /// [B, Lk, H D]
        v: Value,
    },
}

/// Dropout of the probabilities.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The probability of an element to be dropped, in [0, 1).
    pub p: f64,
    /// i32 \[4\]: seed (low, high), step, micro-step.
    pub rng: Value,
    /// Tells this operator's mask from those of others.
    pub key: u64,
}

/// How to attend.
#[derive(Debug, Clone, Copy)]
pub struct AttentionOptions {
    /// How many heads.
    pub heads: usize,
    /// What the products are multiplied by; positive.
    pub scale: f64,
    /// Queries see no later keys.
    pub causal: bool,
    /// i32 [B, Lk]: 1 where a key may be seen.
    pub mask: Option<Value>,
    /// i32 \[1\] or \[B\]: how many keys exist.
    pub lengths: Option<Value>,
    /// Drops probabilities.
    pub dropout: Option<Dropout>,
    /// The mean of the probabilities over the heads is wanted. No gradient flows through it.
    pub mean_probabilities: bool,
}

impl AttentionOptions {
    /// Plain attention of `heads` heads of `size`, scaled by 1 / sqrt(size).
    pub fn new(heads: usize, size: usize) -> Self {
        let scale = 1.0 / (size.max(1) as f64).sqrt();
        AttentionOptions { heads, scale, causal: false, mask: None, lengths: None, dropout: None, mean_probabilities: false }
    }
}

/// What attention gives.
#[derive(Debug, Clone, Copy)]
pub struct Attended {
    /// [B, Lq, H D]
    pub y: Value,
    /// The logarithm of each softmax's denominator, f32 [B, H, Lq]; infinite where a query sees nothing.
    pub lse: Value,
    /// The mean of the probabilities over the heads, before dropout, [B, Lq, Lk].
    pub probabilities: Option<Value>,
}

/// Multi-head attention.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn attention(b: &mut Builder, qkv: Qkv, options: AttentionOptions) -> Result<Attended> {
    let mut inputs = match qkv {
        Qkv::Fused(qkv) => vec![qkv],
        Qkv::Separate { q, k, v } => vec![q, k, v],
    };
    inputs.extend(options.mask);
    inputs.extend(options.lengths);
    inputs.extend(options.dropout.map(|d| d.rng));
    let form = Form {
        heads: options.heads,
        scale: options.scale,
        causal: options.causal,
        fused: matches!(qkv, Qkv::Fused(_)),
        mask: options.mask.is_some(),
        lengths: options.lengths.is_some(),
        dropout: options.dropout.map(|d| (d.p, d.key)),
    };
    let outputs = b.apply(Attention { form, mean_probabilities: options.mean_probabilities }, &inputs)?;
    Ok(Attended { y: outputs[0], lse: outputs[1], probabilities: outputs.get(2).copied() })
}

/// The forward pass. Inputs: those of [`Form`]. Outputs: y; lse in f32 (optional); the mean of the probabilities, where wanted.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// What is attended to, and how.
    pub form: Form,
    /// There is a third output.
    pub mean_probabilities: bool,
}

impl Op for Attention {
    fn stem(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("attention");
        let e = self.form.check(&check, inputs)?;
        let float = inputs[0];
        let mut outputs = vec![float.with_shape([e.batch, e.queries, e.heads * e.size]), TensorType::f32([e.batch, e.heads, e.queries])];
        if self.mean_probabilities {
            outputs.push(float.with_shape([e.batch, e.queries, e.keys]));
        }
        Ok(outputs)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let e = self.form.extents(inputs);
        let read = Cost::streaming(0, inputs, &outputs[..1]);
        let mean: u64 = outputs.iter().skip(2).map(|t| t.bytes() as u64).sum();
        Cost { flops: self.form.scores(&e) * (4 * e.size as u64 + 5), bytes: read.bytes + mean }
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn workspace(&self, inputs: &[TensorType], threads: usize) -> usize {
        cpu::workspace(&self.form.extents(inputs), self.mean_probabilities, self.form.dropout.is_some(), threads)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let tensors = Tensors::new(&self.form, args, 0)?;
        reference::forward(&tensors, args.out(0)?, args.optional_out(1), args.optional_out(2));
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let tensors = Tensors::new(&self.form, args, 0)?;
        let (y, lse, mean) = (args.out(0)?, args.optional_out(1), args.optional_out(2));
        if y.is_empty() {
            return Ok(());
        }
        cpu::forward(&tensors, y, lse, mean, args.workspace()?)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        cuda::forward(&self.form, self.mean_probabilities, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        wgpu::forward(&self.form, self.mean_probabilities, launch);
        Ok(())
    }
}

fn backward_rule(cx: &mut Backward) -> Result<()> {
    let op: Attention = cx.op()?;
    if op.mean_probabilities && cx.grad(2).is_some() {
        return Err(Error::graph(cx.builder().scope(), "no gradient through the mean probabilities", "one"));
    }
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let mut inputs = vec![dy, cx.output(0), cx.output(1)];
    inputs.extend((0..cx.input_count()).map(|i| cx.input(i)));
    let grads = cx.builder().apply(AttentionBackward { form: op.form }, &inputs)?;
    for (i, grad) in grads.into_iter().enumerate() {
        cx.set(i, grad);
    }
    Ok(())
}
