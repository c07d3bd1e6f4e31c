//! From what is on a picture to its pixels: the scene, then things in slots before it, then the tone.
//!
//! Faces and what flies stand in the upper row, figures and what stands in the lower; each row has three slots. The middle of the
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
use canvas::{Canvas, Place};
use sticker::Sticker;

/// The middles of a row's slots, across.
const SLOTS: [f32; 3] = [18.5, 48.0, 77.5];
/// How far a row moves across, and a thing up or down.
const JITTER: f32 = 4.5;
/// How far a thing moves across beside its row: neighbours hardly touch.
const SIDEWAYS: f32 = 1.5;
/// The middles of the rows, down.
const ABOVE: f32 = 22.0;
const BELOW: f32 = 75.0;

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

/// Puts things, each with how much higher it stands, in slots of a row.
fn line_up(things: Vec<(Sticker, f32)>, y: f32, canvas: &mut Canvas, dice: &mut Dice) {
    let mut slots = SLOTS;
    dice.shuffle(&mut slots);
    let shift = dice.between(-JITTER, JITTER);
    for ((thing, higher), slot) in things.iter().zip(slots) {
        let place = Place {
            x: slot + shift + dice.between(-SIDEWAYS, SIDEWAYS),
            y: y + higher + dice.between(-JITTER, JITTER),
            scale: dice.between(0.96, 1.04),
            mirrored: dice.chance(0.5),
        };
        thing.draw(canvas, place);
    }
}
