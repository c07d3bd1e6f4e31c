//! The caption decoder: BLIP's causal BERT with cross-attention to the vision tokens and a tied output layer.
//!
//! Built in three forms on the same parameters: over whole captions (training, scoring), the cross-attention keys and values of an image
//! (once per image), and one step over cached keys and values.

use super::config::TextDecoderConfig;
use super::layers::{Training, dense, drop_attention, norm};
use super::text::{BertLayer, control, embeddings, first_position};
use crate::error::Result;
use crate::graph::{Builder, StateKind, Value};
use crate::ops::assign::assign;
use crate::ops::attention::{AttentionOptions, Qkv, attention};
use crate::ops::gather::reorder;
use crate::ops::kv_cache::kv_append;
use crate::ops::linear::{Activation, linear};
use crate::tensor::TensorType;

/// The state that holds the position of the token being decoded: i32 \[1\].
pub const POSITION: &str = "decode.position";
/// The state that holds how many keys there are with it: i32 \[1\].
pub const LENGTH: &str = "decode.length";

/// Sizes of a decoding session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decoding {
    /// Images.
    pub images: usize,
    /// Beams of each image.
    pub beams: usize,
    /// The most tokens a caption may have, the start token included.
    pub max_length: usize,
    /// Vision tokens of an image.
    pub vision_tokens: usize,
}

impl Decoding {
    /// Sequences decoded side by side.
    pub fn rows(&self) -> usize {
        self.images * self.beams
    }

    /// The name of a cache. It carries the sizes, so that sessions of several sizes share one store.
    fn cache(&self, which: &str, layer: usize) -> String {
        let Decoding { images, beams, max_length, .. } = self;
        match which {
            "self.key" | "self.value" => format!("cache.{images}x{beams}x{max_length}.{layer}.{which}"),
            _ => format!("cache.{images}.{layer}.{which}"),
        }
    }

    /// The name of the state that holds the tokens being decoded: i32 [rows, 1].
    pub fn ids(&self) -> String {
        self.search("ids")
    }

    /// The name of the state that holds the rows that their caches are taken from: i32 \[rows\].
    pub fn parents(&self) -> String {
        self.search("parents")
    }

    /// The name of other state of a search, sizes and all.
    pub(super) fn search(&self, which: &str) -> String {
        let Decoding { images, beams, max_length, .. } = self;
        format!("decode.{images}x{beams}x{max_length}.{which}")
    }
}

fn layer_of(config: &TextDecoderConfig) -> BertLayer {
    BertLayer {
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        heads: config.num_attention_heads,
        eps: config.layer_norm_eps,
        dropout: config.hidden_dropout_prob,
        attention_dropout: config.attention_probs_dropout_prob,
    }
}

/// How a decoder layer gets at keys and values.
enum Keys<'a> {
    /// Of whole captions [B, L], with their mask, and the vision tokens [B, N, hidden].
    Whole { mask: Value, vision: Value, training: Option<&'a Training> },
    /// From the caches.
    Cached { decoding: &'a Decoding, place: Place },
}

/// Builds the decoder over whole captions: `ids` and `mask` [B, L], `vision` [B, N, hidden]; gives the logits [B, L, vocabulary].
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn decoder(b: &mut Builder, config: &TextDecoderConfig, ids: Value, mask: Value, vision: Value, training: Option<&Training>) -> Result<Value> {
    let start = first_position(b)?;
    build(b, config, ids, start, &Keys::Whole { mask, vision, training }, training)
}

/// What a decoding step reads, all of it state.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The tokens: i32 [rows, 1].
    pub ids: Value,
    /// The rows that their caches are taken from: i32 \[rows\].
    pub parents: Value,
    /// See [`POSITION`].
    pub position: Value,
    /// See [`LENGTH`].
    pub length: Value,
}

impl Place {
    /// The state of these sizes.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] where a name stands for something else.
    pub fn new(b: &mut Builder, decoding: &Decoding) -> Result<Self> {
        Ok(Place {
            ids: b.global_state(&decoding.ids(), TensorType::i32([decoding.rows(), 1]), StateKind::Control)?,
            parents: control(b, &decoding.parents(), decoding.rows())?,
            position: control(b, POSITION, 1)?,
            length: control(b, LENGTH, 1)?,
        })
    }
}

/// Builds one decoding step, which first reorders the caches by the parents; gives the logits [rows, 1, vocabulary].
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn step(b: &mut Builder, config: &TextDecoderConfig, decoding: &Decoding, place: Place) -> Result<Value> {
    build(b, config, place.ids, place.position, &Keys::Cached { decoding, place }, None)
}

