//! Random alterations of training pictures: a part of the picture, mirrored, moved, its colours changed.
//!
//! In this order: random resized crop, flip, shift, colours. The first three say where a pixel comes from, so the colours, and above all
//! the mean gray that contrast turns about, are those of what the network sees.

use super::colour::Colour;
pub use super::draws::Address;
use super::draws::Draws;
use super::image::Image;
use super::preprocess::Preprocess;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The least and the greatest width / height of a part that is cut out.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// How often a part is drawn that does not fit before the middle of the picture is taken.
const TRIES: usize = 10;

/// What the streams of random numbers are for.
const CROP: u32 = 0;
const FLIP: u32 = 1;
const SHIFT: u32 = 2;
const COLOUR_ORDER: u32 = 3;
const COLOURS: u32 = 4;

/// How training pictures are altered; the default alters nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// The least and the greatest share of the picture's area that is cut out and resampled to the network's square, its proportions
    /// between 3/4 and 4/3: torchvision's `RandomResizedCrop`. Where none is given the network sees what it sees in an evaluation.
    pub crop: Option<[f64; 2]>,
    /// The probability of a mirror image.
    pub flip: f64,
    /// The most pixels of the network's square by which the picture moves along either axis; the edges are repeated.
    pub shift: usize,
    /// Brightness is multiplied by a number in [max(0, 1 - this), 1 + this].
    pub brightness: f64,
    /// The same of the distance from the mean gray.
    pub contrast: f64,
    /// The same of the distance of each pixel from its gray.
    pub saturation: f64,
    /// Hue turns by at most this share of the colour circle either way, up to 0.5. The four changes of colour come in random order, as in
    /// torchvision's `ColorJitter`.
    pub hue: f64,
    /// Over so many epochs crops, shifts and colours grow from nothing to what is said here: a network that has yet to find out what it
    /// looks for learns slowly from pictures that move. 0: as said from the start.
    pub ramp: f64,
}

impl Augment {
    /// Looks whether every value is in its range.
    ///
    /// # Errors
    /// [`Error::Argument`] for the first that is not.
    pub fn check(&self) -> Result<()> {
        let wrong = |name, expected: &str, got: String| Err(Error::Argument { name, expected: expected.to_owned(), got });
        if let Some([low, high]) = self.crop.filter(|&[low, high]| !(0.0 < low && low <= high && high <= 1.0)) {
            return wrong("augment.crop", "two shares of the area, 0 < low <= high <= 1", format!("[{low}, {high}]"));
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return wrong("augment.flip", "a probability, 0 to 1", self.flip.to_string());
        }
        let strengths = [("augment.brightness", self.brightness), ("augment.contrast", self.contrast), ("augment.saturation", self.saturation)];
        if let Some((name, value)) = strengths.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return wrong(name, "a finite number from 0 on", value.to_string());
        }
        if !(0.0..=1e6).contains(&self.ramp) {
            return wrong("augment.ramp", "epochs, from 0 on", self.ramp.to_string());
        }
        if !(0.0..=0.5).contains(&self.hue) {
            return wrong("augment.hue", "a share of the colour circle, 0 to 0.5", self.hue.to_string());
        }
        Ok(())
    }

    /// What it is in this epoch.
    fn at(&self, epoch: u64) -> Self {
        let grown = if self.ramp > 0.0 { (epoch as f64 / self.ramp).min(1.0) } else { 1.0 };
        Augment {
            crop: self.crop.map(|share| share.map(|s| 1.0 - (1.0 - s) * grown)),
            flip: self.flip,
            shift: (self.shift as f64 * grown).round_ties_even() as usize,
            brightness: self.brightness * grown,
            contrast: self.contrast * grown,
            saturation: self.saturation * grown,
            hue: self.hue * grown,
            ramp: self.ramp,
        }
    }

    /// Draws what is done to the picture of `width` x `height` pixels at this address.
    pub fn draw(&self, width: usize, height: usize, address: Address) -> Alteration {
        if self.ramp > 0.0 { self.at(address.epoch).drawn(width, height, address) } else { self.drawn(width, height, address) }
    }

    fn drawn(&self, width: usize, height: usize, address: Address) -> Alteration {
        let part = self.crop.map(|share| part(width as f64, height as f64, share, &mut Draws::new(address, CROP)));
        let flip = Draws::new(address, FLIP).unit() < self.flip;
        let mut draws = Draws::new(address, SHIFT);
        let shift = [(); 2].map(|()| draws.below(2 * self.shift + 1) as i64 - self.shift as i64);
        Alteration { part, flip, shift, colours: self.colours(address) }
    }

    /// The changes of colour, in the order drawn; those that are off are left out.
    fn colours(&self, address: Address) -> Vec<Colour> {
        let mut draws = Draws::new(address, COLOURS);
        let mut factor = |strength: f64| draws.between([(1.0 - strength).max(0.0), 1.0 + strength]) as f32;
        let brightness = (self.brightness, Colour::Brightness(factor(self.brightness)));
        let contrast = (self.contrast, Colour::Contrast(factor(self.contrast)));
        let saturation = (self.saturation, Colour::Saturation(factor(self.saturation)));
        let mut all = [brightness, contrast, saturation, (self.hue, Colour::Hue(draws.between([-self.hue, self.hue])))];
        let mut draws = Draws::new(address, COLOUR_ORDER);
        for last in (1..all.len()).rev() {
            all.swap(last, draws.below(last + 1));
        }
        all.into_iter().filter(|(strength, _)| *strength > 0.0).map(|(_, colour)| colour).collect()
    }
}

