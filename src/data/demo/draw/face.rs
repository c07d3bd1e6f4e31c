//! A face as large as an object, with the features that tell expressions apart drawn large: brows, eyes, mouth, and what goes with them.

use super::canvas::{Colour, Point, Shape, rgb};
use super::sticker::{INK, Sticker};
use crate::data::demo::content::Expression;
use crate::data::demo::dice::Dice;

const WHITE: Colour = rgb(0xffffff);
const MOUTH: Colour = rgb(0x7a1626);
const TONGUE: Colour = rgb(0xf0647c);
const TEAR: Colour = rgb(0x3fa9f5);

/// How far the rim is from the middle.
const RADIUS: f32 = 13.4;

/// The face, around its middle.
pub(super) fn face(expression: Expression, dice: &mut Dice) -> Sticker {
    let skin = dice.pick(rgb(0xffd23e), &[rgb(0xffe27a), rgb(0xffbe55), rgb(0xfbd5a6), rgb(0xf2b48a), rgb(0xf7b3b3), rgb(0xc3dd7f)]);
    let head = Sticker::default().solid(Shape::disc(0.0, 0.0, RADIUS), skin).dot(Shape::oval(-4.5, -8.6, 4.0, 2.0), WHITE.veil(0.4));
    head.and(match expression {
        Expression::Angry => angry(),
        Expression::Disgust => disgust(),
        Expression::Fear => fear(),
        Expression::Happy => happy(),
        Expression::Sad => sad(),
        Expression::Surprise => surprise(),
    })
}

/// The same on both sides.
fn both(half: impl Fn(f32) -> Sticker) -> Sticker {
    half(-1.0).and(half(1.0))
}

fn line(width: f32, points: &[Point]) -> Sticker {
    Sticker::default().line(Shape::line(points), width, INK)
}

fn bow(width: f32, from: Point, bend: Point, to: Point) -> Sticker {
    Sticker::default().line(Shape::curve(from, &[(bend, to)]), width, INK)
}

/// A white eye with a pupil.
fn eye(x: f32, y: f32, white: f32, pupil: f32) -> Sticker {
    Sticker::default().dot(Shape::disc(x, y, white + 0.9), INK).dot(Shape::disc(x, y, white), WHITE).dot(Shape::disc(x, y, pupil), INK)
}

/// Brows that meet low in the middle, bared teeth.
fn angry() -> Sticker {
    let teeth = Sticker::default().dot(Shape::pillow(-8.0, 3.6, 16.0, 6.6, 2.0), INK).dot(Shape::pillow(-6.8, 4.7, 13.6, 4.4, 1.2), WHITE);
    let gaps = [-3.4f32, 0.0, 3.4].into_iter().fold(line(1.0, &[(-6.8, 6.9), (6.8, 6.9)]), |all, x| all.and(line(1.0, &[(x, 4.7), (x, 9.1)])));
    both(|s| Sticker::default().dot(Shape::disc(s * 4.8, -1.2, 2.3), INK))
        .and(both(|s| line(3.0, &[(s * 9.0, -7.2), (s * 1.8, -2.8)])))
        .and(teeth)
        .and(gaps)
}

/// Eyes pressed shut, the tongue out.
fn disgust() -> Sticker {
    let eyes = both(|s| line(2.2, &[(s * 8.4, -6.6), (s * 3.0, -3.8), (s * 8.4, -1.0)]));
    let tongue = Shape::blob((-3.4, 4.2), &[((-4.2, 12.6), (0.0, 12.8)), ((4.2, 12.6), (3.4, 4.2))]);
    eyes.and(bow(2.4, (-7.2, 5.6), (0.0, 1.8), (7.2, 5.6)))
        .and(Sticker::default().line(tongue.clone(), 2.0, INK).dot(tongue, TONGUE))
        .and(line(1.2, &[(0.0, 5.2), (0.0, 9.4)]))
}

/// Wide eyes with hardly a pupil, a mouth that trembles.
fn fear() -> Sticker {
    let mouth = [(-8.0, 8.4), (-5.3, 5.4), (-2.6, 8.4), (0.0, 5.4), (2.6, 8.4), (5.3, 5.4), (8.0, 8.4)];
    both(|s| eye(s * 4.9, -2.4, 3.9, 1.1)).and(both(|s| line(1.8, &[(s * 9.6, -6.6), (s * 4.0, -9.4)]))).and(line(2.2, &mouth))
}

/// Eyes that laugh, a wide open mouth.
fn happy() -> Sticker {
    let mouth = Shape::blob((-8.4, 1.8), &[((-7.6, 10.4), (0.0, 10.6)), ((7.6, 10.4), (8.4, 1.8))]);
    both(|s| bow(2.4, (s * 8.0, -2.6), (s * 4.9, -8.6), (s * 1.8, -2.6)))
        .and(both(|s| Sticker::default().dot(Shape::oval(s * 9.4, 0.2, 2.2, 1.6), rgb(0xf2756a).veil(0.8))))
        .and(Sticker::default().line(mouth.clone(), 1.8, INK).dot(mouth, MOUTH))
        .and(Sticker::default().dot(Shape::pillow(-6.9, 2.2, 13.8, 2.6, 0.8), WHITE).dot(Shape::oval(0.0, 8.6, 3.6, 1.7), TONGUE))
}

/// Brows that rise in the middle, corners of the mouth that fall, a tear.
fn sad() -> Sticker {
    let tear = |s: f32| Shape::blob((s * 5.0, -0.4), &[((s * 9.2, 6.4), (s * 6.2, 8.2)), ((s * 1.2, 8.4), (s * 5.0, -0.4))]);
    both(|s| Sticker::default().dot(Shape::disc(s * 4.9, -2.6, 2.0), INK))
        .and(both(|s| line(2.2, &[(s * 9.0, -5.4), (s * 3.0, -8.6)])))
        .and(bow(2.6, (-5.6, 9.6), (0.0, 2.6), (5.6, 9.6)))
        .and(Sticker::default().line(tear(1.0), 1.6, WHITE).dot(tear(1.0), TEAR))
        .and(Sticker::default().line(tear(-1.0), 1.6, WHITE).dot(tear(-1.0), TEAR))
}

/// A mouth like an O, brows up high.
fn surprise() -> Sticker {
    both(|s| Sticker::default().dot(Shape::oval(s * 4.8, -3.2, 1.9, 2.5), INK).dot(Shape::disc(s * 4.8 + 0.6, -4.2, 0.8), WHITE))
        .and(both(|s| bow(1.8, (s * 8.0, -7.6), (s * 5.0, -11.4), (s * 2.2, -8.4))))
        .and(Sticker::default().dot(Shape::oval(0.0, 5.8, 4.8, 5.8), INK).dot(Shape::oval(0.0, 5.8, 3.6, 4.6), MOUTH))
        .and(Sticker::default().dot(Shape::oval(0.0, 8.4, 2.4, 1.7), TONGUE))
}
