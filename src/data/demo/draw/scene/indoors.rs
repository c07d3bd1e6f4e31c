//! Scenes under a roof.

use super::super::canvas::{Canvas, Shape, rgb};
use crate::data::demo::dice::Dice;

/// Striped paper on the wall, a window with curtains, a sofa, planks.
pub(super) fn living_room(canvas: &mut Canvas, dice: &mut Dice) {
    let (paper, stripe) =
        dice.pick((rgb(0xe9cfa8), rgb(0xdcb98a)), &[(rgb(0xc9dcc0), rgb(0xaecba6)), (rgb(0xe8c4bb), rgb(0xd9a9a0)), (rgb(0xc6d2e6), rgb(0xa9bad8))]);
    canvas.fade((0.0, paper), (62.0, paper));
    for i in 0..9 {
        canvas.fill(&Shape::block(2.0 + 11.0 * i as f32, 0.0, 4.0, 62.0), stripe);
    }
    canvas.fade((62.0, rgb(0xb47a48)), (96.0, rgb(0x8f5a32)));
    for i in 0..4 {
        let y = 69.0 + 7.4 * i as f32;
        canvas.stroke(&Shape::line(&[(-2.0, y), (98.0, y)]), 0.9, rgb(0x6b4022));
        for k in 0..3 {
            let x = 36.0 * k as f32 + if i % 2 == 0 { 8.0 } else { 26.0 };
            canvas.stroke(&Shape::line(&[(x, y), (x, y - 7.4)]), 0.9, rgb(0x6b4022));
        }
    }
    canvas.fill(&Shape::block(-1.0, 60.0, 98.0, 3.0), rgb(0xfaf3e6));
    let x = dice.between(8.0, 16.0);
    canvas.fill(&Shape::block(x - 1.6, 6.4, 29.2, 35.2), rgb(0xfaf3e6));
    canvas.fill(&Shape::block(x, 8.0, 26.0, 32.0), rgb(0x7cc0ee));
    canvas.stroke(&Shape::line(&[(x + 13.0, 8.0), (x + 13.0, 40.0)]), 1.8, rgb(0xfaf3e6));
    canvas.stroke(&Shape::line(&[(x, 24.0), (x + 26.0, 24.0)]), 1.8, rgb(0xfaf3e6));
    let cloth = dice.pick(rgb(0xb8434f), &[rgb(0x3f7d6b), rgb(0x4a5fa5), rgb(0xc07a2c)]);
    canvas.fill(
        &Shape::blob((x - 6.0, 4.0), &[((x + 4.0, 4.0), (x + 6.0, 4.0)), ((x + 4.0, 24.0), (x - 1.0, 42.0)), ((x - 4.0, 42.0), (x - 7.0, 42.0))]),
        cloth,
    );
    canvas.fill(
        &Shape::blob(
            (x + 32.0, 4.0),
            &[((x + 22.0, 4.0), (x + 20.0, 4.0)), ((x + 22.0, 24.0), (x + 27.0, 42.0)), ((x + 30.0, 42.0), (x + 33.0, 42.0))],
        ),
        cloth,
    );
    canvas.stroke(&Shape::line(&[(x - 7.0, 4.0), (x + 33.0, 4.0)]), 2.0, rgb(0x6b4022));
    let sofa = dice.pick(rgb(0x4f8f8a), &[rgb(0xc65a46), rgb(0x6f6bb0), rgb(0xd09a3c)]);
    let left = dice.between(50.0, 56.0);
    canvas.fill(&Shape::pillow(left, 42.0, 38.0, 20.0, 5.0), sofa);
    canvas.fill(&Shape::pillow(left + 4.0, 52.0, 30.0, 9.0, 2.4), sofa.mix(rgb(0xffffff), 0.25));
    canvas.stroke(&Shape::line(&[(left + 19.0, 52.0), (left + 19.0, 61.0)]), 0.9, sofa.mix(rgb(0x000000), 0.3));
    canvas.fill(&Shape::pillow(left - 3.0, 49.0, 7.5, 16.0, 3.0), sofa.mix(rgb(0x000000), 0.15));
    canvas.fill(&Shape::pillow(left + 33.5, 49.0, 7.5, 16.0, 3.0), sofa.mix(rgb(0x000000), 0.15));
    canvas.fill(&Shape::block(left + 10.0, 13.0, 18.0, 14.0), rgb(0x7a4a26));
    canvas.fill(&Shape::block(left + 11.8, 14.8, 14.4, 10.4), rgb(0xf4ead2));
    canvas.fill(
        &Shape::polygon(&[(left + 11.8, 25.2), (left + 17.0, 18.0), (left + 21.0, 22.0), (left + 23.0, 20.0), (left + 26.2, 25.2)]),
        rgb(0x6d9a6a),
    );
}
