//! What joins picture and caption: the highlight of emotionally charged words, cross- and self-attention, and the head.

use super::config::{EscnetConfig, FusionConfig, Highlight};
use super::layers::{Training, dense, drop, norm};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::ops::add::add;
use crate::ops::attention::{AttentionOptions, Qkv, attention};
use crate::ops::broadcast_add::broadcast_add;
use crate::ops::cast::cast;
use crate::ops::concat::concat;
use crate::ops::linear::{Activation, linear};
use crate::ops::masked_mean::masked_mean;
use crate::ops::mul::{mul, mul_rows};
use crate::ops::reshape::reshape;
use crate::ops::sigmoid::sigmoid;
use crate::ops::slice::slice;
use crate::ops::tanh::tanh;
use crate::tensor::{DType, Tensor};

/// Layer norms of the fusion.
const EPS: f64 = 1e-5;

/// What comes out.
#[derive(Debug, Clone, Copy)]
pub struct Fused {
    /// [B, C]
    pub logits: Value,
    /// How strongly each word is highlighted, [B, L], 0 at padding. None without a highlight.
    pub gate: Option<Value>,
    /// Where each word looks, the mean over heads: [B, L, N]. None without a highlight.
    pub attention: Option<Value>,
    /// The pooled tokens before the last norm, [B, d].
    pub pooled: Value,
}

/// What goes in.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// The backbone's last feature map, [B, H, W, C].
    pub features: Value,
    /// The text encoder's tokens, [B, L, hidden].
    pub text: Value,
    /// [B, L] i32, 1 at words, 0 at padding.
    pub mask: Value,
    /// The affect strength of each word, [B, L], for the lexicon highlight.
    pub affect: Option<Value>,
}

/// Builds the fusion under the scope `fusion`.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn fusion(b: &mut Builder, config: &EscnetConfig, streams: Streams, training: Option<&Training>) -> Result<Fused> {
    let (sizes, cells) = (&config.fusion, config.grid() * config.grid());
    let (d, p) = (sizes.hidden_size, sizes.dropout);
    let features = b.shape(streams.features);
    let (batch, words) = (features[0], b.shape(streams.text)[1]);
    b.scoped("fusion", |b| {
        // Row-major grid: token = y * grid + x.
        let grid = reshape(b, streams.features, [batch, cells, features[3]])?;
        let v = dense(b, "visual_proj", grid, d, Activation::None)?;
        let positions = b.parameter("visual_pos", [cells, d])?;
        let v = broadcast_add(b, v, positions)?;
        let mut v = norm(b, "visual_norm", v, EPS)?;
        let t = dense(b, "text_proj", streams.text, d, Activation::None)?;
        let t = norm(b, "text_norm", t, EPS)?;
        let (mut t, gate, attended) = b.scoped("highlight", |b| highlight(b, sizes, t, v, &streams))?;
        let seen = b.constant(Tensor::from_i32([batch, cells], vec![1; batch * cells])?);
        let mask = concat(b, &[seen, streams.mask], 1)?;
        let mut z = None;
        for i in 0..sizes.depth {
            let joint = b.scoped(&format!("blocks.{i}"), |b| block(b, sizes, (v, t), (streams.mask, mask), training))?;
            v = slice(b, joint, 1, 0, cells)?;
            t = slice(b, joint, 1, cells, words)?;
            z = Some(joint);
        }
        let z = match z {
            Some(z) => z,
            None => concat(b, &[v, t], 1)?,
        };
        let pooled = masked_mean(b, z, mask)?;
        let x = norm(b, "norm", pooled, EPS)?;
        let x = drop(b, "dropout", x, p, training)?;
        let logits = dense(b, "head", x, config.classes.len(), Activation::None)?;
        Ok(Fused { logits, gate, attention: attended, pooled })
    })
}

