//! Backgrounds: eight scenes, told apart by what is drawn in them. All are about as light and as colourful before the tone is set.

mod indoors;
mod land;
mod sky;
mod town;

use super::canvas::{Canvas, Place, SIDE, Shape, rgb};
use crate::data::demo::content::Scene;
use crate::data::demo::dice::Dice;

/// Draws it over the whole canvas, one time in two mirrored.
pub(super) fn draw(scene: Scene, canvas: &mut Canvas, dice: &mut Dice) {
    if dice.chance(0.5) {
        canvas.go(Place { x: SIDE, mirrored: true, ..Place::CANVAS });
    }
    match scene {
        Scene::Beach => land::beach(canvas, dice),
        Scene::Forest => land::forest(canvas, dice),
        Scene::LivingRoom => indoors::living_room(canvas, dice),
        Scene::Meadow => land::meadow(canvas, dice),
        Scene::Mountain => land::mountain(canvas, dice),
        Scene::NightSky => sky::night_sky(canvas, dice),
        Scene::Storm => sky::storm(canvas, dice),
        Scene::Street => town::street(canvas, dice),
    }
    canvas.go(Place::CANVAS);
}

/// A small fair-weather cloud without a rim.
fn puff(canvas: &mut Canvas, x: f32, y: f32, size: f32) {
    let white = rgb(0xffffff).veil(0.8);
    let cloud = Shape::blob(
        (x - 7.0 * size, y),
        &[
            ((x - 8.0 * size, y - 4.0 * size), (x - 3.0 * size, y - 3.6 * size)),
            ((x, y - 8.0 * size), (x + 3.0 * size, y - 3.6 * size)),
            ((x + 8.0 * size, y - 4.0 * size), (x + 7.0 * size, y)),
        ],
    );
    canvas.fill(&cloud, white);
}
