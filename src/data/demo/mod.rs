//! Pictures drawn by rule: a data set in EmoSet's layout whose every attribute is true, and whose emotions follow from the attributes.
//!
//! A scene, one or two objects, often a face and a figure, in one of three lights and three strengths of colour. [`affinity`] says
//! what they make people feel. What can be told of a picture without knowing what is on it (its colours, its composition) tells
//! little: one has to see the things, and to weigh them against each other.
//!
//! Picture `i` depends on the seed and on `i` alone; the bytes are the same on every machine and for any number of threads.

pub mod affinity;
mod content;
mod dice;
mod draw;
mod folder;
mod info;
mod rows;

pub use content::{Action, Band, Content, Emotion, Expression, Level, Object, Scene};
pub use draw::tone;

use crate::data::image::Image;
use crate::error::{Error, Result};
use dice::{Dice, Use};
use folder::Folder;
use rayon::prelude::*;
use std::path::Path;

/// Which drawing rules a set was made by. It changes whenever a picture or a label would.
pub const VERSION: u32 = 1;

/// What set to draw.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Spec {
    /// Pictures in all.
    pub count: usize,
    /// Where the randomness comes from.
    pub seed: u64,
    /// Pixels along each side.
    pub size: usize,
    /// The share of labels that are wrong: each label is another, any of the seven, with this probability.
    pub label_noise: f64,
}

impl Default for Spec {
    fn default() -> Self {
        Spec { count: 4000, seed: 7, size: 96, label_noise: 0.0 }
    }
}

/// One picture of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its number in the set.
    pub index: usize,
    /// What its attributes add up to.
    pub emotion: Emotion,
    /// What the set says it is; the same unless the label is wrong.
    pub label: Emotion,
    /// What is on it.
    pub content: Content,
    /// Its pixels.
    pub image: Image,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Pictures for training, validation and testing.
    pub splits: [usize; 3],
    /// Labels that are wrong.
    pub wrong_labels: usize,
}

impl Spec {
    /// Says whether a set can be drawn so.
    ///
    /// # Errors
    /// [`Error::Argument`] for the first number out of range.
    pub fn check(&self) -> Result<()> {
        let wrong = |name, expected: &str, got: String| Err(Error::Argument { name, expected: expected.into(), got });
        match self {
            Spec { count, .. } if !(1..=1_000_000).contains(count) => wrong("count", "1 to 1000000 pictures", count.to_string()),
            Spec { size, .. } if !(16..=1024).contains(size) => wrong("size", "16 to 1024 pixels", size.to_string()),
            Spec { label_noise, .. } if !(0.0..=1.0).contains(label_noise) => wrong("label_noise", "a share, 0 to 1", label_noise.to_string()),
            _ => Ok(()),
        }
    }

    /// What picture `index` shall raise: the eight emotions take turns, so that they are as frequent as each other.
    fn emotion(&self, index: usize) -> Emotion {
        Emotion::ALL[index % Emotion::ALL.len()]
    }

    /// What the set says of picture `index`.
    fn label(&self, index: usize) -> Emotion {
        let (all, emotion) = (Emotion::ALL.len(), self.emotion(index));
        let mut dice = Dice::new(self.seed, index as u32, Use::Label);
        if dice.chance(self.label_noise) { Emotion::ALL[(emotion as usize + 1 + dice.below(all - 1)) % all] } else { emotion }
    }

    /// What is on picture `index`.
    pub fn content(&self, index: usize) -> Content {
        Content::draw(self.seed, index as u32, self.emotion(index))
    }

    /// Draws `content` as picture `index` would have it drawn: in its light, at its places.
    ///
    /// # Errors
    /// Those of [`Spec::check`].
    pub fn draw(&self, content: &Content, index: usize) -> Result<Image> {
        self.check()?;
        draw::draw(content, self.size, self.seed, index as u32)
    }

    /// Draws picture `index`.
    ///
    /// # Errors
    /// Those of [`Spec::check`].
    pub fn picture(&self, index: usize) -> Result<Picture> {
        let content = self.content(index);
        let image = self.draw(&content, index)?;
        Ok(Picture { index, emotion: self.emotion(index), label: self.label(index), content, image })
    }

    /// The first `columns` x `rows` pictures, or as many as there are, side by side on white. With eight columns each shows one emotion.
    ///
    /// # Errors
    /// Those of [`Spec::check`], and of a sheet larger than a picture may be.
    pub fn sheet(&self, columns: usize, rows: usize) -> Result<Image> {
        const GAP: usize = 3;
        let rows = rows.min(self.count.div_ceil(columns.max(1)));
        let step = self.size + GAP;
        let (width, height) = ((columns * step).saturating_sub(GAP), (rows * step).saturating_sub(GAP));
        let mut rgb = vec![255; width * height * 3];
        for index in 0..self.count.min(columns * rows) {
            let picture = self.picture(index)?.image;
            let (left, top) = (index % columns * step, index / columns * step);
            let lines = rgb.chunks_exact_mut(width * 3).skip(top);
            for (line, from) in lines.zip(picture.rgb().chunks_exact(self.size * 3)) {
                line.iter_mut().skip(left * 3).zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        Image::from_rgb(width, height, rgb)
    }
}

/// Draws a set into the folder `out`, which appears when all of it is written and on disk. `drawn` is called after each picture, by
/// any thread; what it returns may end the work.
///
/// # Errors
/// Those of [`Spec::check`]; [`Error::Argument`] where `out` is there and not an empty folder; [`Error::Io`]; what `drawn` returns.
pub fn generate<E: From<Error> + Send>(spec: &Spec, out: impl AsRef<Path>, drawn: impl Fn() -> Result<(), E> + Sync) -> Result<Summary, E> {
    spec.check()?;
    let folder = Folder::begin(out.as_ref())?;
    for emotion in Emotion::ALL {
        folder.add(&format!("image/{}", emotion.name()))?;
        folder.add(&format!("annotation/{}", emotion.name()))?;
    }
    (0..spec.count).into_par_iter().try_for_each(|index| {
        let Picture { label, content, image, .. } = spec.picture(index)?;
        let row = rows::Row::new(label, index);
        folder.write(&row.image, &info::png(&image, &row.image)?)?;
        folder.write(&row.annotation, &info::annotation(&row, label, &content)?)?;
        drawn()
    })?;
    let splits = rows::split(spec);
    for (name, rows) in ["train", "val", "test"].iter().zip(&splits) {
        folder.write(&format!("{name}.json"), &info::list(rows)?)?;
    }
    folder.write("info.json", &info::info(spec)?)?;
    folder.finish()?;
    let wrong_labels = (0..spec.count).filter(|&index| spec.label(index) != spec.emotion(index)).count();
    Ok(Summary { splits: splits.map(|rows| rows.len()), wrong_labels })
}
