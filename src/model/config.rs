//! `config.json`: everything that fixes a model's shapes, names and behaviour.
//!
//! The captioner's and the text encoder's sections carry Hugging Face's keys and defaults, and tolerate the dozens of keys Hugging Face
//! writes beside them. The sections that are this project's own (`backbone`, `fusion`, `loss`) refuse a key they do not know, so
//! that a misspelt one is not silently without effect.

mod check;
mod read;

pub use read::CONFIG_FILE;
use serde::{Deserialize, Serialize};

/// The whole of a model's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EscnetConfig {
    /// Always [`ModelType::Escnet`]; a file of another model is refused.
    #[serde(default)]
    pub model_type: ModelType,
    /// The names of the emotions, in the order of the logits.
    pub classes: Vec<String>,
    /// Side of the classifier's square input, a multiple of 32.
    pub image_size: usize,
    /// The text encoder's `[CLS]`: what the captioner's start token becomes in the hand-off.
    #[serde(default = "default::cls_token_id")]
    pub cls_token_id: usize,
    /// How much of a caption the text encoder reads.
    #[serde(default, skip_serializing_if = "Reading::is_whole")]
    pub reading: Reading,
    /// The ResNet that sees the picture.
    pub backbone: BackboneConfig,
    /// The BLIP that tells it.
    pub captioner: CaptionerConfig,
    /// The BERT that reads the caption.
    pub text_encoder: TextEncoderConfig,
    /// What joins picture and caption.
    pub fusion: FusionConfig,
    /// What the classifier's training minimises.
    #[serde(default)]
    pub loss: LossConfig,
}

impl EscnetConfig {
    /// Tokens along one side of the backbone's feature map.
    pub fn grid(&self) -> usize {
        self.image_size / 32
    }
}

/// How much of a caption the text encoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// All of it.
    #[default]
    Whole,
    /// All but the phrase in which a captioner that was taught so names the emotion at the end.
    WithoutEmotion,
    /// Nothing: what the picture alone is worth.
    Nothing,
}

impl Reading {
    fn is_whole(&self) -> bool {
        *self == Reading::Whole
    }
}

/// The model a `config.json` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    /// This one.
    #[default]
    Escnet,
}

/// A ResNet of bottlenecks, torchvision's v1.5.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Bottlenecks in each of the four stages. A file may also say 50, 101 or 152.
    #[serde(deserialize_with = "read::layers")]
    pub layers: [usize; 4],
    /// Channels of the stem; torchvision's networks have 64.
    #[serde(default = "default::width")]
    pub width: usize,
}

impl BackboneConfig {
    /// Channels of the feature map.
    pub fn channels(&self) -> usize {
        32 * self.width
    }

    /// The stages of torchvision's network of this many layers.
    pub fn stages(depth: u64) -> Option<[usize; 4]> {
        match depth {
            50 => Some([3, 4, 6, 3]),
            101 => Some([3, 4, 23, 3]),
            152 => Some([3, 8, 36, 3]),
            _ => None,
        }
    }
}

/// BLIP for captioning: a vision transformer and a causal BERT that attends to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionerConfig {
    /// The vision transformer.
    pub vision_config: VisionConfig,
    /// The decoder.
    pub text_config: TextDecoderConfig,
}

/// BLIP's vision transformer, pre-norm with a final layer norm. Defaults are Hugging Face's `BlipVisionConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they share `hidden_size` evenly.
    pub num_attention_heads: usize,
    /// Side of the square input.
    pub image_size: usize,
    /// Side of a square patch; divides `image_size`.
    pub patch_size: usize,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout of the attention's probabilities.
    pub attention_dropout: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        VisionConfig {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
            attention_dropout: 0.0,
        }
    }
}

impl VisionConfig {
    /// Tokens of one picture, the class token included.
    pub fn tokens(&self) -> usize {
        let side = self.image_size / self.patch_size.max(1);
        side * side + 1
    }
}

/// BLIP's decoder: a causal BERT with cross-attention, its output layer tied to the word embedding. Defaults are Hugging Face's
/// `BlipTextConfig`; its default of 8 heads is not what the published checkpoints have (12, written in their `config.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextDecoderConfig {
    /// Word pieces, the start token included.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the vision tokens attended to. As in Hugging Face's `BlipConfig` the file's value has no effect: reading a file
    /// sets this to the vision transformer's `hidden_size`.
    pub encoder_hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they share `hidden_size` evenly.
    pub num_attention_heads: usize,
    /// The longest caption.
    pub max_position_embeddings: usize,
    /// Activation of the MLP and of the output head.
    pub hidden_act: Activation,
    /// How positions are told; only learned absolute ones are supported.
    #[serde(skip_serializing)]
    pub position_embedding_type: Positions,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout of embeddings and of each sub-layer's output.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention's probabilities.
    pub attention_probs_dropout_prob: f64,
    /// The token every caption starts with.
    pub bos_token_id: usize,
    /// The token that fills up a batch.
    pub pad_token_id: usize,
    /// Hugging Face's end token; captions end with `sep_token_id` instead.
    pub eos_token_id: usize,
    /// The token that ends a caption.
    pub sep_token_id: usize,
    /// Probability spread evenly over the vocabulary in the captioner's loss.
    pub label_smoothing: f64,
}

