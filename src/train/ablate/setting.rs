//! One setting of the axes, and what it makes of a run.

use crate::data::captions::Kind;
use crate::error::{Error, Result};
use crate::model::config::{Cross, EscnetConfig, Highlight, LossKind};
use crate::train::config::{ModelConfig, RunConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A value of each axis. Without a file's word it is the whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setting {
    /// What the classifier is told of a picture.
    pub captions: Told,
    /// How emotionally charged words are told from others.
    pub highlight: Highlight,
    /// How picture and words come together.
    pub fusion: Fusion,
    /// What the classifier's training minimises.
    pub loss: LossKind,
}

/// What the classifier is told of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// Nothing: every caption is empty.
    None,
    /// What a captioner says that was taught what can be seen.
    Generic,
    /// What one says that was taught how it feels, too.
    Affective,
}

/// How picture and words come together in a block of the fusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Not before the head, which sees both side by side.
    Concat,
    /// Each attends to the other.
    Cross,
    /// Attention over both joined.
    #[serde(rename = "self")]
    SelfAttention,
    /// Each attends to the other, then both joined.
    Both,
}

impl Default for Setting {
    fn default() -> Self {
        Setting { captions: Told::Affective, highlight: Highlight::Learned, fusion: Fusion::Both, loss: LossKind::VariableWeight }
    }
}

impl Told {
    /// How the captioner is taught, where there is one.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Told::None => None,
            Told::Generic => Some(Kind::Generic),
            Told::Affective => Some(Kind::Affective),
        }
    }
}

impl Fusion {
    fn parts(self) -> (Cross, bool) {
        match self {
            Fusion::Concat => (Cross::None, false),
            Fusion::Cross => (Cross::Both, false),
            Fusion::SelfAttention => (Cross::None, true),
            Fusion::Both => (Cross::Both, true),
        }
    }
}

/// What an `ablate.toml` calls a value of an axis.
pub fn name(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Setting {
    /// The names of the axes.
    pub const AXES: [&str; 4] = ["captions", "highlight", "fusion", "loss"];

    /// Its value on each of them.
    pub fn values(&self) -> [String; 4] {
        [name(&self.captions), name(&self.highlight), name(&self.fusion), name(&self.loss)]
    }

    /// Its name, which is that of its folder.
    pub fn name(&self) -> String {
        self.values().join("-")
    }

    /// Sets a run's fusion and loss. What the axes do not speak of (widths, depth, the loss's numbers) stays as it is.
    pub(super) fn lay_over(&self, run: &mut RunConfig) -> Result<()> {
        let (cross, self_attention) = self.fusion.parts();
        let said = [
            ("fusion", "cross", json!(cross)),
            ("fusion", "self_attention", json!(self_attention)),
            ("fusion", "highlight", json!(self.highlight)),
            ("loss", "kind", json!(self.loss)),
        ];
        let mut config = match (&run.model.config, &run.model.from) {
            (Some(config), None) => config.clone(),
            (config, Some(from)) => {
                // Beside a given model a section stands for the whole of that model's.
                let given: Value = serde_json::from_str(&EscnetConfig::open(from)?.to_json()?).unwrap_or_default();
                let own = |section: &str| config.as_ref().and_then(|c| c.get(section)).or_else(|| given.get(section)).cloned();
                ModelConfig::SECTIONS.iter().filter_map(|section| Some(((*section).to_owned(), own(section)?))).collect()
            }
            (None, None) => json!({}),
        };
        for (section, key, value) in said {
            let table = config.as_object_mut().and_then(|config| config.entry(section).or_insert_with(|| json!({})).as_object_mut());
            let table = table.ok_or_else(|| Error::config("run.toml", format!("model.config.{section}"), "a table", "something else"))?;
            table.insert(key.to_owned(), value);
        }
        run.model.config = Some(config);
        Ok(())
    }
}
