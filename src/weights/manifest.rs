//! Every tensor of a model, its parameters and batch norm's running statistics, by name and shape as checkpoints hold them.
//!
//! Names are torchvision's, Hugging Face's and, for the fusion, this project's, each under its part's prefix. A linear layer is
//! [out, in], a filter [out, in, height, width].

use super::names::Part;
use crate::error::Result;
use crate::model::config::{
    BackboneConfig, CaptionerConfig, EscnetConfig, FusionConfig, Highlight, TextDecoderConfig, TextEncoderConfig, VisionConfig,
};
use crate::tensor::Shape;
use std::fmt::{self, Display};
use std::path::Path;

/// A tensor the model cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The full name, part's prefix included.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// The part it belongs to.
    pub part: Part,
}

impl Wanted {
    /// True for a running statistic of batch norm: state, but not trained.
    pub fn is_statistic(&self) -> bool {
        self.name.ends_with(".running_mean") || self.name.ends_with(".running_var")
    }
}

impl Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.shape)
    }
}

/// All tensors of the model this configuration describes, part after part, in the order a picture meets them.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) where the configuration does not hold together.
pub fn manifest(config: &EscnetConfig) -> Result<Vec<Wanted>> {
    config.check(Path::new("configuration"))?;
    let mut all = Vec::new();
    for part in Part::ALL {
        let mut list = List::default();
        match part {
            Part::Backbone => backbone(&mut list, &config.backbone),
            Part::Captioner => captioner(&mut list, &config.captioner),
            Part::TextEncoder => text_encoder(&mut list, &config.text_encoder),
            Part::Fusion => fusion(&mut list, config),
        }
        for (name, dims) in list.0 {
            all.push(Wanted { name: format!("{part}.{name}"), shape: Shape::new(&dims)?, part });
        }
    }
    Ok(all)
}

/// Names and shapes of one part, without its prefix.
#[derive(Default)]
struct List(Vec<(String, Vec<usize>)>);

impl List {
    fn tensor<const N: usize>(&mut self, name: impl Display, shape: [usize; N]) {
        self.0.push((name.to_string(), shape.to_vec()));
    }

    fn linear(&mut self, name: impl Display, from: usize, to: usize) {
        self.tensor(format!("{name}.weight"), [to, from]);
        self.tensor(format!("{name}.bias"), [to]);
    }

    fn norm(&mut self, name: impl Display, width: usize) {
        self.tensor(format!("{name}.weight"), [width]);
        self.tensor(format!("{name}.bias"), [width]);
    }

    fn batch_norm(&mut self, name: impl Display, channels: usize) {
        self.norm(&name, channels);
        self.tensor(format!("{name}.running_mean"), [channels]);
        self.tensor(format!("{name}.running_var"), [channels]);
    }

    /// A square filter without bias, and the batch norm after it.
    fn convolution(&mut self, filter: impl Display, norm: impl Display, from: usize, to: usize, side: usize) {
        self.tensor(format!("{filter}.weight"), [to, from, side, side]);
        self.batch_norm(norm, to);
    }
}

fn backbone(list: &mut List, config: &BackboneConfig) {
    list.convolution("conv1", "bn1", 3, config.width, 7);
    let mut channels = config.width;
    for (stage, &depth) in config.layers.iter().enumerate() {
        let planes = config.width << stage;
        for block in 0..depth {
            let at = format!("layer{}.{block}", stage + 1);
            list.convolution(format!("{at}.conv1"), format!("{at}.bn1"), channels, planes, 1);
            list.convolution(format!("{at}.conv2"), format!("{at}.bn2"), planes, planes, 3);
            list.convolution(format!("{at}.conv3"), format!("{at}.bn3"), planes, 4 * planes, 1);
            if block == 0 {
                list.convolution(format!("{at}.downsample.0"), format!("{at}.downsample.1"), channels, 4 * planes, 1);
            }
            channels = 4 * planes;
        }
    }
}

fn captioner(list: &mut List, config: &CaptionerConfig) {
    vision(list, &config.vision_config);
    text_decoder(list, &config.text_config);
}

fn vision(list: &mut List, config: &VisionConfig) {
    let (d, patch) = (config.hidden_size, config.patch_size);
    list.tensor("vision_model.embeddings.class_embedding", [1, 1, d]);
    list.tensor("vision_model.embeddings.position_embedding", [1, config.tokens(), d]);
    list.tensor("vision_model.embeddings.patch_embedding.weight", [d, 3, patch, patch]);
    list.tensor("vision_model.embeddings.patch_embedding.bias", [d]);
    for layer in 0..config.num_hidden_layers {
        let at = format!("vision_model.encoder.layers.{layer}");
        list.norm(format!("{at}.layer_norm1"), d);
        list.linear(format!("{at}.self_attn.qkv"), d, 3 * d);
        list.linear(format!("{at}.self_attn.projection"), d, d);
        list.norm(format!("{at}.layer_norm2"), d);
        list.linear(format!("{at}.mlp.fc1"), d, config.intermediate_size);
        list.linear(format!("{at}.mlp.fc2"), config.intermediate_size, d);
    }
    list.norm("vision_model.post_layernorm", d);
}

