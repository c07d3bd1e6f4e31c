//! A figure that does something: thick limbs, looking to the right, about 36 units tall.

use super::canvas::{Colour, Point, Shape, rgb};
use super::sticker::{INK, Sticker};
use crate::data::demo::content::Action;
use crate::data::demo::dice::Dice;

/// How thick arms and legs are.
const LIMB: f32 = 3.6;
/// How thick the body is.
const BODY: f32 = 6.4;
const HEAD: f32 = 5.2;

/// What it wears.
struct Clothes {
    skin: Colour,
    hair: Colour,
    shirt: Colour,
    trousers: Colour,
    boots: Colour,
}

impl Clothes {
    fn draw(dice: &mut Dice) -> Self {
        Clothes {
            skin: dice.pick(rgb(0xf6c9a0), &[rgb(0xffdcb8), rgb(0xd99b6c), rgb(0xb97a4f)]),
            hair: dice.pick(rgb(0x3b2a20), &[rgb(0x1f1b1b), rgb(0x8a4b21), rgb(0xc99a3a)]),
            shirt: dice.pick(rgb(0xe5484d), &[rgb(0x2f7fe0), rgb(0xf2a71b), rgb(0x2fae66), rgb(0xa557d6)]),
            trousers: dice.pick(rgb(0x2f4a8c), &[rgb(0x4a4a55), rgb(0x6d4a33), rgb(0x1f6f78)]),
            boots: rgb(0x3a2a22),
        }
    }

    fn leg(&self, points: [Point; 3]) -> Sticker {
        let [.., (x, y)] = points;
        Sticker::default().limb(Shape::line(&points), LIMB + 0.4, self.trousers).limb(Shape::line(&[(x, y), (x + 2.2, y)]), LIMB, self.boots)
    }

    fn arm(&self, points: [Point; 3]) -> Sticker {
        let [.., (x, y)] = points;
        Sticker::default().limb(Shape::line(&points), LIMB, self.shirt.mix(INK, 0.12)).solid(Shape::disc(x, y, 2.1), self.skin)
    }

    fn body(&self, from: Point, to: Point) -> Sticker {
        Sticker::default().limb(Shape::line(&[from, to]), BODY, self.shirt)
    }

    fn head(&self, x: f32, y: f32) -> Sticker {
        let hair = Shape::blob(
            (x - HEAD, y + 0.5),
            &[((x - HEAD, y - HEAD), (x, y - HEAD)), ((x + HEAD, y - HEAD), (x + HEAD, y - 1.5)), ((x, y - 3.0), (x - HEAD, y + 0.5))],
        );
        Sticker::default().solid(Shape::disc(x, y, HEAD), self.skin).dot(hair, self.hair).dot(Shape::disc(x + 2.6, y + 0.6, 0.9), INK)
    }
}

/// The figure, its feet about 17 units below the middle.
pub(super) fn figure(action: Action, dice: &mut Dice) -> Sticker {
    let clothes = Clothes::draw(dice);
    match action {
        Action::Boxing => boxing(&clothes),
        Action::Jumping => jumping(&clothes),
        Action::Running => running(&clothes),
        Action::Sitting => sitting(&clothes, dice),
    }
}

/// Both fists in big gloves, one far in front.
fn boxing(clothes: &Clothes) -> Sticker {
    let glove = |x, y| Sticker::default().solid(Shape::disc(x, y, 4.4), rgb(0xd3202c)).dot(Shape::disc(x - 1.2, y - 1.4, 1.2), rgb(0xff8a80));
    Sticker::default()
        .and(clothes.leg([(-3.0, 5.0), (-7.5, 10.0), (-9.5, 16.0)]))
        .and(clothes.leg([(-3.0, 5.0), (2.5, 9.0), (3.5, 16.0)]))
        .and(clothes.arm([(-3.0, -4.5), (3.0, -6.0), (8.0, -7.0)]))
        .and(clothes.body((-3.0, -4.0), (-3.0, 4.0)))
        .and(clothes.head(-2.5, -12.5))
        .and(glove(10.0, -7.4))
        .and(clothes.arm([(-3.5, -3.5), (-1.0, 1.5), (3.5, 0.5)]))
        .and(glove(4.8, 0.4))
}

/// Arms up, legs apart, nothing below but a shadow.
fn jumping(clothes: &Clothes) -> Sticker {
    Sticker::default()
        .dot(Shape::oval(0.0, 17.5, 9.0, 1.9), INK.veil(0.45))
        .and(clothes.leg([(0.0, 2.0), (-6.5, 3.5), (-9.5, 9.5)]))
        .and(clothes.leg([(0.0, 2.0), (6.5, 3.5), (7.5, 9.5)]))
        .and(clothes.arm([(0.0, -6.5), (-7.0, -10.0), (-10.0, -16.5)]))
        .and(clothes.arm([(0.0, -6.5), (7.0, -10.0), (10.0, -16.5)]))
        .and(clothes.body((0.0, -6.0), (0.0, 1.0)))
        .and(clothes.head(0.0, -14.0))
}

/// Leaning forward, one leg thrown back.
fn running(clothes: &Clothes) -> Sticker {
    Sticker::default()
        .and(clothes.arm([(2.0, -5.0), (-5.0, -3.0), (-8.0, 2.0)]))
        .and(clothes.leg([(-2.0, 4.0), (-6.0, 9.5), (-12.5, 8.5)]))
        .and(clothes.leg([(-2.0, 4.0), (6.0, 6.5), (4.5, 15.5)]))
        .and(clothes.body((2.0, -4.5), (-1.5, 3.5)))
        .and(clothes.head(5.0, -12.5))
        .and(clothes.arm([(2.0, -4.5), (6.0, 0.5), (11.5, -3.0)]))
}

/// On a chair with a high back, seen from the side.
fn sitting(clothes: &Clothes, dice: &mut Dice) -> Sticker {
    let wood = dice.pick(rgb(0x9a6332), &[rgb(0x7c4a2a), rgb(0xb98548)]);
    let plank = |from: Point, to: Point| Sticker::default().limb(Shape::line(&[from, to]), 2.4, wood);
    Sticker::default()
        .and(plank((-9.5, -7.0), (-9.5, 17.0)))
        .and(plank((2.0, 10.0), (2.0, 17.0)))
        .and(plank((-9.5, 10.0), (2.0, 10.0)))
        .and(clothes.body((-4.5, -4.0), (-4.5, 4.0)))
        .and(clothes.leg([(-4.0, 5.6), (6.0, 5.6), (6.5, 15.5)]))
        .and(clothes.head(-4.0, -12.5))
        .and(clothes.arm([(-4.5, -3.5), (-1.0, 1.2), (4.5, 1.8)]))
}
