//! What pictures are drawn with: colours, shapes, and a canvas of 96 x 96 units however many pixels it has.
//!
//! Only solid colours are painted and only lines and quadratic curves stroked: tiny-skia does both in integers and in arithmetic that
//! IEEE 754 pins down, so that every machine gets the same bytes.

use crate::error::{Error, Result};
use tiny_skia::{FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

/// Units along each side of a picture.
pub(super) const SIDE: f32 = 96.0;

/// A colour: red, green, blue, opacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour([u8; 4]);

/// An opaque colour in hexadecimal.
pub(super) const fn rgb(hex: u32) -> Colour {
    Colour([(hex >> 16) as u8, (hex >> 8) as u8, hex as u8, 255])
}

impl Colour {
    /// The same, as a veil: 0 unseen, 1 opaque.
    pub fn veil(self, opacity: f32) -> Colour {
        let [r, g, b, _] = self.0;
        Colour([r, g, b, (opacity * 255.0 + 0.5) as u8])
    }

    /// So much of the way to another.
    pub fn mix(self, other: Colour, share: f32) -> Colour {
        let mut mixed = self.0;
        for (a, b) in mixed.iter_mut().zip(other.0) {
            *a = (f32::from(*a) + (f32::from(b) - f32::from(*a)) * share + 0.5) as u8;
        }
        Colour(mixed)
    }
}

/// A point, in units: to the right, down.
pub(super) type Point = (f32, f32);

/// An outline. One that has no extent draws nothing.
#[derive(Debug, Clone)]
pub(super) struct Shape(Option<Path>);

impl Shape {
    /// Straight lines from point to point.
    pub fn line(points: &[Point]) -> Self {
        Self::through(points, false)
    }

    /// The same, closed.
    pub fn polygon(points: &[Point]) -> Self {
        Self::through(points, true)
    }

    fn through(points: &[Point], close: bool) -> Self {
        let mut path = PathBuilder::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        if close {
            path.close();
        }
        Shape(path.finish())
    }

    /// Quadratic curves: from a point, each bent towards the first of a pair on its way to the second.
    pub fn curve(from: Point, bends: &[(Point, Point)]) -> Self {
        Shape(Self::bent(from, bends).finish())
    }

    /// The same, closed by a straight line.
    pub fn blob(from: Point, bends: &[(Point, Point)]) -> Self {
        let mut path = Self::bent(from, bends);
        path.close();
        Shape(path.finish())
    }

    fn bent(from: Point, bends: &[(Point, Point)]) -> PathBuilder {
        let mut path = PathBuilder::new();
        path.move_to(from.0, from.1);
        for &((bx, by), (x, y)) in bends {
            path.quad_to(bx, by, x, y);
        }
        path
    }

    /// A disc.
    pub fn disc(x: f32, y: f32, radius: f32) -> Self {
        Self::oval(x, y, radius, radius)
    }

    /// An ellipse around a point, with its two half axes.
    pub fn oval(x: f32, y: f32, across: f32, down: f32) -> Self {
        Shape(Rect::from_xywh(x - across, y - down, 2.0 * across, 2.0 * down).and_then(PathBuilder::from_oval))
    }

    /// A rectangle by its upper left corner and its sides.
    pub fn block(x: f32, y: f32, width: f32, height: f32) -> Self {
        Shape(Rect::from_xywh(x, y, width, height).map(PathBuilder::from_rect))
    }

    /// A rectangle with round corners.
    pub fn pillow(x: f32, y: f32, width: f32, height: f32, r: f32) -> Self {
        let (right, bottom) = (x + width, y + height);
        let mut path = PathBuilder::new();
        path.move_to(x + r, y);
        path.line_to(right - r, y);
        path.quad_to(right, y, right, y + r);
        path.line_to(right, bottom - r);
        path.quad_to(right, bottom, right - r, bottom);
        path.line_to(x + r, bottom);
        path.quad_to(x, bottom, x, bottom - r);
        path.line_to(x, y + r);
        path.quad_to(x, y, x + r, y);
        path.close();
        Shape(path.finish())
    }
}

/// Where something is drawn: its origin, how much larger, whether mirrored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub x: f32,
    pub y: f32,
    pub scale: f32,
    pub mirrored: bool,
}

impl Place {
    /// In the canvas' own units.
    pub const CANVAS: Place = Place { x: 0.0, y: 0.0, scale: 1.0, mirrored: false };
}

/// A square sheet of opaque pixels.
pub(super) struct Canvas {
    pixels: Pixmap,
    /// Pixels in a unit.
    scale: f32,
    place: Place,
}

impl Canvas {
    /// White, of `size` x `size` pixels.
    pub fn new(size: usize) -> Result<Self> {
        let refused = || Error::Argument { name: "size", expected: "a side that a picture can have".into(), got: size.to_string() };
        let side = u32::try_from(size).map_err(|_| refused())?;
        let mut pixels = Pixmap::new(side, side).ok_or_else(refused)?;
        pixels.fill(tiny_skia::Color::WHITE);
        Ok(Canvas { pixels, scale: size as f32 / SIDE, place: Place::CANVAS })
    }

    /// From here on things are drawn there.
    pub fn go(&mut self, place: Place) {
        self.place = place;
    }

    /// Fills a shape.
    pub fn fill(&mut self, shape: &Shape, colour: Colour) {
        if let Some(path) = &shape.0 {
            self.pixels.fill_path(path, &paint(colour), FillRule::Winding, self.transform(), None);
        }
    }

    /// Draws along a shape, with round ends and corners.
    pub fn stroke(&mut self, shape: &Shape, width: f32, colour: Colour) {
        if let Some(path) = &shape.0 {
            let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
            self.pixels.stroke_path(path, &paint(colour), &stroke, self.transform(), None);
        }
    }

    /// Fills rows from `top` to `bottom` with colours that pass from one to another.
    pub fn fade(&mut self, (top, above): (f32, Colour), (bottom, below): (f32, Colour)) {
        let width = self.pixels.width() as usize;
        let row_of = |y: f32| (y * self.scale + 0.5) as usize;
        let (first, end) = (row_of(top), row_of(bottom));
        let rows = self.pixels.data_mut().chunks_exact_mut(4 * width).enumerate().take(end).skip(first);
        for (y, row) in rows {
            let share = (y - first) as f32 / (end - first).max(2).saturating_sub(1) as f32;
            let Colour(colour) = above.mix(below, share);
            row.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    fn transform(&self) -> Transform {
        let Place { x, y, scale, mirrored } = self.place;
        let across = if mirrored { -scale } else { scale };
        Transform::from_row(across * self.scale, 0.0, 0.0, scale * self.scale, x * self.scale, y * self.scale)
    }

    /// Pixels along each side.
    pub fn size(&self) -> usize {
        self.pixels.width() as usize
    }

    /// The pixels: red, green, blue, opacity.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pixels.data_mut()
    }

    /// The bytes, `[size, size, 3]`.
    pub fn into_rgb(self) -> Vec<u8> {
        // Everything is opaque, so that colours are as they were painted.
        self.pixels.data().chunks_exact(4).flat_map(|pixel| pixel.iter().take(3).copied()).collect()
    }
}

fn paint(Colour([r, g, b, a]): Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, a);
    paint
}
