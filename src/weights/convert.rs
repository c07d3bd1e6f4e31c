//! From checkpoints as they are published, a part each, to a model folder.

use super::file::WeightFile;
use super::init::Init;
use super::load::{Loaded, Source, load};
use super::manifest::{Wanted, manifest};
use super::names::{Meaning, Part, meaning};
use super::save::save_with;
use super::{VOCABULARY_FILE, WEIGHTS_FILE};
use crate::durable::write_atomically;
use crate::error::{Error, Result};
use crate::model::config::{
    BackboneConfig, CONFIG_FILE, CaptionerConfig, EscnetConfig, FusionConfig, LossConfig, ModelType, Reading, TextEncoderConfig,
};
use crate::tensor::{DType, TensorType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The emotions of a model converted without a configuration: Mikels' eight, in EmoSet's order.
pub use crate::data::emotions::EIGHT as EMOTIONS;

/// What a model is put together from. A path to weights is a safetensors file or a folder with a `model.safetensors`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// torchvision's ResNet-50, 101 or 152.
    pub backbone: PathBuf,
    /// Hugging Face's BLIP for captioning.
    pub captioner: PathBuf,
    /// Hugging Face's BERT.
    pub text_encoder: PathBuf,
    /// An ESCNet's fusion; without one it starts from random values (see [`init`](super::init)).
    pub fusion: Option<PathBuf>,
    /// The model's `config.json`; without one it is derived, see [`derive()`].
    pub config: Option<PathBuf>,
    /// The word pieces; without one the `vocab.txt` beside the text encoder's weights, if there is one.
    pub vocabulary: Option<PathBuf>,
    /// Where a random fusion starts from.
    pub seed: u64,
}

/// Writes a model folder: `model.safetensors` with its floating-point numbers as `dtype`, `vocab.txt` if one is known, and last
/// `config.json`, so that a folder which has one is whole. Returns what the user should know: tensors left aside, values drawn at random.
///
/// # Errors
/// [`Error::Argument`] where `dtype` is not a floating-point type; whatever [`EscnetConfig::open`], [`derive()`] and [`load()`] return.
pub fn convert(parts: &Parts, out: impl AsRef<Path>, dtype: DType) -> Result<Vec<String>> {
    let out = out.as_ref();
    if !dtype.is_float() {
        return Err(Error::Argument { name: "dtype", expected: "f32, f16 or bf16".into(), got: dtype.to_string() });
    }
    let vocabulary = parts.vocabulary.clone().or_else(|| beside(&parts.text_encoder, VOCABULARY_FILE));
    let vocabulary = vocabulary.map(|path| std::fs::read(&path).map_err(|e| Error::io(&path, e))).transpose()?;
    let config = match &parts.config {
        Some(path) => EscnetConfig::open(path)?,
        None => derive(parts, vocabulary.as_deref())?,
    };
    let wanted = manifest(&config)?;
    let (loaded, mut notes) = find(parts, &wanted)?;

    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let init = Init::new(&wanted, parts.seed);
    let by_name: BTreeMap<&str, &Wanted> = wanted.iter().map(|w| (w.name.as_str(), w)).collect();
    let types: Vec<_> = wanted.iter().map(|w| (w.name.clone(), TensorType::new(dtype, w.shape))).collect();
    save_with(out.join(WEIGHTS_FILE), &types, &BTreeMap::new(), |name| match by_name.get(name) {
        Some(wanted) if wanted.part == Part::Fusion && parts.fusion.is_none() => init.tensor(wanted),
        _ => loaded.view(name)?.read(),
    })?;
    match vocabulary {
        Some(bytes) => write(&out.join(VOCABULARY_FILE), &bytes)?,
        None => notes.push(format!("{}: no {VOCABULARY_FILE} was given; the model cannot read or write words without one", out.display())),
    }
    write(&out.join(CONFIG_FILE), config.to_json()?.as_bytes())?;
    Ok(notes)
}

/// Writes a model folder again, its floating-point numbers as `dtype`; what it needs beside weights comes along.
///
/// # Errors
/// [`Error::Argument`] where `dtype` is not a floating-point type; whatever [`EscnetConfig::open`] and [`load()`] return; [`Error::Weights`] where a number is too
/// large for the type.
pub fn repack(model: &Path, out: &Path, dtype: DType) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::Argument { name: "dtype", expected: "f32, f16 or bf16".into(), got: dtype.to_string() });
    }
    let config = EscnetConfig::open(model)?;
    let wanted = manifest(&config)?;
    let loaded = load(&wanted, &[Source::whole(model)])?;
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let types: Vec<_> = wanted.iter().map(|w| (w.name.clone(), TensorType::new(dtype, w.shape))).collect();
    save_with(out.join(WEIGHTS_FILE), &types, &BTreeMap::new(), |name| loaded.view(name)?.read())?;
    for name in [VOCABULARY_FILE, "preprocessor.json", "lexicon.tsv"] {
        let from = model.join(name);
        if from.exists() {
            write(&out.join(name), &std::fs::read(&from).map_err(|e| Error::io(&from, e))?)?;
        }
    }
    write(&out.join(CONFIG_FILE), config.to_json()?.as_bytes())
}

