//! A sheet of pixels to draw on: boxes with smooth corners, and text.

use crate::data::image::Image;
use crate::error::{Error, Result};
use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

/// A colour, red green blue.
pub(super) type Colour = [u8; 3];
/// The sheet.
pub(super) const PAPER: Colour = [252, 252, 250];
/// Text that matters.
pub(super) const INK: Colour = [28, 28, 36];
/// Text that explains.
pub(super) const FAINT: Colour = [122, 122, 134];
/// Thin lines.
pub(super) const LINE: Colour = [96, 96, 108];
/// What bars are drawn on.
pub(super) const GROOVE: Colour = [233, 233, 230];

/// A box, in pixels from the left upper corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

/// How text is set: pixels of an em, colour, weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Style {
    pub size: f32,
    pub colour: Colour,
    pub bold: bool,
}

impl Style {
    /// Upright text.
    pub const fn plain(size: f32, colour: Colour) -> Self {
        Style { size, colour, bold: false }
    }

    /// Heavy text.
    pub const fn bold(size: f32, colour: Colour) -> Self {
        Style { size, colour, bold: true }
    }
}

/// The faces that text is set in.
pub(super) struct Fonts {
    plain: FontRef<'static>,
    bold: FontRef<'static>,
}

impl Fonts {
    /// The Latin letters of DejaVu Sans.
    pub fn new() -> Result<Self> {
        let open = |bytes| {
            let wrong = |e: ab_glyph::InvalidFont| Error::Image { path: "DejaVuSans".into(), reason: e.to_string() };
            FontRef::try_from_slice(bytes).map_err(wrong)
        };
        Ok(Fonts {
            plain: open(include_bytes!("../../../assets/fonts/DejaVuSans-latin.ttf"))?,
            bold: open(include_bytes!("../../../assets/fonts/DejaVuSans-Bold-latin.ttf"))?,
        })
    }

    fn face(&self, style: Style) -> (&FontRef<'static>, PxScale) {
        let face = if style.bold { &self.bold } else { &self.plain };
        let em = face.units_per_em().unwrap_or(2048.0);
        (face, PxScale::from(style.size * face.height_unscaled() / em))
    }

    /// How wide a text is.
    pub fn width(&self, text: &str, style: Style) -> f32 {
        let (face, scale) = self.face(style);
        let face = face.as_scaled(scale);
        text.chars().map(|c| face.h_advance(face.glyph_id(c))).sum()
    }

    /// The text, its middle left out where it is wider than `room`.
    pub fn shortened(&self, text: &str, style: Style, room: f32) -> String {
        let letters: Vec<char> = text.chars().collect();
        let with = |kept: usize| -> String {
            let (front, back) = (kept / 3, kept - kept / 3);
            letters[..front].iter().chain(&['…']).chain(&letters[letters.len() - back..]).collect()
        };
        if self.width(text, style) <= room {
            return text.to_owned();
        }
        (0..letters.len()).rev().map(with).find(|short| self.width(short, style) <= room).unwrap_or_default()
    }
}

/// A sheet of pixels.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// An empty sheet.
    pub fn new(width: usize, height: usize) -> Self {
        Canvas { width, height, rgb: PAPER.repeat(width * height) }
    }

    /// The sheet as a picture.
    pub fn into_image(self) -> Result<Image> {
        Image::from_rgb(self.width, self.height, self.rgb)
    }

    /// Sets a pixel; outside the sheet nothing happens.
    pub fn set(&mut self, x: usize, y: usize, colour: Colour) {
        self.blend(x as i64, y as i64, colour, 1.0);
    }

    /// Lays a colour over a pixel, `cover` of it.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, cover: f32) {
        if (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y) {
            let at = (y as usize * self.width + x as usize) * 3;
            if let Some(pixel) = self.rgb.get_mut(at..at + 3) {
                let mixed = mix([pixel[0], pixel[1], pixel[2]], colour, cover);
                pixel.copy_from_slice(&mixed);
            }
        }
    }

    /// Fills a box whose corners are rounded by `radius`.
    pub fn fill(&mut self, rect: Rect, radius: f32, colour: impl Fn(f32) -> Colour) {
        let Rect { x, y, w, h } = rect;
        let radius = radius.min(w / 2.0).min(h / 2.0).max(0.0);
        for py in y.floor() as i64..(y + h).ceil() as i64 {
            for px in x.floor() as i64..(x + w).ceil() as i64 {
                // The distance from the pixel's middle to the box shrunk by the radius.
                let (cx, cy) = (px as f32 + 0.5, py as f32 + 0.5);
                let beyond = |c: f32, from: f32, to: f32| (from + radius - c).max(c - (to - radius)).max(0.0);
                let cover = if radius > 0.0 {
                    radius + 0.5 - beyond(cx, x, x + w).hypot(beyond(cy, y, y + h))
                } else {
                    (cx - x + 0.5).min(x + w - cx + 0.5).min(cy - y + 0.5).min(y + h - cy + 0.5)
                };
                self.blend(px, py, colour((cx - x) / w), cover.clamp(0.0, 1.0));
            }
        }
    }

    /// Writes a text with its baseline's left end at (x, y); gives the right end.
    pub fn text(&mut self, fonts: &Fonts, (x, y): (f32, f32), style: Style, text: &str) -> f32 {
        let (face, scale) = fonts.face(style);
        let mut pen = x;
        for c in text.chars() {
            let id = face.glyph_id(c);
            if let Some(outline) = face.outline_glyph(id.with_scale_and_position(scale, point(pen, y))) {
                let bounds = outline.px_bounds();
                outline.draw(|gx, gy, cover| {
                    self.blend(bounds.min.x as i64 + i64::from(gx), bounds.min.y as i64 + i64::from(gy), style.colour, cover.clamp(0.0, 1.0));
                });
            }
            pen += face.as_scaled(scale).h_advance(id);
        }
        pen
    }

    /// Writes a text that ends at x.
    pub fn text_right(&mut self, fonts: &Fonts, (x, y): (f32, f32), style: Style, text: &str) {
        self.text(fonts, (x - fonts.width(text, style), y), style, text);
    }

    /// Writes a text with its middle at x.
    pub fn text_centred(&mut self, fonts: &Fonts, (x, y): (f32, f32), style: Style, text: &str) {
        self.text(fonts, (x - fonts.width(text, style) / 2.0, y), style, text);
    }
}

/// A colour on the way from one to another.
pub(super) fn mix(from: Colour, to: Colour, part: f32) -> Colour {
    std::array::from_fn(|i| (f32::from(from[i]) + part * (f32::from(to[i]) - f32::from(from[i]))).round().clamp(0.0, 255.0) as u8)
}
