//! The captioner's vision tower: BLIP's ViT, pre-norm with a final layer norm (Dosovitskiy et al. 2020, arXiv:2010.11929; Li et al.
//! 2022, arXiv:2201.12086).

use super::config::VisionConfig;
use super::layers::{Training, add_norm, dense, drop_attention, norm};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::ops::attention::{AttentionOptions, Qkv, attention};
use crate::ops::broadcast_add::broadcast_add;
use crate::ops::concat::concat;
use crate::ops::conv2d::conv2d;
use crate::ops::gather::gather_rows;
use crate::ops::linear::Activation;
use crate::ops::reshape::reshape;
use crate::tensor::Tensor;

/// Builds the tower on `image` [B, S, S, 3], normalised, under the scope `vision_model`; gives [B, 1 + (S/patch)^2, hidden].
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn vision(b: &mut Builder, config: &VisionConfig, image: Value, training: Option<&Training>) -> Result<Value> {
    b.scoped("vision_model", |b| {
        let mut sum = b.scoped("embeddings", |b| embeddings(b, config, image))?;
        let mut normed = b.scoped("encoder.layers.0", |b| norm(b, "layer_norm1", sum, config.layer_norm_eps))?;
        for i in 0..config.num_hidden_layers {
            let layer = format!("encoder.layers.{i}");
            let attended = b.scoped(&layer, |b| self_attention(b, config, normed, training))?;
            let (inner, residual) = b.scoped(&layer, |b| add_norm(b, "layer_norm2", attended, sum, config.layer_norm_eps))?;
            let inner = b.scoped(&layer, |b| dense(b, "mlp.fc1", inner, config.intermediate_size, Activation::Gelu))?;
            let inner = b.scoped(&layer, |b| dense(b, "mlp.fc2", inner, config.hidden_size, Activation::None))?;
            // The norm that follows belongs to the next layer, or closes the tower.
            let next = format!("encoder.layers.{}.layer_norm1", i + 1);
            let next = if i + 1 < config.num_hidden_layers { next.as_str() } else { "post_layernorm" };
            (normed, sum) = add_norm(b, next, inner, residual, config.layer_norm_eps)?;
        }
        Ok(normed)
    })
}

/// [class token; patches] + positions.
fn embeddings(b: &mut Builder, config: &VisionConfig, image: Value) -> Result<Value> {
    let (batch, hidden, patch) = (b.shape(image)[0], config.hidden_size, config.patch_size);
    let patches = b.scoped("patch_embedding", |b| {
        let weight = b.parameter("weight", [hidden, patch, patch, 3])?;
        let bias = b.parameter("bias", [hidden])?;
        conv2d(b, image, weight, Some(bias), patch, 0)
    })?;
    let patches = reshape(b, patches, [batch, config.tokens() - 1, hidden])?;
    let class = b.parameter("class_embedding", [1, 1, hidden])?;
    let each_image = b.constant(Tensor::from_i32([batch], vec![0; batch])?);
    let class = gather_rows(b, class, each_image)?;
    let tokens = concat(b, &[class, patches], 1)?;
    let positions = b.parameter("position_embedding", [1, config.tokens(), hidden])?;
    let positions = reshape(b, positions, [config.tokens(), hidden])?;
    broadcast_add(b, tokens, positions)
}

fn self_attention(b: &mut Builder, config: &VisionConfig, x: Value, training: Option<&Training>) -> Result<Value> {
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    b.scoped("self_attn", |b| {
        let qkv = dense(b, "qkv", x, 3 * hidden, Activation::None)?;
        let dropout = drop_attention(b, config.attention_dropout, training);
        let options = AttentionOptions { dropout, ..AttentionOptions::new(heads, hidden / heads) };
        let attended = attention(b, Qkv::Fused(qkv), options)?;
        dense(b, "projection", attended.y, hidden, Activation::None)
    })
}
