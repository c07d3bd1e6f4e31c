//! EmoSet: lists of rows, one list a split, and an annotation for each picture.
//!
//! A row is `[emotion, id, image, annotation]`, in repackaged releases `[emotion, image, annotation]`; an id is then the picture's name
//! without its ending. Paths are below the root. An annotation is a JSON object with any of EmoSet's six attributes; other keys, and the
//! attributes' vocabularies in `info.json`, are not needed.

use super::listing::{Listing, inside, text};
use super::{Entry, Sample, Split};
use crate::data::attributes::Attributes;
use crate::data::emotions;
use crate::error::{Error, RecordProblem, Result};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::path::Path;

/// The list that no EmoSet is without.
pub const TRAIN: &str = "train.json";

pub fn list(listing: &mut Listing) -> Result<()> {
    listing.classes = emotions::EIGHT.map(str::to_owned).to_vec();
    for split in Split::ALL {
        let file = listing.root.join(format!("{}.json", split.name()));
        if split != Split::Train && !file.exists() {
            continue;
        }
        let rows: Vec<Value> = serde_json::from_str(&text(&file)?).map_err(|e| Error::Dataset {
            path: file.clone(),
            problems: vec![RecordProblem {
                file: file.clone(),
                record: "(file)".into(),
                expected: "a JSON array of rows".into(),
                got: e.to_string(),
            }],
        })?;
        let root = listing.root.clone();
        // Each row has an annotation, a small file of its own: a hundred thousand of them are better read side by side.
        let read: Vec<_> = rows.par_iter().map(|row| sample(&root, row)).collect();
        for (number, sample) in (1..).zip(read) {
            match sample {
                Ok(sample) => listing.entries.push(Entry { sample, split: Some(split) }),
                Err((expected, got)) => listing.problem(&file, format!("row {number}"), expected, got),
            }
        }
    }
    Ok(())
}

/// What was expected, and what was found.
type Mismatch = (String, String);

fn sample(root: &Path, row: &Value) -> Result<Sample, Mismatch> {
    let wrong = |expected: &str| (expected.to_owned(), row.to_string());
    let cells = row.as_array().map(Vec::as_slice);
    let (emotion, id, image, annotation) = match cells {
        Some([emotion, id, image, annotation]) => (emotion, id.as_str(), image, annotation),
        Some([emotion, image, annotation]) => (emotion, None, image, annotation),
        _ => return Err(wrong("[emotion, id, image, annotation] or [emotion, image, annotation]")),
    };
    let number = match emotion {
        Value::Number(number) => number.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n < emotions::EIGHT.len()),
        other => other.as_str().and_then(emotions::of_eight),
    };
    let label = number.ok_or_else(|| (format!("one of {}", emotions::EIGHT.join(", ")), emotion.to_string()))?;
    let path = |value: &Value| value.as_str().and_then(|path| inside(root, path));
    let image = path(image).ok_or_else(|| ("a path within the data set's folder".to_owned(), image.to_string()))?;
    let stem = || image.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let id = match (cells.map(<[Value]>::len), id) {
        (Some(4), None | Some("")) => return Err(wrong("an id")),
        (_, Some(id)) => id.to_owned(),
        (_, None) => stem().unwrap_or_default(),
    };
    let attributes = match annotation {
        Value::Null => Attributes::default(),
        Value::String(none) if none.is_empty() => Attributes::default(),
        given => {
            let file = path(given).ok_or_else(|| ("a path within the data set's folder".to_owned(), given.to_string()))?;
            attributes(&file).map_err(|(expected, got)| (expected, format!("{got} ({given})")))?
        }
    };
    Ok(Sample { id, image, label, attributes, caption: None })
}

/// Reads an annotation. A key that is absent, null or of no value is not labelled; numbers may stand in quotes.
fn attributes(file: &Path) -> Result<Attributes, Mismatch> {
    let text = std::fs::read_to_string(file).map_err(|e| ("an annotation that can be read".to_owned(), e.to_string()))?;
    let all: Map<String, Value> = serde_json::from_str(&text).map_err(|e| ("an annotation that is a JSON object".to_owned(), e.to_string()))?;
    let given = |key: &str| all.get(key).filter(|value| !value.is_null() && value.as_str() != Some(""));
    let level = |key: &str| match given(key) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|level| (0.0..=1.0).contains(level));
            number.map(Some).ok_or_else(|| (format!("`{key}` from 0 to 1"), value.to_string()))
        }
    };
    let name = |key: &str| match given(key) {
        None => Ok(None),
        Some(value) => value.as_str().map(|name| Some(name.to_owned())).ok_or_else(|| (format!("a name as `{key}`"), value.to_string())),
    };
    let object = match given("object") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(several) => {
            let names = several.as_array().and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
            names.ok_or_else(|| ("a list of names as `object`".to_owned(), several.to_string()))?
        }
    };
    Ok(Attributes {
        brightness: level("brightness")?,
        colorfulness: level("colorfulness")?,
        scene: name("scene")?,
        object,
        facial_expression: name("facial_expression")?,
        human_action: name("human_action")?,
    })
}