/// A part of random area and proportions, at a random place: left, top, right, bottom, whole pixels.
fn part(width: f64, height: f64, share: [f64; 2], draws: &mut Draws) -> [f64; 4] {
    let log_ratio = RATIO.map(libm::log);
    let at = |left: f64, top: f64, w: f64, h: f64| [left, top, left + w, top + h];
    for _ in 0..TRIES {
        let area = width * height * draws.between(share);
        let ratio = libm::exp(draws.between(log_ratio));
        let (w, h) = ((area * ratio).sqrt().round_ties_even(), (area / ratio).sqrt().round_ties_even());
        if (1.0..=width).contains(&w) && (1.0..=height).contains(&h) {
            let place = [width - w, height - h].map(|room| draws.below(room as usize + 1) as f64);
            return at(place[0], place[1], w, h);
        }
    }
    let ratio = (width / height).clamp(RATIO[0], RATIO[1]);
    let (w, h) = if width / height < ratio {
        (width, (width / ratio).round_ties_even().clamp(1.0, height))
    } else {
        ((height * ratio).round_ties_even().clamp(1.0, width), height)
    };
    at(((width - w) / 2.0).floor(), ((height - h) / 2.0).floor(), w, h)
}

/// What is done to one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Alteration {
    /// What is cut out: left, top, right, bottom, in the picture's pixels.
    pub part: Option<[f64; 4]>,
    /// Left becomes right.
    pub flip: bool,
    /// Pixels to the right and down, in the network's square.
    pub shift: [i64; 2],
    /// Changes of colour, one after another.
    pub colours: Vec<Colour>,
}

impl Alteration {
    /// The bytes of the network's square, `[size, size, 3]`, not yet normalised.
    ///
    /// # Errors
    /// [`Error::Argument`] where the part does not lie in the picture.
    pub fn apply(&self, picture: &Image, preprocess: &Preprocess) -> Result<Vec<u8>> {
        let mut square = match self.part {
            Some(part) => preprocess.square_of(picture, part)?,
            None => preprocess.square(picture),
        };
        let size = preprocess.size();
        if self.flip {
            square.as_chunks_mut::<3>().0.chunks_exact_mut(size).for_each(<[[u8; 3]]>::reverse);
        }
        if self.shift != [0, 0] {
            square = shifted(&square, size, self.shift);
        }
        self.colours.iter().for_each(|colour| colour.apply(&mut square));
        Ok(square)
    }
}

/// The square moved; what comes in repeats the edge.
fn shifted(square: &[u8], size: usize, [right, down]: [i64; 2]) -> Vec<u8> {
    let pixels = square.as_chunks::<3>().0;
    let from = |to: usize, by: i64| (to as i64 - by).clamp(0, size as i64 - 1) as usize;
    let rows = (0..size).flat_map(|y| pixels.get(from(y, down) * size..).unwrap_or_default().get(..size));
    rows.flat_map(|row| (0..size).filter_map(move |x| row.get(from(x, right)))).flatten().copied().collect()
}
