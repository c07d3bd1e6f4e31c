//! From what is on a picture to its pixels: the scene, then things in two rows before it, then the tone.
//!
//! Faces and what flies stand in the upper row, figures and what stands in the lower; a row holds up to three. The middle of the
//! picture, and what is left free, shows the scene, each time in another light.

mod canvas;
mod face;
mod figure;
mod light;
mod object;
mod scene;
mod sticker;
pub mod tone;

use super::content::Content;
use super::dice::{Dice, Use};
use crate::data::image::Image;
use crate::error::Result;
use canvas::{Canvas, Place, SIDE};
use sticker::Sticker;

/// How much of a row a thing takes, and how much stays free at either end.
const WIDTH: f32 = 29.0;
const MARGIN: f32 = 2.5;
/// The middles of the rows, down, and how far from there a thing may be.
const ABOVE: f32 = 22.0;
const BELOW: f32 = 75.0;
const JITTER: f32 = 4.5;

/// Draws a picture of `size` x `size` pixels.
pub(super) fn draw(content: &Content, size: usize, seed: u64, picture: u32) -> Result<Image> {
    let mut canvas = Canvas::new(size)?;
    scene::draw(content.scene, &mut canvas, &mut Dice::new(seed, picture, Use::Scene));
    light::shine(&mut canvas, &mut Dice::new(seed, picture, Use::Light));

    let mut dice = Dice::new(seed, picture, Use::Things);
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for &thing in &content.objects {
        let row = if object::flies(thing) { &mut above } else { &mut below };
        row.push((object::object(thing, &mut dice), 0.0));
    }
    above.extend(content.expression.map(|expression| (face::face(expression, &mut dice), 0.0)));
    // Figures are taller than things and stand on the same ground.
    below.extend(content.action.map(|action| (figure::figure(action, &mut dice), -4.0)));
    line_up(above, ABOVE, &mut canvas, &mut dice);
    line_up(below, BELOW, &mut canvas, &mut dice);

    let mut rgb = canvas.into_rgb();
    tone::apply(&mut rgb, content.brightness, content.colorfulness);
    Image::from_rgb(size, size, rgb)
}

/// Puts things, each with how much higher it stands, side by side in a row, in any order, what is free spread at random between them.
fn line_up(mut things: Vec<(Sticker, f32)>, y: f32, canvas: &mut Canvas, dice: &mut Dice) {
    dice.shuffle(&mut things);
    let free = (SIDE - 2.0 * MARGIN - WIDTH * things.len() as f32).max(0.0);
    let mut gaps: Vec<f32> = things.iter().map(|_| free * dice.unit()).collect();
    gaps.sort_by(f32::total_cmp);
    for (i, ((thing, higher), gap)) in things.iter().zip(gaps).enumerate() {
        let place = Place {
            x: MARGIN + WIDTH * (i as f32 + 0.5) + gap,
            y: y + higher + dice.between(-JITTER, JITTER),
            scale: dice.between(0.94, 1.04),
            mirrored: dice.chance(0.5),
        };
        thing.draw(canvas, place);
    }
}