/// Builds what is computed once per image: the cross-attention keys and values of `vision` [images, N, hidden], into their caches.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn cross_keys(b: &mut Builder, config: &TextDecoderConfig, decoding: &Decoding, vision: Value) -> Result<()> {
    let layer = layer_of(config);
    let ty = TensorType::f32([decoding.images, decoding.vision_tokens, layer.hidden]);
    for i in 0..config.num_hidden_layers {
        for name in ["key", "value"] {
            let cache = b.global_state(&decoding.cache(&format!("cross.{name}"), i), ty, StateKind::Cache)?;
            let projected = b.scoped(&format!("text_decoder.bert.encoder.layer.{i}.crossattention"), |b| layer.project(b, name, vision))?;
            assign(b, cache, projected)?;
        }
    }
    Ok(())
}

fn build(b: &mut Builder, config: &TextDecoderConfig, ids: Value, offset: Value, keys: &Keys, training: Option<&Training>) -> Result<Value> {
    let layer = layer_of(config);
    b.scoped("text_decoder", |b| {
        let x = b.scoped("bert", |b| {
            let tables = (config.vocab_size, config.max_position_embeddings, None);
            let mut x = embeddings(b, &layer, ids, tables, offset, training)?;
            for i in 0..config.num_hidden_layers {
                x = b.scoped(&format!("encoder.layer.{i}"), |b| {
                    let x = b.scoped("attention", |b| self_attention(b, &layer, i, x, keys))?;
                    let x = b.scoped("crossattention", |b| cross_attention(b, &layer, i, x, keys))?;
                    layer.mlp(b, x, training)
                })?;
            }
            Ok(x)
        })?;
        head(b, config, x)
    })
}

fn self_attention(b: &mut Builder, layer: &BertLayer, i: usize, x: Value, keys: &Keys) -> Result<Value> {
    let (q, k, v) = (layer.project(b, "query", x)?, layer.project(b, "key", x)?, layer.project(b, "value", x)?);
    match *keys {
        Keys::Whole { mask, training, .. } => {
            let dropout = drop_attention(b, layer.attention_dropout, training);
            let options = AttentionOptions { causal: true, mask: Some(mask), dropout, ..layer.attention() };
            let attended = attention(b, Qkv::Separate { q, k, v }, options)?;
            layer.close_attention(b, attended.y, x, training)
        }
        Keys::Cached { decoding, place: Place { parents, position, length, .. } } => {
            let ty = TensorType::f32([decoding.rows(), decoding.max_length, layer.hidden]);
            let mut cache = |name: &str, new: Value| {
                let cache = b.global_state(&decoding.cache(name, i), ty, StateKind::Cache)?;
                if decoding.beams > 1 {
                    reorder(b, cache, parents, Some(position))?;
                }
                kv_append(b, cache, new, position)?;
                Ok(cache)
            };
            let (k, v) = (cache("self.key", k)?, cache("self.value", v)?);
            let options = AttentionOptions { lengths: Some(length), ..layer.attention() };
            let attended = attention(b, Qkv::Separate { q, k, v }, options)?;
            layer.close_attention(b, attended.y, x, None)
        }
    }
}

fn cross_attention(b: &mut Builder, layer: &BertLayer, i: usize, x: Value, keys: &Keys) -> Result<Value> {
    let q = layer.project(b, "query", x)?;
    let (k, v, training) = match *keys {
        Keys::Whole { vision, training, .. } => (layer.project(b, "key", vision)?, layer.project(b, "value", vision)?, training),
        Keys::Cached { decoding, .. } => {
            let ty = TensorType::f32([decoding.images, decoding.vision_tokens, layer.hidden]);
            let mut cache = |name: &str| b.global_state(&decoding.cache(name, i), ty, StateKind::Cache);
            (cache("cross.key")?, cache("cross.value")?, None)
        }
    };
    let dropout = drop_attention(b, layer.attention_dropout, training);
    let attended = attention(b, Qkv::Separate { q, k, v }, AttentionOptions { dropout, ..layer.attention() })?;
    layer.close_attention(b, attended.y, x, training)
}

/// `norm(gelu(dense(x)))` times the word embedding, transposed, plus a bias.
fn head(b: &mut Builder, config: &TextDecoderConfig, x: Value) -> Result<Value> {
    let words = b.scoped("bert.embeddings", |b| b.parameter("word_embeddings.weight", [config.vocab_size, config.hidden_size]))?;
    b.scoped("cls.predictions", |b| {
        let x = b.scoped("transform", |b| {
            let x = dense(b, "dense", x, config.hidden_size, Activation::Gelu)?;
            norm(b, "LayerNorm", x, config.layer_norm_eps)
        })?;
        let bias = b.parameter("bias", [config.vocab_size])?;
        linear(b, x, words, Some(bias), Activation::None)
    })
}
