//! From a picture to the numbers a network reads, and from its grid back to the picture.

use super::image::Image;
use super::resize::{Filter, resize};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::path::Path;

/// The channels' mean and standard deviation over ImageNet, of values 0..1: what torchvision's networks are trained with.
pub const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// The same over CLIP's pictures: what BLIP is trained with.
pub const CLIP: ([f32; 3], [f32; 3]) = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);

/// The largest side a network's picture may have, in pixels.
const MAX_SIZE: usize = 4096;

/// How a picture is brought to the network's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For the classifier: the shorter side to `round(size * 256 / 224)`, bilinear, then the middle `size` x `size`.
    Classify,
    /// For the captioner: the whole picture to `size` x `size`, bicubic, its proportions given up.
    Caption,
}

impl Mode {
    /// The section of `preprocessor.json` that speaks of this mode.
    fn section(self) -> &'static str {
        match self {
            Mode::Classify => "classify",
            Mode::Caption => "caption",
        }
    }
}

/// Prepares pictures as Pillow and torchvision do: resize with antialias in 8 bits, then `(v / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocess {
    size: usize,
    mode: Mode,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Preprocess {
    /// The classifier's: pictures of `size` x `size`, ImageNet's statistics.
    ///
    /// # Errors
    /// [`Error::Argument`] where `size` is not in 1..=4096.
    pub fn classify(size: usize) -> Result<Self> {
        Self::new(size, Mode::Classify, IMAGENET)
    }

    /// The captioner's: pictures of `size` x `size`, CLIP's statistics.
    ///
    /// # Errors
    /// [`Error::Argument`] where `size` is not in 1..=4096.
    pub fn caption(size: usize) -> Result<Self> {
        Self::new(size, Mode::Caption, CLIP)
    }

    fn new(size: usize, mode: Mode, (mean, std): ([f32; 3], [f32; 3])) -> Result<Self> {
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(Error::Argument { name: "size", expected: format!("1..={MAX_SIZE} pixels"), got: size.to_string() });
        }
        Ok(Preprocess { size, mode, mean, std })
    }

    /// These settings, altered by a model's `preprocessor.json` where there is one. The file is an object of two optional
    /// sections, `classify` and `caption`, each with optional `mean` and `std`: three numbers for red, green and blue, of
    /// values 0..1. The size is the model's own and stands in its `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] for any other key or value, naming it; [`Error::Io`] where the file is there but cannot be read.
    pub fn with_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match std::fs::read_to_string(path) {
            Ok(text) => self.with_json(&text, path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(self),
            Err(e) => Err(Error::io(path, e)),
        }
    }

    /// [`Preprocess::with_file`] from the text of the file; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown key or a value out of range.
    pub fn with_json(mut self, text: &str, name: impl AsRef<Path>) -> Result<Self> {
        let name = name.as_ref();
        let wrong =
            |field: &str, expected: &str, got: String| Error::Config { path: name.into(), field: field.into(), expected: expected.into(), got };
        let file: Map<String, Value> = serde_json::from_str(text).map_err(|e| wrong("(file)", "a JSON object", e.to_string()))?;
        for (section, settings) in &file {
            if ![Mode::Classify, Mode::Caption].map(Mode::section).contains(&section.as_str()) {
                return Err(wrong(section, "`classify` or `caption`", "an unknown key".into()));
            }
            let settings = settings.as_object().ok_or_else(|| wrong(section, "an object", settings.to_string()))?;
            for (key, value) in settings {
                let field = format!("{section}.{key}");
                let numbers = three_numbers(value).ok_or_else(|| wrong(&field, "three numbers", value.to_string()));
                let target = match key.as_str() {
                    "mean" => &mut self.mean,
                    "std" if numbers.as_ref().is_ok_and(|n| n.iter().any(|&s| s <= 0.0)) => {
                        return Err(wrong(&field, "three numbers above 0", value.to_string()));
                    }
                    "std" => &mut self.std,
                    _ => return Err(wrong(&field, "`mean` or `std`", "an unknown key".into())),
                };
                let numbers = numbers?;
                if section == self.mode.section() {
                    *target = numbers;
                }
            }
        }
        Ok(self)
    }

    /// Width and height of the result, in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How the picture is brought to that size.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What part of `picture` the result shows.
    pub fn crop(&self, picture: &Image) -> Crop {
        let (w, h, size) = (picture.width() as f64, picture.height() as f64, self.size as f64);
        let [width, height] = match self.mode {
            Mode::Caption => [size, size],
            Mode::Classify => {
                let short = (size * 256.0 / 224.0).round_ties_even();
                if w <= h { [short, (short * h / w).trunc()] } else { [(short * w / h).trunc(), short] }
            }
        };
        let middle = |side: f64| ((side - size) / 2.0).round_ties_even();
        Crop { offset: [middle(width), middle(height)], resized: [width, height], picture: [w, h], size }
    }

    /// The picture as `[size, size, 3]`, row-major, normalised.
    ///
    /// # Errors
    /// None that a picture can cause; the shape always fits.
    pub fn apply(&self, picture: &Image) -> Result<Tensor> {
        Tensor::from_f32([self.size, self.size, 3], self.numbers(picture).collect())
    }

    /// The pictures as `[pictures, size, size, 3]`, prepared in parallel.
    ///
    /// # Errors
    /// None that pictures can cause; the shape always fits.
    pub fn batch(&self, pictures: &[Image]) -> Result<Tensor> {
        let one = self.size * self.size * 3;
        let mut all = vec![0.0; pictures.len() * one];
        all.par_chunks_mut(one).zip(pictures).for_each(|(to, picture)| to.iter_mut().zip(self.numbers(picture)).for_each(|(to, v)| *to = v));
        Tensor::from_f32([pictures.len(), self.size, self.size, 3], all)
    }

    /// The bytes of the network's square, `[size, size, 3]`, before they are normalised: what [`Preprocess::crop`] says of the picture.
    pub fn square(&self, picture: &Image) -> Vec<u8> {
        let Crop { offset, resized, picture: [width, height], .. } = self.crop(picture);
        let [columns, rows] = offset.map(|from| from as u64..from as u64 + self.size as u64);
        resize(picture, self.filter(), [0.0, 0.0, width, height], resized.map(|side| side as u64), columns, rows)
    }

    /// The bytes of a square that shows one part of the picture, its proportions given up: left, top, right, bottom, in pixels. What
    /// Pillow's `resize((size, size), filter, box=part)` gives.
    ///
    /// # Errors
    /// [`Error::Argument`] where the part is empty or reaches out of the picture.
    pub fn square_of(&self, picture: &Image, part: [f64; 4]) -> Result<Vec<u8>> {
        let [left, top, right, bottom] = part;
        let (width, height) = (picture.width() as f64, picture.height() as f64);
        let inside = 0.0 <= left && left < right && right <= width && 0.0 <= top && top < bottom && bottom <= height;
        if !inside {
            return Err(Error::Argument {
                name: "part",
                expected: format!("left < right and top < bottom inside {width} x {height} pixels"),
                got: format!("{part:?}"),
            });
        }
        let side = self.size as u64;
        Ok(resize(picture, self.filter(), part, [side, side], 0..side, 0..side))
    }

    /// Bytes, red green blue, as the network reads them: `(v / 255 - mean) / std`.
    pub fn normalise<B: IntoIterator<Item = u8>>(&self, bytes: B) -> impl Iterator<Item = f32> + use<B> {
        let (mean, std) = (self.mean, self.std);
        bytes.into_iter().enumerate().map(move |(i, v)| (f32::from(v) / 255.0 - mean[i % 3]) / std[i % 3])
    }

    fn filter(&self) -> Filter {
        match self.mode {
            Mode::Classify => Filter::Bilinear,
            Mode::Caption => Filter::Bicubic,
        }
    }

    fn numbers(&self, picture: &Image) -> impl Iterator<Item = f32> + use<> {
        self.normalise(self.square(picture))
    }
}