/// Multi-head attention with the oracle's names: q, k, v, o.
fn attend(
    b: &mut Builder,
    name: &str,
    sizes: &FusionConfig,
    (xq, xk): (Value, Value),
    mask: Option<Value>,
    map: bool,
) -> Result<(Value, Option<Value>)> {
    let (d, heads) = (sizes.hidden_size, sizes.num_attention_heads);
    b.scoped(name, |b| {
        let q = dense(b, "q", xq, d, Activation::None)?;
        let k = dense(b, "k", xk, d, Activation::None)?;
        let v = dense(b, "v", xk, d, Activation::None)?;
        let options = AttentionOptions { mask, mean_probabilities: map, ..AttentionOptions::new(heads, d / heads) };
        let attended = attention(b, Qkv::Separate { q, k, v }, options)?;
        Ok((dense(b, "o", attended.y, d, Activation::None)?, attended.probabilities))
    })
}

/// The caption-related visual features U, and the gate that lets them through: `norm(T + g U)`.
fn highlight(b: &mut Builder, sizes: &FusionConfig, t: Value, v: Value, streams: &Streams) -> Result<(Value, Option<Value>, Option<Value>)> {
    if sizes.highlight == Highlight::None {
        return Ok((t, None, None));
    }
    let d = sizes.hidden_size;
    let (u, map) = attend(b, "attn", sizes, (t, v), None, true)?;
    let extent = [b.shape(t)[0], b.shape(t)[1]];
    let gate = match (sizes.highlight, streams.affect) {
        (Highlight::Lexicon, Some(affect)) => affect,
        (Highlight::Lexicon, None) => return Err(crate::Error::graph("fusion.highlight", "the words' affect strengths", "none")),
        _ => {
            let weight = b.scoped("gate_t", |b| b.parameter("weight", [d, d]))?;
            let from_text = linear(b, t, weight, None, Activation::None)?;
            let from_image = dense(b, "gate_u", u, d, Activation::None)?;
            let inner = add(b, from_text, from_image)?;
            let inner = tanh(b, inner)?;
            let gate = dense(b, "gate_w", inner, 1, Activation::None)?;
            let gate = sigmoid(b, gate)?;
            reshape(b, gate, extent)?
        }
    };
    let mask = cast(b, streams.mask, DType::F32)?;
    let gate = mul(b, gate, mask)?;
    let gated = mul_rows(b, u, gate)?;
    let sum = add(b, t, gated)?;
    Ok((norm(b, "norm", sum, EPS)?, Some(gate), map))
}

/// One pre-norm block: cross-attention between the streams, both from the block's input, then self-attention and an MLP over both.
fn block(
    b: &mut Builder,
    sizes: &FusionConfig,
    (v, t): (Value, Value),
    (text_mask, mask): (Value, Value),
    training: Option<&Training>,
) -> Result<Value> {
    let (d, p) = (sizes.hidden_size, sizes.dropout);
    let (mut to_v, mut to_t) = (v, t);
    if sizes.cross.image_asks() || sizes.cross.words_ask() {
        let nv = norm(b, "norm_v", v, EPS)?;
        let nt = norm(b, "norm_t", t, EPS)?;
        if sizes.cross.image_asks() {
            let (y, _) = attend(b, "cross_v", sizes, (nv, nt), Some(text_mask), false)?;
            let y = drop(b, "cross_v.dropout", y, p, training)?;
            to_v = add(b, v, y)?;
        }
        if sizes.cross.words_ask() {
            let (y, _) = attend(b, "cross_t", sizes, (nt, nv), None, false)?;
            let y = drop(b, "cross_t.dropout", y, p, training)?;
            to_t = add(b, t, y)?;
        }
    }
    let mut z = concat(b, &[to_v, to_t], 1)?;
    if sizes.self_attention {
        let nz = norm(b, "norm_z", z, EPS)?;
        let (y, _) = attend(b, "self_attn", sizes, (nz, nz), Some(mask), false)?;
        let y = drop(b, "self_attn.dropout", y, p, training)?;
        z = add(b, z, y)?;
    }
    let inner = norm(b, "norm_f", z, EPS)?;
    let inner = dense(b, "fc1", inner, d * sizes.mlp_ratio, Activation::Gelu)?;
    let inner = dense(b, "fc2", inner, d, Activation::None)?;
    let inner = drop(b, "mlp.dropout", inner, p, training)?;
    add(b, z, inner)
}
