//! BERT (Devlin et al. 2018, arXiv:1810.04805): the text encoder, and the sub-layers that the caption decoder shares with it. Post-norm:
//! each sub-layer's output is added to its input and normalised.

use super::config::TextEncoderConfig;
use super::layers::{Training, add_norm, dense, drop, drop_attention, norm};
use crate::error::Result;
use crate::graph::{Builder, StateKind, Value};
use crate::ops::attention::{AttentionOptions, Qkv, attention};
use crate::ops::embedding::embedding_sum;
use crate::ops::linear::Activation;
use crate::tensor::{Tensor, TensorType};

/// What the sub-layers of encoder and decoder need to know.
#[derive(Debug, Clone, Copy)]
pub struct BertLayer {
    /// Width of a token.
    pub hidden: usize,
    /// Width inside the MLP.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Added to the variance in layer norms.
    pub eps: f64,
    /// Dropout of each sub-layer's output.
    pub dropout: f64,
    /// Dropout of the attention's probabilities.
    pub attention_dropout: f64,
}

impl BertLayer {
    /// Head and scale, without masks.
    pub fn attention(&self) -> AttentionOptions {
        AttentionOptions::new(self.heads, self.hidden / self.heads)
    }

    /// `norm(x + drop(dense(attended)))`: what closes an attention sub-layer, under the present scope's `output`.
    ///
    /// # Errors
    /// Those of [`Builder::apply`].
    pub fn close_attention(&self, b: &mut Builder, attended: Value, x: Value, training: Option<&Training>) -> Result<Value> {
        b.scoped("output", |b| {
            let y = dense(b, "dense", attended, self.hidden, Activation::None)?;
            let y = drop(b, "dropout", y, self.dropout, training)?;
            Ok(add_norm(b, "LayerNorm", y, x, self.eps)?.0)
        })
    }

    /// The MLP sub-layer: `norm(x + drop(dense(gelu(dense(x)))))`, under `intermediate` and `output`.
    ///
    /// # Errors
    /// Those of [`Builder::apply`].
    pub fn mlp(&self, b: &mut Builder, x: Value, training: Option<&Training>) -> Result<Value> {
        let inner = dense(b, "intermediate.dense", x, self.intermediate, Activation::Gelu)?;
        self.close_attention(b, inner, x, training)
    }

    /// Query, key and value of `x` under `self`, by its name: [.., hidden].
    ///
    /// # Errors
    /// Those of [`Builder::apply`].
    pub fn project(&self, b: &mut Builder, name: &str, x: Value) -> Result<Value> {
        b.scoped("self", |b| dense(b, name, x, self.hidden, Activation::None))
    }
}

/// Word, position and, where there are some, type embeddings, normalised, under the scope `embeddings`. `offset` i32 \[1\] is the position
/// of the first column.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn embeddings(
    b: &mut Builder,
    layer: &BertLayer,
    ids: Value,
    (vocabulary, positions, types): (usize, usize, Option<usize>),
    offset: Value,
    training: Option<&Training>,
) -> Result<Value> {
    b.scoped("embeddings", |b| {
        let words = b.parameter("word_embeddings.weight", [vocabulary, layer.hidden])?;
        let positions = b.parameter("position_embeddings.weight", [positions, layer.hidden])?;
        let types = types.map(|n| b.parameter("token_type_embeddings.weight", [n, layer.hidden])).transpose()?;
        let x = embedding_sum(b, ids, words, Some((positions, offset)), types)?;
        let x = norm(b, "LayerNorm", x, layer.eps)?;
        drop(b, "dropout", x, layer.dropout, training)
    })
}

/// The position 0, for sequences that start at the beginning.
pub fn first_position(b: &mut Builder) -> Result<Value> {
    Ok(b.constant(Tensor::from_i32([1], vec![0])?))
}

/// Builds the text encoder on `ids` [B, L] and `mask` [B, L] (1: a token, 0: padding), under the scope `text_encoder`; gives [B, L, hidden].
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn text_encoder(b: &mut Builder, config: &TextEncoderConfig, ids: Value, mask: Value, training: Option<&Training>) -> Result<Value> {
    let layer = BertLayer {
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        heads: config.num_attention_heads,
        eps: config.layer_norm_eps,
        dropout: config.hidden_dropout_prob,
        attention_dropout: config.attention_probs_dropout_prob,
    };
    b.scoped("text_encoder", |b| {
        let start = first_position(b)?;
        let tables = (config.vocab_size, config.max_position_embeddings, Some(config.type_vocab_size));
        let mut x = embeddings(b, &layer, ids, tables, start, training)?;
        for i in 0..config.num_hidden_layers {
            x = b.scoped(&format!("encoder.layer.{i}"), |b| {
                let attended = b.scoped("attention", |b| {
                    let (q, k, v) = (layer.project(b, "query", x)?, layer.project(b, "key", x)?, layer.project(b, "value", x)?);
                    let dropout = drop_attention(b, layer.attention_dropout, training);
                    let options = AttentionOptions { mask: Some(mask), dropout, ..layer.attention() };
                    let attended = attention(b, Qkv::Separate { q, k, v }, options)?;
                    layer.close_attention(b, attended.y, x, training)
                })?;
                layer.mlp(b, attended, training)
            })?;
        }
        Ok(x)
    })
}

/// Adds a control state to the graph: i32 of this shape, written by the host between replays.
///
/// # Errors
/// [`crate::Error::Graph`] where its name stands for something else.
pub fn control(b: &mut Builder, name: &str, extent: usize) -> Result<Value> {
    b.global_state(name, TensorType::i32([extent]), StateKind::Control)
}
