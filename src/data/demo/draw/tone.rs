//! How light and how colourful a finished picture is: its brightness and colourfulness are set to what its annotation says.
//!
//! Brightness is the mean luma, `Y = 0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601). Colourfulness is that of Hasler and Süsstrunk 2003,
//! "Measuring colourfulness in natural images": with `rg = R - G` and `yb = (R + G) / 2 - B`,
//! `sqrt(var rg + var yb) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2)`. Both are of channels in 0..=1.

use crate::data::demo::content::{Band, Level};

/// The mean luma of a picture: 0 black, 1 white.
pub fn brightness(rgb: &[u8]) -> f64 {
    mean(rgb.chunks_exact(3).map(channels))
}

/// Hasler and Süsstrunk's colourfulness of a picture: 0 grey, about 0.4 vivid.
pub fn colorfulness(rgb: &[u8]) -> f64 {
    measure(rgb.chunks_exact(3).map(channels))
}

/// What [`brightness`] gives for a picture of this level.
pub fn brightness_of(level: Level) -> f64 {
    0.17 + 0.6 * level.value()
}

/// What [`colorfulness`] gives, or nearly, for a picture of these levels: a dark picture has less room for colour.
pub fn colorfulness_of(brightness: Level, colorfulness: Level) -> f64 {
    let room = if brightness.band() == Band::Low { 0.7 } else { 1.0 };
    room * (0.01 + 0.46 * colorfulness.value())
}

/// Brings a picture to these levels. Lightness moves along a curve that keeps dark below light, so that what could be told apart still
/// can be.
pub(super) fn apply(rgb: &mut [u8], light: Level, colour: Level) {
    let wanted = (brightness_of(light), colorfulness_of(light, colour));
    let (mut curve, mut strength) = (Curve::to(rgb, light.band(), wanted.0), 1.0);
    // Channels are clipped, which takes some colour away and moves the mean; a few rounds make up for it.
    let mut aim = wanted.0;
    for _ in 0..ROUNDS {
        for _ in 0..2 {
            let has = measure(rgb.chunks_exact(3).map(|pixel| curve.toned(pixel, strength)));
            strength = (strength * (wanted.1 / has.max(1e-3)) as f32).min(STRONGEST);
        }
        aim += wanted.0 - mean(rgb.chunks_exact(3).map(|pixel| curve.toned(pixel, strength)));
        curve = Curve::to(rgb, light.band(), aim);
    }
    for pixel in rgb.chunks_exact_mut(3) {
        let toned = curve.toned(pixel, strength);
        pixel.iter_mut().zip(toned).for_each(|(byte, value)| *byte = (value * 255.0 + 0.5) as u8);
    }
}

/// How often lightness and colour are set anew.
const ROUNDS: usize = 3;
/// The most that colours are strengthened.
const STRONGEST: f32 = 4.0;

/// From the luma of a drawing to that of the picture: `low + (high - low) Y^power`.
struct Curve {
    /// By luma in 255ths.
    luma: [f32; 256],
}

impl Curve {
    /// The one of a band that gives a picture this mean luma, as long as no channel is clipped.
    fn to(rgb: &[u8], band: Band, wanted: f64) -> Self {
        // Dark pictures lack white and light ones lack black, as under- and overexposed ones do.
        let (low, high) = match band {
            Band::Low => (0.0, 0.88),
            Band::Middle => (0.0, 1.0),
            Band::High => (0.1, 1.0),
        };
        let mut pixels = [0.0f32; 256];
        rgb.chunks_exact(3).for_each(|pixel| pixels[nearest(luma(channels(pixel)))] += 1.0);
        let all: f32 = pixels.iter().sum();
        let with = |power: f32| {
            let mut luma = [0.0f32; 256];
            luma.iter_mut().enumerate().for_each(|(y, to)| *to = low + (high - low) * libm::powf(y as f32 / 255.0, power));
            luma
        };
        // The mean falls as the power grows: halving finds it.
        let (mut least, mut most) = (0.1f32, 8.0f32);
        for _ in 0..16 {
            let middle = 0.5 * (least + most);
            let mean = with(middle).iter().zip(&pixels).map(|(to, n)| to * n).sum::<f32>() / all;
            if f64::from(mean) > wanted { least = middle } else { most = middle }
        }
        Curve { luma: with(0.5 * (least + most)) }
    }

    /// A pixel's channels under the curve, its difference from grey `strength` times what it was.
    fn toned(&self, pixel: &[u8], strength: f32) -> [f32; 3] {
        let channels = channels(pixel);
        let grey = luma(channels);
        let to = self.luma[nearest(grey)];
        channels.map(|c| (to + strength * (c - grey)).clamp(0.0, 1.0))
    }
}

fn nearest(luma: f32) -> usize {
    ((luma * 255.0 + 0.5) as usize).min(255)
}

fn channels(pixel: &[u8]) -> [f32; 3] {
    match *pixel {
        [r, g, b] => [r, g, b].map(|byte| f32::from(byte) / 255.0),
        _ => [0.0; 3],
    }
}

fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn mean(pixels: impl ExactSizeIterator<Item = [f32; 3]>) -> f64 {
    let n = pixels.len().max(1);
    pixels.map(|pixel| f64::from(luma(pixel))).sum::<f64>() / n as f64
}

fn measure(pixels: impl Iterator<Item = [f32; 3]>) -> f64 {
    let (mut n, mut sums, mut squares) = (0.0f64, [0.0f64; 2], 0.0f64);
    for [r, g, b] in pixels {
        let opposed = [f64::from(r - g), f64::from(0.5 * (r + g) - b)];
        n += 1.0;
        sums.iter_mut().zip(opposed).for_each(|(sum, x)| *sum += x);
        squares += opposed.iter().map(|x| x * x).sum::<f64>();
    }
    let n = n.max(1.0);
    let means = sums.iter().map(|sum| (sum / n) * (sum / n)).sum::<f64>();
    (squares / n - means).max(0.0).sqrt() + 0.3 * means.sqrt()
}
