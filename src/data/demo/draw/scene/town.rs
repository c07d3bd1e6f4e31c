//! Scenes that people built.

use super::super::canvas::{Canvas, Shape, rgb};
use crate::data::demo::dice::Dice;

/// Houses with windows, some lit, a pavement and a road.
pub(super) fn street(canvas: &mut Canvas, dice: &mut Dice) {
    canvas.fade((0.0, rgb(0xe8b98f)), (60.0, rgb(0xf4dcb8)));
    let walls = dice.shuffled([rgb(0xb0553f), rgb(0x6b7fa3), rgb(0xc98f4e), rgb(0x8d6a8f), rgb(0x5f8f86), rgb(0xa8433f)]);
    let mut x = dice.between(-10.0, -2.0);
    for wall in walls {
        let (wide, top) = (dice.between(17.0, 22.0), dice.between(8.0, 32.0));
        canvas.fill(&Shape::block(x, top, wide, 62.0 - top), wall);
        canvas.fill(&Shape::block(x, top, wide, 2.0), rgb(0x3c3440));
        let columns = 3;
        let step = (wide - 3.0) / columns as f32;
        let mut y = top + 5.0;
        while y < 56.0 {
            for column in 0..columns {
                let lit = dice.pick(rgb(0xffe58a), &[rgb(0xffe58a), rgb(0x39405c)]);
                canvas.fill(&Shape::block(x + 2.4 + step * column as f32, y, step - 2.0, 4.6), lit);
            }
            y += 8.0;
        }
        x += wide + 0.4;
    }
    canvas.fade((62.0, rgb(0xc9c3bb)), (68.0, rgb(0xa9a39d)));
    canvas.fade((68.0, rgb(0x5c5b66)), (96.0, rgb(0x4a4954)));
    let dashes = dice.between(-14.0, 0.0);
    for i in 0..6 {
        canvas.fill(&Shape::block(dashes + 20.0 * i as f32, 80.0, 11.0, 2.6), rgb(0xf5e9c8));
    }
    let lamp = dice.between(8.0, 88.0);
    canvas.stroke(&Shape::line(&[(lamp, 66.0), (lamp, 40.0), (lamp + 5.0, 38.0)]), 1.6, rgb(0x2c2833));
    canvas.fill(&Shape::disc(lamp + 6.0, 39.5, 2.4), rgb(0xfff3b8));
}
