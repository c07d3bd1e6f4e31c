//! The model a run begins with, as a model folder.

use super::config::{ModelConfig, RunConfig};
use super::folder::{hand_on, make, write_text};
use crate::data::captions::vocabulary;
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::model::config::{CONFIG_FILE, EscnetConfig};
use crate::tensor::{Shape, TensorType};
use crate::weights::init::Init;
use crate::weights::{Loaded, Source, VOCABULARY_FILE, WEIGHTS_FILE, load, manifest, save_with};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// BLIP's start token, behind the words.
const START: &str = "[DEC]";

/// Makes `model` the folder of the model that training starts from: a copy of `from`, or one whose values are drawn. Where `from` has other classes than
/// the data, its head is drawn anew, as is what has no place in it where this run says sections otherwise. `captions` make the vocabulary where none is given.
///
/// # Errors
/// [`Error::Io`], [`Error::Config`], [`Error::Vocabulary`], [`Error::Weights`].
pub fn start(run: &RunConfig, classes: &[String], captions: &[String], model: &Path) -> Result<EscnetConfig> {
    match (&run.model.from, &run.model.config) {
        (Some(from), _) => copy(run, from, classes, model),
        (None, Some(config)) => draw(run, config, classes, captions, model),
        (None, None) => Err(Error::config("run.toml", "model", "either `from` or `config`", "neither")),
    }
}

fn copy(run: &RunConfig, from: &Path, classes: &[String], model: &Path) -> Result<EscnetConfig> {
    let given = EscnetConfig::open(from)?;
    let loaded = load(&manifest(&given)?, &[Source::whole(from)])?;
    let other_classes = given.classes != classes;
    let config = said_otherwise(run, &given, |value| value["classes"] = json!(classes))?;
    hand_on(from, model, &config)?;
    lexicon(run, model)?;
    write(run, &config, model, &|name, shape| keep(&loaded, name, shape).filter(|_| !(other_classes && name.starts_with("fusion.head."))))?;
    Ok(config)
}

/// A loaded tensor, where it has the shape that is wanted.
fn keep(loaded: &Loaded, name: &str, shape: Shape) -> Option<Result<crate::Tensor>> {
    let fits = loaded.view(name).is_ok_and(|v| *v.shape == *shape);
    fits.then(|| loaded.tensor(name))
}

fn draw(run: &RunConfig, config: &Value, classes: &[String], captions: &[String], model: &Path) -> Result<EscnetConfig> {
    make(model)?;
    let words = model.join(VOCABULARY_FILE);
    let text = match &run.model.vocabulary {
        Some(given) => fs::read_to_string(given).map_err(|e| Error::io(given, e))?,
        None => vocabulary(captions.iter().map(String::as_str)).join("\n") + "\n",
    };
    write_text(&words, &text)?;
    lexicon(run, model)?;
    let tokenizer = Tokenizer::open(&words)?;
    let mut value = config.clone();
    settle(&mut value, classes, &tokenizer);
    let config = EscnetConfig::parse(&value.to_string(), Path::new("model.config"))?;
    write_text(&model.join(CONFIG_FILE), &config.to_json()?)?;
    write(run, &config, model, &|_, _| None)?;
    Ok(config)
}

/// Makes `model` the folder that the classifier starts from: the captioner's, with the fusion, backbone and loss this run describes. What is not the captioner's is
/// drawn by this run's seed, unless the whole model was given.
///
/// # Errors
/// As for [`start`].
pub fn go_on_from(run: &RunConfig, captioner: &Path, classes: &[String], model: &Path) -> Result<EscnetConfig> {
    let told = EscnetConfig::open(captioner)?;
    let config = said_otherwise(run, &told, |value| {
        value["classes"] = json!(classes);
        value["reading"] = json!(run.classifier.reading());
    })?;
    let loaded = load(&manifest(&told)?, &[Source::whole(captioner)])?;
    let given = run.model.from.is_some();
    hand_on(captioner, model, &config)?;
    lexicon(run, model)?;
    write(run, &config, model, &|name, shape| keep(&loaded, name, shape).filter(|_| given || name.starts_with("captioner.")))?;
    Ok(config)
}

/// A model's configuration with the sections that this run says otherwise, and with what `change` does.
fn said_otherwise(run: &RunConfig, given: &EscnetConfig, change: impl FnOnce(&mut Value)) -> Result<EscnetConfig> {
    let mut value: Value = serde_json::from_str(&given.to_json()?).unwrap_or_default();
    change(&mut value);
    for section in ModelConfig::SECTIONS {
        if let Some(own) = run.model.config.as_ref().and_then(|c| c.get(section)) {
            value[section] = own.clone();
        }
    }
    EscnetConfig::parse(&value.to_string(), Path::new("model.config"))
}

fn lexicon(run: &RunConfig, model: &Path) -> Result<()> {
    match &run.model.lexicon {
        Some(path) => write_text(&model.join("lexicon.tsv"), &fs::read_to_string(path).map_err(|e| Error::io(path, e))?),
        None => Ok(()),
    }
}

/// Fills in what follows from data and vocabulary, where the configuration leaves it open.
fn settle(config: &mut Value, classes: &[String], tokenizer: &Tokenizer) {
    let id = |token: &str| tokenizer.id(token).unwrap_or_else(|| tokenizer.cls());
    // The text encoder knows words; what stands behind them belongs to the decoder.
    let encoder = tokenizer.id(START).map_or(tokenizer.len(), |start| start as usize);
    let settled: [(&[&str], Value); 9] = [
        (&["classes"], json!(classes)),
        (&["cls_token_id"], json!(tokenizer.cls())),
        (&["captioner", "text_config", "vocab_size"], json!(tokenizer.len())),
        (&["captioner", "text_config", "bos_token_id"], json!(id(START))),
        (&["captioner", "text_config", "eos_token_id"], json!(tokenizer.sep())),
        (&["captioner", "text_config", "sep_token_id"], json!(tokenizer.sep())),
        (&["captioner", "text_config", "pad_token_id"], json!(tokenizer.pad())),
        (&["text_encoder", "vocab_size"], json!(encoder)),
        (&["text_encoder", "pad_token_id"], json!(tokenizer.pad())),
    ];
    for (way, settled) in settled {
        let Some((last, way)) = way.split_last() else { continue };
        let mut at = &mut *config;
        for key in way {
            let Value::Object(object) = at else { break };
            at = object.entry(*key).or_insert_with(|| json!({}));
        }
        if let Value::Object(object) = at {
            object.entry(*last).or_insert(settled);
        }
    }
}

/// Writes the first weights: what `given` has, the rest drawn by the seed.
fn write(run: &RunConfig, config: &EscnetConfig, model: &Path, given: &dyn Fn(&str, Shape) -> Option<Result<crate::Tensor>>) -> Result<PathBuf> {
    let wanted = manifest(config)?;
    let init = Init::new(&wanted, run.seed);
    let by_name: HashMap<&str, _> = wanted.iter().map(|w| (w.name.as_str(), w)).collect();
    let types: Vec<(String, TensorType)> = wanted.iter().map(|w| (w.name.clone(), TensorType::f32(w.shape))).collect();
    let path = model.join(WEIGHTS_FILE);
    save_with(&path, &types, &BTreeMap::new(), |name| {
        let wanted = by_name.get(name).ok_or_else(|| Error::graph(name, "a tensor of the model", "none"))?;
        given(name, wanted.shape).unwrap_or_else(|| init.tensor(wanted))
    })?;
    Ok(path)
}