impl Default for TextDecoderConfig {
    fn default() -> Self {
        TextDecoderConfig {
            vocab_size: 30524,
            hidden_size: 768,
            encoder_hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: Activation::Gelu,
            position_embedding_type: Positions::Absolute,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            bos_token_id: 30522,
            pad_token_id: 0,
            eos_token_id: 2,
            sep_token_id: 102,
            label_smoothing: 0.0,
        }
    }
}

/// The BERT that reads captions, without its pooler. Defaults are Hugging Face's `BertConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextEncoderConfig {
    /// Word pieces.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they share `hidden_size` evenly.
    pub num_attention_heads: usize,
    /// The longest text.
    pub max_position_embeddings: usize,
    /// Segment embeddings; captions use the first.
    pub type_vocab_size: usize,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// How positions are told; only learned absolute ones are supported.
    #[serde(skip_serializing)]
    pub position_embedding_type: Positions,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout of embeddings and of each sub-layer's output.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention's probabilities.
    pub attention_probs_dropout_prob: f64,
    /// The token that fills up a batch.
    pub pad_token_id: usize,
}

impl Default for TextEncoderConfig {
    fn default() -> Self {
        TextEncoderConfig {
            vocab_size: 30522,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            hidden_act: Activation::Gelu,
            position_embedding_type: Positions::Absolute,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            pad_token_id: 0,
        }
    }
}

/// The activation of a transformer's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x times the normal distribution function of x, exact.
    #[default]
    Gelu,
}

/// How a transformer is told positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// A learned vector for each position.
    #[default]
    Absolute,
}

/// The fusion of picture and caption. Defaults are the full-size model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FusionConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Attention heads; they share `hidden_size` evenly.
    pub num_attention_heads: usize,
    /// Width inside the MLP, in multiples of `hidden_size`.
    pub mlp_ratio: usize,
    /// Fusion blocks.
    pub depth: usize,
    /// Dropout of each sub-layer's output and before the head.
    pub dropout: f64,
    /// Which stream attends to the other.
    pub cross: Cross,
    /// Whether a block attends over both streams joined.
    pub self_attention: bool,
    /// How emotionally charged words are told from others.
    pub highlight: Highlight,
}

impl Default for FusionConfig {
    fn default() -> Self {
        FusionConfig {
            hidden_size: 768,
            num_attention_heads: 12,
            mlp_ratio: 4,
            depth: 2,
            dropout: 0.1,
            cross: Cross::Both,
            self_attention: true,
            highlight: Highlight::Learned,
        }
    }
}

/// Cross-attention between the streams of a fusion block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cross {
    /// The picture asks, the words answer.
    I2t,
    /// The words ask, the picture answers.
    T2i,
    /// Both ways, each from the block's input.
    Both,
    /// None.
    None,
}

impl Cross {
    /// Whether the picture's tokens attend to the words.
    pub fn image_asks(self) -> bool {
        matches!(self, Cross::I2t | Cross::Both)
    }

    /// Whether the words attend to the picture's tokens.
    pub fn words_ask(self) -> bool {
        matches!(self, Cross::T2i | Cross::Both)
    }
}

/// Where the strength of each word comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Highlight {
    /// A gate computed from the word and what it sees in the picture.
    Learned,
    /// A lexicon's affect strength, given with the caption.
    Lexicon,
    /// Words are left as they are.
    None,
}

/// The classifier's loss: the mean over pictures of a weight times cross-entropy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// What the weight is.
    pub kind: LossKind,
    /// How much a hard picture adds to its weight; only for [`LossKind::VariableWeight`].
    pub lambda: f64,
    /// How sharply hardness is told; without effect for [`LossKind::CrossEntropy`].
    pub gamma: f64,
    /// Probability spread evenly over the classes.
    pub label_smoothing: f64,
    /// A factor for each class; all 1 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f64>>,
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig { kind: LossKind::VariableWeight, lambda: 1.0, gamma: 1.0, label_smoothing: 0.0, class_weights: None }
    }
}

/// How a picture's loss is weighted; p is the probability of its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// 1 + lambda (1 - p)^gamma, a constant in the backward pass.
    VariableWeight,
    /// (1 - p)^gamma, differentiated.
    Focal,
    /// 1.
    CrossEntropy,
}

/// Defaults of keys whose section has none as a whole.
mod default {
    pub(super) fn cls_token_id() -> usize {
        101
    }
    pub(super) fn width() -> usize {
        64
    }
}