fn three_numbers(value: &Value) -> Option<[f32; 3]> {
    let numbers: Option<Vec<f32>> = value.as_array()?.iter().map(|v| v.as_f64().map(|v| v as f32).filter(|v| v.is_finite())).collect();
    numbers?.try_into().ok()
}

/// Where the network's square lies in the picture: drawn over the picture, a heat map must follow it.
///
/// Points are continuous: pixel `i` covers `i..i + 1`, so its middle is `i + 0.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    /// The square's left and top edge in the resized picture.
    offset: [f64; 2],
    /// Width and height of the resized picture, before the crop.
    resized: [f64; 2],
    /// Width and height of the picture.
    picture: [f64; 2],
    /// Width and height of the square.
    size: f64,
}

impl Crop {
    /// The point (x, y) of the picture, in its pixels, that lies under a point of the square, in the square's pixels.
    pub fn to_picture(&self, square: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|i| (square[i] + self.offset[i]) * self.picture[i] / self.resized[i])
    }

    /// The point of the square over a point of the picture; outside 0..size where the crop cut it off.
    pub fn to_square(&self, picture: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|i| picture[i] * self.resized[i] / self.picture[i] - self.offset[i])
    }

    /// The part of the picture that the square shows: left, top, right, bottom, in the picture's pixels.
    pub fn visible(&self) -> [f64; 4] {
        let ([left, top], [right, bottom]) = (self.to_picture([0.0, 0.0]), self.to_picture([self.size, self.size]));
        [left, top, right, bottom]
    }
}
