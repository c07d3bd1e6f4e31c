//! Things that stand or lie; the ground is about 13 units below their middle.

use super::super::canvas::{Shape, rgb};
use super::super::sticker::{INK, Sticker};
use crate::data::demo::dice::Dice;

/// What lies under each.
fn shadow(across: f32) -> Sticker {
    Sticker::default().dot(Shape::oval(0.0, 13.4, across, 2.2), INK.veil(0.35))
}

/// A black ball, its fuse lit.
pub(super) fn bomb() -> Sticker {
    let spark: Vec<_> = (0..16)
        .map(|i| {
            // Eight rays: directions of a regular polygon, in quarters of the plane.
            let (x, y) = [(1.0, 0.0), (0.924, 0.383), (0.707, 0.707), (0.383, 0.924)][i % 4];
            let (x, y) = [(x, y), (-y, x), (-x, -y), (y, -x)][i / 4];
            let reach = if i % 2 == 0 { 4.8 } else { 2.2 };
            (9.2 + reach * x, -9.6 + reach * y)
        })
        .collect();
    shadow(9.0)
        .limb(Shape::curve((3.4, -4.4), &[((4.6, -10.2), (9.0, -9.6))]), 1.2, rgb(0xd8b98a))
        .solid(Shape::polygon(&[(0.4, -6.6), (4.6, -7.8), (6.2, -3.6), (2.0, -2.0)]), rgb(0x6a6a7c))
        .solid(Shape::disc(-1.6, 3.6, 9.4), rgb(0x34343f))
        .dot(Shape::oval(-5.4, -0.4, 2.0, 2.8), rgb(0xffffff).veil(0.7))
        .solid(Shape::polygon(&spark), rgb(0xff8a1f))
        .dot(Shape::disc(9.2, -9.6, 2.0), rgb(0xfff1a0))
}

/// Flames over crossed logs.
pub(super) fn campfire() -> Sticker {
    let flame = |width: f32, height: f32| {
        let (w, top) = (width, 10.0 - height);
        Shape::blob(
            (0.0, 10.0),
            &[
                ((-w * 1.25, 9.0), (-w, 10.0 - height * 0.42)),
                ((-w * 0.85, 10.0 - height * 0.62), (-w * 0.7, 10.0 - height * 0.74)),
                ((-w * 0.3, 10.0 - height * 0.56), (-w * 0.22, 10.0 - height * 0.6)),
                ((-w * 0.3, top + height * 0.16), (w * 0.16, top)),
                ((w * 0.2, top + height * 0.22), (w * 0.5, 10.0 - height * 0.56)),
                ((w * 0.7, 10.0 - height * 0.62), (w * 0.78, 10.0 - height * 0.76)),
                ((w * 1.5, 9.0), (0.0, 10.0)),
            ],
        )
    };
    let log = |s: f32| {
        Sticker::default()
            .limb(Shape::line(&[(s * -9.8, 12.0), (s * 9.8, 8.4)]), 3.0, rgb(0x8a5527))
            .dot(Shape::disc(s * 9.8, 8.4, 1.1), rgb(0xd9a566))
    };
    shadow(12.0)
        .solid(flame(9.0, 24.0), rgb(0xf0441e))
        .dot(flame(6.2, 16.5), rgb(0xff9620))
        .dot(flame(3.4, 10.0), rgb(0xfff08a))
        .and(log(-1.0))
        .and(log(1.0))
}

/// Standing, its tail up, an ear hanging.
pub(super) fn dog(dice: &mut Dice) -> Sticker {
    let (coat, ear) =
        dice.pick((rgb(0xc98a4b), rgb(0x7d4d24)), &[(rgb(0xe9d3ae), rgb(0xa86f3a)), (rgb(0x9c6b45), rgb(0x5a3a22)), (rgb(0xd9d4cf), rgb(0x6b625c))]);
    let leg = |x: f32, colour| Sticker::default().limb(Shape::line(&[(x, 5.0), (x, 11.6)]), 2.6, colour);
    let far = coat.mix(INK, 0.25);
    shadow(11.0)
        .limb(Shape::curve((-9.0, 1.0), &[((-13.0, -2.0), (-12.0, -7.0))]), 2.0, coat)
        .and(leg(-5.4, far))
        .and(leg(5.0, far))
        .and(leg(-8.4, coat))
        .and(leg(1.8, coat))
        .solid(Shape::pillow(-10.6, -2.2, 17.6, 9.4, 4.4), coat)
        .solid(Shape::pillow(7.0, -6.0, 6.4, 5.4, 2.6), coat.mix(rgb(0xffffff), 0.35))
        .solid(Shape::disc(5.6, -5.6, 5.6), coat)
        .dot(Shape::pillow(7.4, -5.2, 5.2, 4.0, 1.8), coat.mix(rgb(0xffffff), 0.35))
        .dot(Shape::disc(12.2, -4.6, 1.6), INK)
        .dot(Shape::disc(7.2, -7.6, 1.1), INK)
        .line(Shape::curve((8.6, -1.8), &[((10.4, -0.6), (12.0, -2.0))]), 0.9, INK)
        .solid(Shape::blob((3.0, -9.8), &[((-1.8, -9.4), (-0.8, -2.2)), ((2.4, 0.6), (4.0, -5.0)), ((4.0, -8.4), (3.0, -9.8))]), ear)
        .line(Shape::line(&[(1.2, 0.2), (6.8, 0.6)]), 2.0, rgb(0xe03b3b))
}

