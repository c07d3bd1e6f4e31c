//! Things that float, fly or hang.

use super::super::canvas::{Shape, rgb};
use super::super::sticker::{INK, Sticker};
use crate::data::demo::dice::Dice;

/// On a string, with a shine.
pub(super) fn balloon(dice: &mut Dice) -> Sticker {
    let skin = dice.pick(rgb(0xe5344a), &[rgb(0x2f86eb), rgb(0xf5a623), rgb(0x35b56a), rgb(0xb14fd8), rgb(0xf06aa8)]);
    Sticker::default()
        .limb(Shape::curve((0.0, 9.0), &[((-3.5, 11.5), (0.0, 13.0)), ((3.0, 14.5), (0.5, 17.0))]), 0.4, INK)
        .solid(Shape::polygon(&[(0.0, 6.5), (-2.6, 10.2), (2.6, 10.2)]), skin.mix(INK, 0.2))
        .solid(
            Shape::blob(
                (0.0, -14.5),
                &[((10.2, -14.5), (10.2, -4.0)), ((10.2, 3.5), (0.0, 8.0)), ((-10.2, 3.5), (-10.2, -4.0)), ((-10.2, -14.5), (0.0, -14.5))],
            ),
            skin,
        )
        .dot(Shape::oval(-4.4, -8.0, 1.9, 3.4), rgb(0xffffff).veil(0.75))
}

/// Wings spread, seen from above.
pub(super) fn butterfly(dice: &mut Dice) -> Sticker {
    let (upper, lower) =
        dice.pick((rgb(0xf58a1f), rgb(0xffc13d)), &[(rgb(0x2d7fe3), rgb(0x6fc3ff)), (rgb(0xa04bd8), rgb(0xf08ad0)), (rgb(0xe8475f), rgb(0xffb25e))]);
    let wings = |s: f32| {
        let fore =
            Shape::blob((0.0, -1.0), &[((s * 2.5, -13.5), (s * 10.5, -12.5)), ((s * 15.5, -11.0), (s * 12.5, -4.0)), ((s * 9.5, 1.5), (0.0, 1.5))]);
        let hind = Shape::blob((0.0, 0.0), &[((s * 12.0, -0.5), (s * 10.5, 6.0)), ((s * 8.5, 13.0), (s * 4.0, 10.5)), ((s * 1.0, 8.0), (0.0, 3.0))]);
        Sticker::default()
            .solid(hind.clone(), lower)
            .solid(fore.clone(), upper)
            .line(hind, 1.0, INK)
            .dot(Shape::oval(s * 6.4, 5.2, 2.2, 2.6), upper)
            .line(fore, 1.0, INK)
            .dot(Shape::disc(s * 9.4, -8.2, 2.3), rgb(0xfff4d0))
            .dot(Shape::disc(s * 5.4, -4.6, 1.5), rgb(0xfff4d0))
    };
    let feeler = |s: f32| Sticker::default().limb(Shape::curve((0.0, -7.0), &[((s * 1.0, -11.5), (s * 4.2, -13.0))]), 0.2, INK);
    feeler(-1.0).and(feeler(1.0)).and(wings(-1.0)).and(wings(1.0)).limb(Shape::line(&[(0.0, -6.0), (0.0, 7.0)]), 2.0, rgb(0x4a3a34))
}

/// Heavy with rain.
pub(super) fn cloud() -> Sticker {
    let (grey, shade, water) = (rgb(0xdfe6f2), rgb(0xa7b4cc), rgb(0x3d8ff0));
    let drop = |x: f32, y: f32| Sticker::default().limb(Shape::line(&[(x, y), (x - 1.2, y + 3.6)]), 2.2, water);
    drop(-6.0, 6.6)
        .and(drop(1.0, 7.8))
        .and(drop(8.0, 6.6))
        .solid(Shape::disc(-7.5, -2.6, 4.6), grey)
        .solid(Shape::disc(7.6, -2.8, 5.0), grey)
        .solid(Shape::disc(-1.0, -6.4, 6.6), grey)
        .solid(Shape::pillow(-12.4, -4.6, 25.0, 7.4, 3.6), grey)
        .dot(Shape::pillow(-11.6, -0.6, 23.4, 3.2, 1.6), shade)
}

/// On its thread, eight legs bent.
pub(super) fn spider() -> Sticker {
    let coat = rgb(0x2b2233);
    let leg = |s: f32, root: f32, knee: f32, tip: f32, reach: f32| {
        Sticker::default().limb(Shape::line(&[(s * 2.0, root), (s * reach * 0.68, knee), (s * reach, tip)]), 0.7, coat)
    };
    let legs =
        |s: f32| leg(s, -1.0, -9.0, -4.0, 10.5).and(leg(s, 0.0, -3.6, 3.0, 12.4)).and(leg(s, 1.0, 2.4, 10.0, 12.2)).and(leg(s, 2.0, 7.6, 13.6, 8.0));
    Sticker::default()
        .limb(Shape::line(&[(0.0, -60.0), (0.0, -6.0)]), 0.1, INK)
        .and(legs(-1.0))
        .and(legs(1.0))
        .solid(Shape::oval(0.0, 4.6, 5.8, 6.6), coat)
        .solid(Shape::disc(0.0, -3.6, 4.2), coat)
        .dot(Shape::polygon(&[(-2.2, 2.0), (2.2, 2.0), (-2.2, 7.6), (2.2, 7.6)]), rgb(0xe62e3a))
        .dot(Shape::disc(-1.7, -4.2, 1.3), rgb(0xffffff))
        .dot(Shape::disc(1.7, -4.2, 1.3), rgb(0xffffff))
        .dot(Shape::disc(-1.5, -3.9, 0.6), rgb(0xe62e3a))
        .dot(Shape::disc(1.5, -3.9, 0.6), rgb(0xe62e3a))
}
