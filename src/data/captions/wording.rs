//! The wordings of each part of a caption, the plainest first. No wording holds another one of its table, word by word, so that
//! [`recall`](super::recall()) cannot take one for the other.

/// A third of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// 0 to 0.3 in EmoSet's steps of 0.1.
    Low,
    /// 0.4 to 0.6.
    Middle,
    /// 0.7 to 1.
    High,
}

/// The band of a level from 0 to 1.
pub fn band(level: f64) -> Band {
    match level {
        level if level < 0.35 => Band::Low,
        level if level > 0.65 => Band::High,
        _ => Band::Middle,
    }
}

/// How bright it is.
pub fn brightness(band: Band) -> &'static [&'static str] {
    match band {
        Band::Low => &["dark", "dimly lit", "shadowy", "gloomy"],
        Band::Middle => &["softly lit", "evenly lit", "gently lit", "moderately lit"],
        Band::High => &["bright", "brightly lit", "radiant", "luminous"],
    }
}

/// How colourful it is.
pub fn colorfulness(band: Band) -> &'static [&'static str] {
    match band {
        Band::Low => &["muted", "pale", "faded", "drab"],
        Band::Middle => &["lightly colored", "subtly colored", "modestly colored"],
        Band::High => &["colorful", "vivid", "vibrant", "richly colored"],
    }
}

/// The faces of EmoSet's six expressions.
pub fn expression(name: &str) -> Option<&'static [&'static str]> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "happy" => &["smiling face", "happy face", "cheerful face", "laughing face"],
        "sad" => &["sad face", "tearful face", "sorrowful face", "downcast face"],
        "angry" => &["angry face", "furious face", "scowling face"],
        "fear" => &["frightened face", "scared face", "terrified face"],
        "disgust" => &["disgusted face", "grimacing face", "revolted face"],
        "surprise" => &["surprised face", "astonished face", "amazed face"],
        _ => return None,
    })
}

/// Before a scene.
pub const LEADS: &[&str] = &["", "a view of ", "a picture of ", "a glimpse of "];

/// In place of a scene that is not labelled.
pub const NOWHERE: &[&str] = &["scene", "picture", "view", "image"];

/// Between the scene and what is in it.
pub const LINKS: &[&str] = &["with", "showing", "featuring"];

/// Who does what is done.
pub const ACTORS: &[&str] = &["someone", "a person", "a figure"];
