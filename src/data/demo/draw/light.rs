//! The light that a scene lies in: an hour of the day, from a side. It makes a scene's colours vary from picture to picture, so that
//! no pixel by itself tells the scene, and neither how light nor how colourful the whole is.

use super::canvas::Canvas;
use crate::data::demo::dice::Dice;

/// How bright the scene is beside what stands before it: lightness is raised to a power between the first and the second.
const EXPOSURE: (f32, f32) = (0.6, 1.8);
/// How much lighter or darker the scene's edges are than its middle, at most, across and down.
const SLOPE: f32 = 0.5;
/// The hours: how much of red, green and blue is left.
const CASTS: [[f32; 3]; 6] = [[1.0, 1.0, 1.0], [1.0, 0.86, 0.6], [0.7, 0.88, 1.0], [1.0, 0.72, 0.82], [0.78, 1.0, 0.72], [0.86, 0.74, 1.0]];

/// Puts what has been drawn so far into a light.
pub(super) fn shine(canvas: &mut Canvas, dice: &mut Dice) {
    let power = dice.between(EXPOSURE.0, EXPOSURE.1);
    let (strength, cast) = (dice.unit(), CASTS[dice.below(CASTS.len())]);
    let (across, down) = (dice.between(-SLOPE, SLOPE), dice.between(-SLOPE, SLOPE));
    let mut exposed = [0.0f32; 256];
    exposed.iter_mut().enumerate().for_each(|(from, to)| *to = 255.0 * libm::powf(from as f32 / 255.0, power));
    let size = canvas.size();
    // From -1 at one edge to 1 at the other.
    let along = |i: usize| (2 * i + 1) as f32 / size as f32 - 1.0;
    for (y, row) in canvas.bytes_mut().chunks_exact_mut(4 * size).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(4).enumerate() {
            let light = (1.0 + across * along(x)) * (1.0 + down * along(y));
            for (byte, cast) in pixel.iter_mut().zip(cast) {
                let tint = 1.0 - strength * (1.0 - cast);
                *byte = (exposed[usize::from(*byte)] * light * tint + 0.5).min(255.0) as u8;
            }
        }
    }
}
