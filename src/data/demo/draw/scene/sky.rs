//! Scenes of which the sky is most.

use super::super::canvas::{Canvas, Shape, rgb};
use crate::data::demo::dice::Dice;

/// Stars, a crescent, the Milky Way, black hills.
pub(super) fn night_sky(canvas: &mut Canvas, dice: &mut Dice) {
    canvas.fade((0.0, rgb(0x4347a0)), (72.0, rgb(0xa386cf)));
    let tilt = dice.between(-6.0, 10.0);
    let way = Shape::blob((-4.0, 58.0 + tilt), &[((40.0, 44.0), (100.0, 8.0)), ((100.0, 20.0), (100.0, 30.0)), ((50.0, 54.0), (-4.0, 76.0 + tilt))]);
    canvas.fill(&way, rgb(0xd9c6f5).veil(0.35));
    for _ in 0..46 {
        let (x, y, size) = (dice.between(0.0, 96.0), dice.between(0.0, 70.0), dice.between(0.45, 0.9));
        canvas.fill(&Shape::disc(x, y, size), rgb(0xfff8dc));
    }
    for _ in 0..7 {
        let (x, y, r) = (dice.between(4.0, 92.0), dice.between(4.0, 62.0), dice.between(2.0, 3.2));
        let thin = r * 0.22;
        let star =
            [(x, y - r), (x + thin, y - thin), (x + r, y), (x + thin, y + thin), (x, y + r), (x - thin, y + thin), (x - r, y), (x - thin, y - thin)];
        canvas.fill(&Shape::polygon(&star), rgb(0xffffff));
    }
    let (x, y) = (dice.between(14.0, 82.0), dice.between(43.0, 48.0));
    let moon = Shape::blob(
        (x + 3.0, y - 9.0),
        &[((x - 9.0, y - 8.0), (x - 8.0, y + 1.0)), ((x - 6.0, y + 10.0), (x + 5.0, y + 8.0)), ((x - 5.0, y + 3.0), (x + 3.0, y - 9.0))],
    );
    canvas.fill(&moon, rgb(0xffefb0));
    let low = dice.between(66.0, 70.0);
    canvas.fill(
        &Shape::blob(
            (-2.0, low),
            &[
                ((20.0, low - 10.0), (46.0, low + 3.0)),
                ((70.0, low + 10.0), (98.0, low - 4.0)),
                ((98.0, 98.0), (98.0, 98.0)),
                ((48.0, 98.0), (-2.0, 98.0)),
            ],
        ),
        rgb(0x575590),
    );
    canvas.fill(
        &Shape::blob((-2.0, low + 12.0), &[((40.0, low + 4.0), (98.0, low + 14.0)), ((98.0, 98.0), (98.0, 98.0)), ((48.0, 98.0), (-2.0, 98.0))]),
        rgb(0x454375),
    );
}

/// Clouds upon clouds, rain, lightning, a rough sea.
pub(super) fn storm(canvas: &mut Canvas, dice: &mut Dice) {
    canvas.fade((0.0, rgb(0x4f5d7d)), (66.0, rgb(0xa3b0c4)));
    for (y, size, colour) in [(22.0, 15.0, rgb(0x7684a3)), (11.0, 13.0, rgb(0x5f6c8d)), (1.0, 12.0, rgb(0x475373))] {
        let mut x = dice.between(-8.0, 4.0);
        while x < 104.0 {
            canvas.fill(&Shape::disc(x, y + dice.between(-2.5, 2.5), size * dice.between(0.8, 1.1)), colour);
            x += size * 1.1;
        }
    }
    let x = dice.between(24.0, 72.0);
    let bolt = [(x + 4.0, 22.0), (x - 7.0, 44.0), (x - 0.5, 44.0), (x - 6.0, 66.0), (x + 9.0, 38.5), (x + 2.5, 38.5), (x + 11.0, 22.0)];
    canvas.stroke(&Shape::polygon(&bolt), 2.6, rgb(0xfff6c8).veil(0.5));
    canvas.fill(&Shape::polygon(&bolt), rgb(0xffe03d));
    for (y, colour) in [(66.0, rgb(0x2f6a86)), (74.0, rgb(0x275873)), (83.0, rgb(0x1f475f))] {
        let start = dice.between(-12.0, 0.0);
        let mut bends = Vec::new();
        for i in 0..9 {
            let from = start + 13.0 * i as f32;
            bends.push(((from + 8.0, y + 3.5), (from + 13.0, y - 4.0)));
        }
        bends.extend([((110.0, 98.0), (110.0, 98.0)), ((48.0, 98.0), (-14.0, 98.0))]);
        canvas.fill(&Shape::blob((start, y - 4.0), &bends), colour);
    }
    for _ in 0..44 {
        let (x, y, long) = (dice.between(-4.0, 100.0), dice.between(28.0, 96.0), dice.between(4.0, 8.0));
        canvas.stroke(&Shape::line(&[(x, y), (x - long * 0.4, y + long)]), 0.8, rgb(0xe3ecf7).veil(0.65));
    }
}
