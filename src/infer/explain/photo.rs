//! The picture in the figure, under its heat map.

use super::Heat;
use super::canvas::{Canvas, LINE, mix};
use crate::data::image::Image;
use crate::data::preprocess::Crop;
use crate::error::{Error, Result};
use image::imageops::{FilterType, resize};
use image::{RgbImage, imageops};

/// The picture, scaled so that its longer side has a given length.
pub(super) struct Photo {
    scaled: RgbImage,
    /// Pixels of the picture for each of the scaled one.
    scale: [f64; 2],
}

impl Photo {
    /// Scales the picture.
    pub fn new(picture: &Image, side: usize) -> Result<Self> {
        let (w, h) = (picture.width(), picture.height());
        let fit = |a: usize| (a * side).div_ceil(w.max(h)).clamp(1, side) as u32;
        let whole = RgbImage::from_raw(w as u32, h as u32, picture.rgb().to_vec());
        let whole = whole.ok_or_else(|| Error::Argument { name: "picture", expected: format!("{w} x {h} pixels"), got: "fewer".into() })?;
        // Far too many pixels are thinned first: the filter would read each of them as a float.
        let (near_w, near_h) = (fit(w) * 4, fit(h) * 4);
        let whole = if whole.width() > near_w && whole.height() > near_h { imageops::thumbnail(&whole, near_w, near_h) } else { whole };
        let scaled = resize(&whole, fit(w), fit(h), FilterType::CatmullRom);
        let scale = [w as f64 / f64::from(scaled.width()), h as f64 / f64::from(scaled.height())];
        Ok(Photo { scaled, scale })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.scaled.width() as usize
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.scaled.height() as usize
    }

    /// Draws it with its left upper corner at `corner`. What the network did not see is gray and faint. Under the
    /// heat the picture gives up most of its colour, which would mix with the heat's.
    pub fn draw(&self, canvas: &mut Canvas, corner: (f32, f32), heat: Option<&Heat>, crop: &Crop) {
        let (left, top) = (corner.0 as usize, corner.1 as usize);
        let [x0, y0, x1, y1] = crop.visible();
        for (x, y, pixel) in self.scaled.enumerate_pixels() {
            let at = [(f64::from(x) + 0.5) * self.scale[0], (f64::from(y) + 0.5) * self.scale[1]];
            let [sx, sy] = crop.to_square(at);
            let [ox, oy] = crop.to_square([x1, y1]);
            let seen = (x0..x1).contains(&at[0]) && (y0..y1).contains(&at[1]);
            let gray = [luma(pixel.0); 3];
            let colour = match heat {
                _ if !seen => mix(gray, [255; 3], 0.62),
                Some(heat) => {
                    let value = heat.at([sx / ox, sy / oy]);
                    mix(mix(pixel.0, gray, 0.85), heat.colour(value), 0.5)
                }
                None => pixel.0,
            };
            canvas.set(left + x as usize, top + y as usize, colour);
        }
        self.outline(canvas, (left, top), [x0, y0, x1, y1]);
    }

    /// A line around what the network saw, where that is not all.
    fn outline(&self, canvas: &mut Canvas, (left, top): (usize, usize), [x0, y0, x1, y1]: [f64; 4]) {
        let (w, h) = (self.scaled.width() as usize, self.scaled.height() as usize);
        let scaled = |v: f64, axis: usize, end: usize| ((v / self.scale[axis]).round().max(0.0) as usize).min(end - 1);
        let (a, b) = (scaled(x0, 0, w), scaled(x1 - self.scale[0], 0, w));
        let (c, d) = (scaled(y0, 1, h), scaled(y1 - self.scale[1], 1, h));
        if a == 0 && b == w - 1 && c == 0 && d == h - 1 {
            return;
        }
        for x in a..=b {
            canvas.set(left + x, top + c, LINE);
            canvas.set(left + x, top + d, LINE);
        }
        for y in c..=d {
            canvas.set(left + a, top + y, LINE);
            canvas.set(left + b, top + y, LINE);
        }
    }
}

/// How light a colour looks.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114) / 1000) as u8
}