/// The configuration of a model put together from published checkpoints. Captioner and text encoder are described by the `config.json` beside
/// their weights, the backbone by its weights' names. The rest is that of the ESCNet the fusion comes from, where its `config.json` is beside
/// it; else the full-size model's: 8 emotions, pictures of 224, captioner trained with label smoothing 0.1, `[CLS]` where the
/// vocabulary has it, or 101.
///
/// # Errors
/// [`Error::Config`] where one of these files is absent or describes something else.
pub fn derive(parts: &Parts, vocabulary: Option<&[u8]>) -> Result<EscnetConfig> {
    let mut captioner = CaptionerConfig::open_hf(description(&parts.captioner)?)?;
    captioner.text_config.label_smoothing = 0.1;
    let text_encoder = TextEncoderConfig::open_hf(description(&parts.text_encoder)?)?;
    let backbone = stages(&parts.backbone)?;
    let donor = parts.fusion.as_deref().map(description).transpose()?.map(EscnetConfig::open).transpose()?;
    let cls_token_id = vocabulary.and_then(cls).unwrap_or(101);
    let config = match donor {
        Some(donor) => EscnetConfig { backbone, captioner, text_encoder, ..donor },
        None => EscnetConfig {
            model_type: ModelType::Escnet,
            classes: EMOTIONS.map(String::from).to_vec(),
            image_size: 224,
            cls_token_id,
            reading: Reading::Whole,
            backbone,
            captioner,
            text_encoder,
            fusion: FusionConfig::default(),
            loss: LossConfig::default(),
        },
    };
    config.check(Path::new("derived configuration"))?;
    Ok(config)
}

/// Finds the weights of all parts that are given.
fn find(parts: &Parts, wanted: &[Wanted]) -> Result<(Loaded, Vec<String>)> {
    let mut sources = vec![
        Source::of(Part::Backbone, &parts.backbone),
        Source::of(Part::Captioner, &parts.captioner),
        Source::of(Part::TextEncoder, &parts.text_encoder),
    ];
    let Some(fusion) = &parts.fusion else {
        let given: Vec<Wanted> = wanted.iter().filter(|w| w.part != Part::Fusion).cloned().collect();
        let loaded = load(&given, &sources)?;
        let mut notes = loaded.notes().to_vec();
        notes.push(format!("fusion: no weights were given; it starts from random values, seed {}, and needs training", parts.seed));
        return Ok((loaded, notes));
    };
    sources.push(Source::of(Part::Fusion, fusion));
    let loaded = load(wanted, &sources)?;
    let notes = loaded.notes().to_vec();
    Ok((loaded, notes))
}

/// The stages and the width of a ResNet, by the names and shapes of its weights.
fn stages(path: &Path) -> Result<BackboneConfig> {
    let path = if path.is_dir() { path.join(WEIGHTS_FILE) } else { path.to_owned() };
    let file = WeightFile::open(&path)?;
    let mut config = BackboneConfig { layers: [0; 4], width: 0 };
    for name in file.names() {
        let Meaning::Tensor(Part::Backbone, full) = meaning(Some(Part::Backbone), name) else { continue };
        let steps: Vec<&str> = full.split('.').collect();
        match steps[..] {
            ["backbone", "conv1", "weight"] => config.width = file.shape(name).and_then(|s| s.first().copied()).unwrap_or(0),
            ["backbone", stage, block, "conv1", "weight"] => {
                let stage = stage.strip_prefix("layer").and_then(|s| s.parse::<usize>().ok()).and_then(|s| s.checked_sub(1));
                let depth = stage.and_then(|s| config.layers.get_mut(s));
                if let (Some(depth), Ok(block)) = (depth, block.parse::<u32>()) {
                    *depth = (*depth).max(block as usize + 1);
                }
            }
            _ => {}
        }
    }
    if config.width == 0 || config.layers.contains(&0) {
        return Err(Error::config(&path, "backbone", "torchvision's names: conv1.weight, layer1.0.conv1.weight, ...", format!("{config:?}")));
    }
    Ok(config)
}

/// The `config.json` beside weights.
fn description(weights: &Path) -> Result<PathBuf> {
    beside(weights, CONFIG_FILE)
        .ok_or_else(|| Error::config(weights, CONFIG_FILE, "beside the weights, or a configuration of the whole model", "none"))
}

/// A file of this name in the weights' folder.
fn beside(weights: &Path, name: &str) -> Option<PathBuf> {
    let folder = if weights.is_dir() { Some(weights) } else { weights.parent() };
    folder.map(|f| f.join(name)).filter(|p| p.is_file())
}

/// The line of `[CLS]` in a vocabulary.
fn cls(vocabulary: &[u8]) -> Option<usize> {
    vocabulary.split(|&b| b == b'\n').position(|line| line.trim_ascii_end() == b"[CLS]")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |out| out.write_all(bytes).map_err(|e| Error::io(path, e)))
}
