//! Things in front of a scene: drawn like stickers, with a dark rim and a light edge around it, so that they stand out from any
//! background in any light.

use super::canvas::{Canvas, Colour, Place, Shape, rgb};

/// What rims, and lines inside, are drawn with.
pub(super) const INK: Colour = rgb(0x0f0d16);
/// How wide the rim is.
const RIM: f32 = 1.1;
/// How wide the edge around the rim is.
const EDGE: f32 = 1.0;
const EDGE_COLOUR: Colour = rgb(0xfffaf0);

/// A part of a thing.
#[derive(Debug, Clone)]
struct Part {
    shape: Shape,
    colour: Colour,
    /// Of the line along the shape; none where the shape is filled.
    width: Option<f32>,
    /// It belongs to the outline.
    solid: bool,
}

/// A thing: parts from the back to the front, in units around its middle.
#[derive(Debug, Clone, Default)]
pub(super) struct Sticker {
    parts: Vec<Part>,
}

impl Sticker {
    /// Adds a filled part with a rim; where such parts meet they share one.
    pub fn solid(self, shape: Shape, colour: Colour) -> Self {
        self.with(shape, colour, None, true)
    }

    /// Adds a thick line with a rim.
    pub fn limb(self, shape: Shape, width: f32, colour: Colour) -> Self {
        self.with(shape, colour, Some(width), true)
    }

    /// Adds a filled part without a rim.
    pub fn dot(self, shape: Shape, colour: Colour) -> Self {
        self.with(shape, colour, None, false)
    }

    /// Adds a line without a rim.
    pub fn line(self, shape: Shape, width: f32, colour: Colour) -> Self {
        self.with(shape, colour, Some(width), false)
    }

    fn with(mut self, shape: Shape, colour: Colour, width: Option<f32>, solid: bool) -> Self {
        self.parts.push(Part { shape, colour, width, solid });
        self
    }

    /// Puts another in front.
    pub fn and(mut self, other: Sticker) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Draws it.
    pub fn draw(&self, canvas: &mut Canvas, place: Place) {
        canvas.go(place);
        for (around, colour) in [(RIM + EDGE, EDGE_COLOUR), (RIM, INK)] {
            for part in self.parts.iter().filter(|part| part.solid) {
                canvas.stroke(&part.shape, part.width.unwrap_or(0.0) + 2.0 * around, colour);
            }
        }
        for part in &self.parts {
            match part.width {
                Some(width) => canvas.stroke(&part.shape, width, part.colour),
                None => canvas.fill(&part.shape, part.colour),
            }
        }
        canvas.go(Place::CANVAS);
    }
}
