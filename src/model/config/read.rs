//! From a file to a checked configuration: ESCNet's own, and those Hugging Face writes beside BLIP's and BERT's weights.

use super::{BackboneConfig, CaptionerConfig, EscnetConfig, TextEncoderConfig};
use crate::error::{Error, Result};
use serde::de::{self, DeserializeOwned, Deserializer};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of a configuration in its folder.
pub const CONFIG_FILE: &str = "config.json";

/// The largest file read as a configuration.
const MAX_BYTES: u64 = 4 << 20;

impl EscnetConfig {
    /// Reads and checks a model folder's `config.json`, or the file itself.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Config`] for the first field that is missing, of another type or out of range.
    pub fn open(folder_or_file: impl AsRef<Path>) -> Result<Self> {
        let (path, text) = read(folder_or_file.as_ref())?;
        Self::parse(&text, &path)
    }

    /// The configuration this text describes; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Config`], as for [`EscnetConfig::open`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config: Self = from_json(text, path)?;
        config.captioner.settle();
        config.check(path)?;
        Ok(config)
    }

    /// The text of a `config.json` that reads back as this configuration.
    ///
    /// # Errors
    /// [`Error::Argument`] where a number cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let failed = |e: serde_json::Error| Error::Argument { name: "config", expected: "numbers JSON can hold".into(), got: e.to_string() };
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(failed)
    }
}

impl CaptionerConfig {
    /// Reads the `config.json` of a Hugging Face BLIP checkpoint, given as its folder or the file. Keys that are absent have Hugging
    /// Face's defaults; so a text section without `num_attention_heads` means 8.
    ///
    /// # Errors
    /// As for [`EscnetConfig::open`].
    pub fn open_hf(folder_or_file: impl AsRef<Path>) -> Result<Self> {
        let (path, text) = read(folder_or_file.as_ref())?;
        expect_kind(&text, &path, "blip")?;
        let mut config: Self = from_json(&text, &path)?;
        config.settle();
        config.check(&path, "")?;
        Ok(config)
    }

    /// What BLIP's own configuration does after reading: the decoder attends to tokens as wide as the vision transformer's.
    fn settle(&mut self) {
        self.text_config.encoder_hidden_size = self.vision_config.hidden_size;
    }
}

impl TextEncoderConfig {
    /// Reads the `config.json` of a Hugging Face BERT checkpoint, given as its folder or the file. Keys that are absent have Hugging
    /// Face's defaults.
    ///
    /// # Errors
    /// As for [`EscnetConfig::open`].
    pub fn open_hf(folder_or_file: impl AsRef<Path>) -> Result<Self> {
        let (path, text) = read(folder_or_file.as_ref())?;
        expect_kind(&text, &path, "bert")?;
        let config: Self = from_json(&text, &path)?;
        config.check(&path, "")?;
        Ok(config)
    }
}

/// The text of a configuration file, with the path it was found at.
fn read(folder_or_file: &Path) -> Result<(PathBuf, String)> {
    let path = if folder_or_file.is_dir() { folder_or_file.join(CONFIG_FILE) } else { folder_or_file.to_owned() };
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io(&path, e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::config(&path, ".", format!("at most {MAX_BYTES} bytes"), "more"));
    }
    let text = String::from_utf8(bytes).map_err(|e| Error::config(&path, ".", "UTF-8", e.utf8_error()))?;
    Ok((path, text))
}

/// Refuses the file of another model: with defaults for all keys it would pass for one of this kind.
fn expect_kind(text: &str, path: &Path, kind: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    match from_json::<Kind>(text, path)?.model_type {
        Some(other) if other != kind => Err(Error::config(path, "model_type", kind, other)),
        _ => Ok(()),
    }
}

/// Parses JSON, turning serde's complaint into one that names the field.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let (field, reason) = (e.path().to_string(), e.inner().to_string());
        complaint(path, field, &reason)
    })?;
    json.end().map_err(|e| Error::config(path, ".", "one JSON object", e))?;
    Ok(value)
}

/// serde says "invalid type: string "a", expected usize at line 1 column 2", or "missing field `a` at line 1 column 2".
fn complaint(path: &Path, field: String, reason: &str) -> Error {
    if let Some((name, _)) = reason.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        let field = if field == "." { name.to_owned() } else { format!("{field}.{name}") };
        return Error::config(path, field, "a value", "nothing");
    }
    let (said, place) = reason.rsplit_once(" at line ").unwrap_or((reason, "?"));
    let (got, expected) = said.split_once(", expected ").unwrap_or((said, "valid JSON"));
    Error::config(path, field, expected, format!("{got} (line {place})"))
}

/// `layers` as a list of four counts, or as the number torchvision names the network by.
pub(super) fn layers<'de, D: Deserializer<'de>>(from: D) -> Result<[usize; 4], D::Error> {
    struct Layers;
    impl<'de> de::Visitor<'de> for Layers {
        type Value = [usize; 4];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("50, 101, 152 or a list of four counts")
        }

        fn visit_u64<E: de::Error>(self, depth: u64) -> Result<Self::Value, E> {
            BackboneConfig::stages(depth).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(depth), &self))
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut stages = [0; 4];
            for (i, stage) in stages.iter_mut().enumerate() {
                *stage = list.next_element()?.ok_or_else(|| de::Error::invalid_length(i, &self))?;
            }
            match list.next_element::<de::IgnoredAny>()? {
                Some(_) => Err(de::Error::invalid_length(5, &self)),
                None => Ok(stages),
            }
        }
    }
    from.deserialize_any(Layers)
}