fn text_decoder(list: &mut List, config: &TextDecoderConfig) {
    let d = config.hidden_size;
    let embeddings = "text_decoder.bert.embeddings";
    list.tensor(format!("{embeddings}.word_embeddings.weight"), [config.vocab_size, d]);
    list.tensor(format!("{embeddings}.position_embeddings.weight"), [config.max_position_embeddings, d]);
    list.norm(format!("{embeddings}.LayerNorm"), d);
    for layer in 0..config.num_hidden_layers {
        let at = format!("text_decoder.bert.encoder.layer.{layer}");
        bert_attention(list, &format!("{at}.attention"), d, d);
        bert_attention(list, &format!("{at}.crossattention"), d, config.encoder_hidden_size);
        bert_mlp(list, &at, d, config.intermediate_size);
    }
    list.linear("text_decoder.cls.predictions.transform.dense", d, d);
    list.norm("text_decoder.cls.predictions.transform.LayerNorm", d);
    list.tensor("text_decoder.cls.predictions.bias", [config.vocab_size]);
}

fn text_encoder(list: &mut List, config: &TextEncoderConfig) {
    let d = config.hidden_size;
    list.tensor("embeddings.word_embeddings.weight", [config.vocab_size, d]);
    list.tensor("embeddings.position_embeddings.weight", [config.max_position_embeddings, d]);
    list.tensor("embeddings.token_type_embeddings.weight", [config.type_vocab_size, d]);
    list.norm("embeddings.LayerNorm", d);
    for layer in 0..config.num_hidden_layers {
        let at = format!("encoder.layer.{layer}");
        bert_attention(list, &format!("{at}.attention"), d, d);
        bert_mlp(list, &at, d, config.intermediate_size);
    }
}

/// BERT's attention from tokens `d` wide to tokens `keys` wide, with the norm after it.
fn bert_attention(list: &mut List, at: &str, d: usize, keys: usize) {
    list.linear(format!("{at}.self.query"), d, d);
    list.linear(format!("{at}.self.key"), keys, d);
    list.linear(format!("{at}.self.value"), keys, d);
    list.linear(format!("{at}.output.dense"), d, d);
    list.norm(format!("{at}.output.LayerNorm"), d);
}

/// BERT's MLP, with the norm after it.
fn bert_mlp(list: &mut List, at: &str, d: usize, inner: usize) {
    list.linear(format!("{at}.intermediate.dense"), d, inner);
    list.linear(format!("{at}.output.dense"), inner, d);
    list.norm(format!("{at}.output.LayerNorm"), d);
}

fn fusion(list: &mut List, config: &EscnetConfig) {
    let FusionConfig { hidden_size: d, mlp_ratio, depth, cross, self_attention, highlight, .. } = config.fusion;
    list.linear("visual_proj", config.backbone.channels(), d);
    list.tensor("visual_pos", [config.grid() * config.grid(), d]);
    list.norm("visual_norm", d);
    list.linear("text_proj", config.text_encoder.hidden_size, d);
    list.norm("text_norm", d);
    if highlight != Highlight::None {
        attention(list, "highlight.attn", d);
        if highlight == Highlight::Learned {
            list.tensor("highlight.gate_t.weight", [d, d]);
            list.linear("highlight.gate_u", d, d);
            list.linear("highlight.gate_w", d, 1);
        }
        list.norm("highlight.norm", d);
    }
    for block in 0..depth {
        let at = format!("blocks.{block}");
        if cross.image_asks() || cross.words_ask() {
            list.norm(format!("{at}.norm_v"), d);
            list.norm(format!("{at}.norm_t"), d);
        }
        if cross.image_asks() {
            attention(list, &format!("{at}.cross_v"), d);
        }
        if cross.words_ask() {
            attention(list, &format!("{at}.cross_t"), d);
        }
        if self_attention {
            list.norm(format!("{at}.norm_z"), d);
            attention(list, &format!("{at}.self_attn"), d);
        }
        list.norm(format!("{at}.norm_f"), d);
        list.linear(format!("{at}.fc1"), d, d * mlp_ratio);
        list.linear(format!("{at}.fc2"), d * mlp_ratio, d);
    }
    list.norm("norm", d);
    list.linear("head", d, config.classes.len());
}

fn attention(list: &mut List, at: &str, d: usize) {
    for projection in ["q", "k", "v", "o"] {
        list.linear(format!("{at}.{projection}"), d, d);
    }
}
