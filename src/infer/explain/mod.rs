//! A figure of one result: the picture under a heat map of where the highlighted words look, the probabilities beside it, and the
//! caption beneath with each word shaded by its gate. And one of many results: what was taken for what.

mod canvas;
mod caption;
mod chart;
mod confusion;
mod photo;

pub use confusion::confusion;

use super::{Classification, Heat};
use crate::data::image::Image;
use crate::error::{Error, Result};
use crate::weights::write_atomically;
use canvas::{Canvas, Fonts, Rect};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::path::Path;

/// Pixels in a row of every figure.
pub const WIDTH: usize = 1080;
/// Around everything.
const MARGIN: usize = 40;
/// The longest side of the picture inside the figure.
const PICTURE: usize = 600;
/// Where the column beside the picture begins, and how wide it is.
const COLUMN: Rect = Rect { x: (MARGIN + PICTURE + 44) as f32, y: 0.0, w: (WIDTH - 2 * MARGIN - PICTURE - 44) as f32, h: 0.0 };

/// Draws the figure. `name` is what it calls the picture.
///
/// # Errors
/// [`Error::Argument`] where the result's maps are not as large as its grid.
pub fn figure(picture: &Image, result: &Classification, name: &str) -> Result<Image> {
    let fonts = Fonts::new()?;
    let heat = Heat::of(result)?;
    let photo = photo::Photo::new(picture, PICTURE)?;
    let head = 118.0;
    let words = caption::Layout::new(&fonts, result, (WIDTH - 2 * MARGIN) as f32);
    let bars = chart::Bars::new(result, heat.as_ref());
    let body = head + (photo.height() as f32).max(bars.height());
    let height = body + words.height() + 0.5 * MARGIN as f32;
    let mut canvas = Canvas::new(WIDTH, height.ceil() as usize);

    chart::title(&mut canvas, &fonts, result, name, MARGIN as f32, (WIDTH - 2 * MARGIN) as f32);
    let left = MARGIN + (PICTURE - photo.width()) / 2;
    photo.draw(&mut canvas, (left as f32, head), heat.as_ref(), &result.crop);
    bars.draw(&mut canvas, &fonts, Rect { y: head, ..COLUMN });
    words.draw(&mut canvas, &fonts, MARGIN as f32, body);
    canvas.into_image()
}

/// Writes a picture as PNG; the file is whole or not there.
///
/// # Errors
/// [`Error::Io`] where it cannot be written, [`Error::Image`] where it cannot be encoded.
pub fn write_png(picture: &Image, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    PngEncoder::new(&mut bytes)
        .write_image(picture.rgb(), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Error::Image { path: path.to_owned(), reason: e.to_string() })?;
    write_atomically(path, |out| out.write_all(&bytes).map_err(|e| Error::io(path, e)))
}
