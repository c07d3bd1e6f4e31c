//! The files of a set, as bytes: pictures, annotations, lists and `info.json`, in the forms of EmoSet.

use super::content::{Action, Content, Emotion, Expression, Object, Scene};
use super::rows::Row;
use super::{Spec, VERSION};
use crate::data::attributes::Attributes;
use crate::data::image::Image;
use crate::error::{Error, Result};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use serde::{Serialize, Serializer};

/// A picture as PNG; `name` is what errors call it.
pub(super) fn png(picture: &Image, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(picture.rgb(), picture.width() as u32, picture.height() as u32, ExtendedColorType::Rgb8)
        .map_err(|e| Error::Image { path: name.into(), reason: e.to_string() })?;
    Ok(bytes)
}

/// What is said of one picture.
pub(super) fn annotation(row: &Row, label: Emotion, content: &Content) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Annotation<'a> {
        image_id: &'a str,
        emotion: &'static str,
        #[serde(flatten)]
        attributes: Attributes,
    }
    json(&Annotation { image_id: &row.id, emotion: label.name(), attributes: content.attributes() }, &row.annotation)
}

/// The rows of a split, one a line.
pub(super) fn list(rows: &[Row]) -> Result<Vec<u8>> {
    let line = |row: &Row| serde_json::to_string(&(row.emotion, &row.id, &row.image, &row.annotation));
    let lines: Vec<String> = rows.iter().map(line).collect::<Result<_, _>>().map_err(|e| unwritten("a list", e))?;
    Ok(if lines.is_empty() { "[]\n".into() } else { format!("[\n  {}\n]\n", lines.join(",\n  ")).into() })
}

/// The numbers of all names, and how the set was made.
pub(super) fn info(spec: &Spec) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Info<'a> {
        emotion: Names,
        brightness: Names,
        colorfulness: Names,
        scene: Names,
        object: Names,
        facial_expression: Names,
        human_action: Names,
        generator: Generator<'a>,
    }
    #[derive(Serialize)]
    struct Generator<'a> {
        name: &'static str,
        version: u32,
        #[serde(flatten)]
        spec: &'a Spec,
    }
    let tenths = || Names::of((0..=10).map(|tenths| format!("{:.1}", f64::from(tenths) / 10.0)));
    let info = Info {
        emotion: Names::of(Emotion::ALL.map(Emotion::name)),
        brightness: tenths(),
        colorfulness: tenths(),
        scene: Names::of(Scene::ALL.map(Scene::name)),
        object: Names::of(Object::ALL.map(Object::name)),
        facial_expression: Names::of(Expression::ALL.map(Expression::name)),
        human_action: Names::of(Action::ALL.map(Action::name)),
        generator: Generator { name: "escnet data demo", version: VERSION, spec },
    };
    json(&info, "info.json")
}

/// From names to numbers and back.
#[derive(Serialize)]
struct Names {
    #[serde(serialize_with = "numbers")]
    label2idx: Vec<String>,
    #[serde(serialize_with = "names")]
    idx2label: Vec<String>,
}

impl Names {
    fn of(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Names { label2idx: names.clone(), idx2label: names }
    }
}

fn numbers<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(names.iter().enumerate().map(|(number, name)| (name, number)))
}

fn names<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(names.iter().enumerate().map(|(number, name)| (number.to_string(), name)))
}

fn json(value: &impl Serialize, name: &str) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| unwritten(name, e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn unwritten(name: &str, error: serde_json::Error) -> Error {
    Error::io(name, error.into())
}
