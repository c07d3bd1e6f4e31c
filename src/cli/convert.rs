//! `escnet convert`: from published checkpoints to a model folder.

use super::Done;
use super::model::Precision;
use super::stop::Stop;
use super::talk::Talk;
use clap::Args;
use escnet::weights::{Parts, convert, repack};
use std::path::PathBuf;

/// Puts a model folder together from published checkpoints, or writes one again in another type.
///
/// Weights are safetensors files, or folders with a model.safetensors, under the names torchvision and Hugging Face give them. Captioner and text encoder
/// are described by the config.json beside their weights, unless --config describes the whole model.
#[derive(Debug, Args)]
pub struct Convert {
    /// A whole model folder, instead of parts
    #[arg(long, value_name = "DIR", conflicts_with_all = ["backbone", "captioner", "text_encoder", "fusion", "config", "vocab", "seed"])]
    model: Option<PathBuf>,
    /// torchvision's ResNet-50, 101 or 152
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    backbone: Option<PathBuf>,
    /// Hugging Face's BLIP for captioning
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    captioner: Option<PathBuf>,
    /// Hugging Face's BERT
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    text_encoder: Option<PathBuf>,
    /// An ESCNet's fusion; without one it starts from random values and needs training
    #[arg(long, value_name = "FILE")]
    fusion: Option<PathBuf>,
    /// The whole model's config.json; without one it is derived from the parts
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The word pieces; without them the vocab.txt beside the text encoder
    #[arg(long, value_name = "FILE")]
    vocab: Option<PathBuf>,
    /// What the weights are written in
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Where a random fusion starts from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Overwrites the model that is in the folder
    #[arg(long)]
    force: bool,
    /// The folder to write
    out: PathBuf,
}

impl Convert {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        if self.out.join("config.json").exists() && !self.force {
            return Err(Stop::Usage(format!("{} holds a model; --force overwrites it", self.out.display())));
        }
        let dtype = self.dtype.into();
        match (self.model, self.backbone, self.captioner, self.text_encoder) {
            (Some(model), ..) => repack(&model, &self.out, dtype)?,
            (None, Some(backbone), Some(captioner), Some(text_encoder)) => {
                let (fusion, config, vocabulary, seed) = (self.fusion, self.config, self.vocab, self.seed);
                let parts = Parts { backbone, captioner, text_encoder, fusion, config, vocabulary, seed };
                convert(&parts, &self.out, dtype)?.iter().for_each(|note| talk.note(note));
            }
            _ => return Err(Stop::Usage("either --model, or --backbone, --captioner and --text-encoder".to_owned())),
        }
        talk.note(format_args!("{}: written", self.out.display()));
        Ok(())
    }
}