/// With a ribbon and a bow.
pub(super) fn gift_box(dice: &mut Dice) -> Sticker {
    let (paper, ribbon) =
        dice.pick((rgb(0xd93a4a), rgb(0xffd54a)), &[(rgb(0x2f7fe0), rgb(0xffffff)), (rgb(0x32a86a), rgb(0xff5a6e)), (rgb(0x9a4fd1), rgb(0xffd54a))]);
    let loop_of = |s: f32| Shape::blob((0.0, -6.2), &[((s * 3.4, -14.4), (s * 8.2, -12.6)), ((s * 11.6, -9.2), (0.0, -6.2))]);
    shadow(12.0)
        .solid(loop_of(-1.0), ribbon)
        .solid(loop_of(1.0), ribbon)
        .line(loop_of(-1.0), 0.9, INK)
        .line(loop_of(1.0), 0.9, INK)
        .solid(Shape::block(-10.4, -1.0, 20.8, 14.0), paper)
        .solid(Shape::block(-12.0, -6.0, 24.0, 5.4), paper.mix(rgb(0xffffff), 0.2))
        .dot(Shape::block(-2.4, -6.0, 4.8, 19.0), ribbon)
        .line(Shape::line(&[(-11.6, -0.6), (11.6, -0.6)]), 1.1, INK)
}

/// Two dark hollows and teeth.
pub(super) fn skull() -> Sticker {
    let bone = rgb(0xf4efe2);
    let gaps = [-3.4f32, 0.0, 3.4].into_iter().fold(Sticker::default(), |all, x| all.line(Shape::line(&[(x, 8.8), (x, 12.4)]), 1.3, INK));
    shadow(8.0)
        .solid(Shape::pillow(-6.4, 3.0, 12.8, 10.0, 2.2), bone)
        .solid(Shape::oval(0.0, -3.0, 11.6, 10.2), bone)
        .dot(Shape::pillow(-5.4, 3.0, 10.8, 5.0, 1.0), bone)
        .dot(Shape::oval(-4.9, -1.8, 3.5, 3.9), INK)
        .dot(Shape::oval(4.9, -1.8, 3.5, 3.9), INK)
        .dot(Shape::polygon(&[(0.0, 1.8), (-2.1, 5.6), (2.1, 5.6)]), INK)
        .and(gaps)
        .dot(Shape::oval(-4.6, -9.2, 4.0, 1.6), rgb(0xffffff).veil(0.8))
}

/// Full, its lid askew, and it stinks.
pub(super) fn trash_can(dice: &mut Dice) -> Sticker {
    let tin = dice.pick(rgb(0x8d9aa6), &[rgb(0x7c8f86), rgb(0x9a93a0)]);
    let rib = |x: f32| Sticker::default().line(Shape::line(&[(x, -0.6), (x * 0.82, 10.8)]), 1.2, tin.mix(INK, 0.45));
    let stench = |x: f32| {
        let wave = Shape::curve((x, -9.0), &[((x - 2.6, -10.8), (x, -12.4)), ((x + 2.6, -14.0), (x, -15.8))]);
        Sticker::default().limb(wave, 1.5, rgb(0xa6e84a))
    };
    shadow(9.0)
        .and(stench(-7.6))
        .and(stench(-2.4))
        .solid(Shape::blob((-7.0, -3.4), &[((-5.0, -8.8), (-1.0, -5.0)), ((3.0, -8.2), (6.4, -3.4))]), rgb(0x7fae35))
        .solid(Shape::polygon(&[(-8.8, -3.4), (8.8, -3.4), (7.0, 13.0), (-7.0, 13.0)]), tin)
        .and(rib(-4.8))
        .and(rib(0.0))
        .and(rib(4.8))
        .limb(Shape::line(&[(-8.8, -3.2), (8.8, -3.2)]), 1.6, tin.mix(rgb(0xffffff), 0.35))
        .limb(Shape::line(&[(8.9, -13.0), (10.4, -11.6)]), 1.4, tin)
        .limb(Shape::line(&[(3.0, -12.8), (11.4, -6.0)]), 3.0, tin.mix(rgb(0xffffff), 0.35))
}
