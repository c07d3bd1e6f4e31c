//! What an annotation says of a picture: EmoSet's six attributes (Yang et al. 2023, arXiv:2307.07961).

use serde::{Deserialize, Serialize};

/// The attributes of a picture, in EmoSet's keys. What is not labelled is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// 0 (dark) to 1 (bright), in steps of 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brightness: Option<f64>,
    /// 0 (grey) to 1 (colourful), in steps of 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colorfulness: Option<f64>,
    /// A name of a place, as `forest_path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// Names of things, as `Alarm clock`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub object: Vec<String>,
    /// One of angry, disgust, fear, happy, sad, surprise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facial_expression: Option<String>,
    /// A name of an action, as `playing_guitar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human_action: Option<String>,
}
