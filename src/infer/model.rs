//! What a model folder holds, read and checked: from a disk, or from memory where there is none.

use crate::data::lexicon::Lexicon;
use crate::data::preprocess::Preprocess;
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::model::config::{CONFIG_FILE, EscnetConfig, Highlight};
use crate::weights::{Loaded, Source, VOCABULARY_FILE, WEIGHTS_FILE, WeightFile, load, load_opened, manifest};
use std::path::Path;

const LEXICON_FILE: &str = "lexicon.tsv";
const SETTINGS_FILE: &str = "preprocessor.json";

/// The files of a model folder, in memory.
#[derive(Debug, Clone, Default)]
pub struct ModelFiles {
    /// `config.json`.
    pub config: String,
    /// `model.safetensors`.
    pub weights: Vec<u8>,
    /// `vocab.txt`.
    pub vocabulary: String,
    /// `preprocessor.json`, where there is one.
    pub preprocessor: Option<String>,
    /// `lexicon.tsv`, where there is one.
    pub lexicon: Option<String>,
}

/// A model that was read and checked, not yet on a device.
#[derive(Debug)]
pub struct Model {
    pub(super) config: EscnetConfig,
    pub(super) tokenizer: Tokenizer,
    pub(super) weights: Loaded,
    pub(super) lexicon: Option<Lexicon>,
    pub(super) classify_input: Preprocess,
    pub(super) caption_input: Preprocess,
}

impl Model {
    /// Reads a folder: `config.json`, `model.safetensors`, `vocab.txt`, and `preprocessor.json` and `lexicon.tsv` where there are any.
    ///
    /// # Errors
    /// Those of the files' readers.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = EscnetConfig::open(dir)?;
        let tokenizer = Tokenizer::open(dir.join(VOCABULARY_FILE))?;
        let weights = load(&manifest(&config)?, &[Source::whole(dir)])?;
        let (lexicon, settings) = (dir.join(LEXICON_FILE), dir.join(SETTINGS_FILE));
        let lexicon = if lexicon.exists() { Some(Lexicon::open(&lexicon)?) } else { None };
        let mut model = Self::new(config, tokenizer, weights, lexicon, dir)?;
        model.classify_input = model.classify_input.with_file(&settings)?;
        model.caption_input = model.caption_input.with_file(&settings)?;
        Ok(model)
    }

    /// The same of files that are in memory already.
    ///
    /// # Errors
    /// Those of the files' readers.
    pub fn of(files: ModelFiles) -> Result<Self> {
        let config = EscnetConfig::parse(&files.config, Path::new(CONFIG_FILE))?;
        let tokenizer = Tokenizer::from_vocab(files.vocabulary.lines(), VOCABULARY_FILE)?;
        let weights = load_opened(&manifest(&config)?, vec![(None, WeightFile::from_bytes(WEIGHTS_FILE, files.weights)?)])?;
        let lexicon = files.lexicon.map(|text| Lexicon::from_tsv(text.as_bytes(), LEXICON_FILE)).transpose()?;
        let mut model = Self::new(config, tokenizer, weights, lexicon, Path::new(""))?;
        if let Some(settings) = files.preprocessor {
            model.classify_input = model.classify_input.with_json(&settings, SETTINGS_FILE)?;
            model.caption_input = model.caption_input.with_json(&settings, SETTINGS_FILE)?;
        }
        Ok(model)
    }

    fn new(config: EscnetConfig, tokenizer: Tokenizer, weights: Loaded, lexicon: Option<Lexicon>, dir: &Path) -> Result<Self> {
        if config.fusion.highlight == Highlight::Lexicon && lexicon.is_none() {
            return Err(Error::config(dir.join(LEXICON_FILE), "fusion.highlight", "a lexicon.tsv beside the model", "none"));
        }
        let classify_input = Preprocess::classify(config.image_size)?;
        let caption_input = Preprocess::caption(config.captioner.vision_config.image_size)?;
        Ok(Model { config, tokenizer, weights, lexicon, classify_input, caption_input })
    }
}
