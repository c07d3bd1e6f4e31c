//! Scenes under the sky, by day.

use super::super::canvas::{Canvas, Shape, rgb};
use super::puff;
use crate::data::demo::dice::Dice;

/// Sand, the sea with a sail on it, a palm.
pub(super) fn beach(canvas: &mut Canvas, dice: &mut Dice) {
    let sea = dice.between(44.0, 48.0);
    let sand = sea + dice.between(15.0, 18.0);
    canvas.fade((0.0, rgb(0x4fa8ea)), (sea, rgb(0xc4e6f7)));
    canvas.fade((sea, rgb(0x1b6fb8)), (sand, rgb(0x38b7c6)));
    canvas.fade((sand, rgb(0xf2d08a)), (96.0, rgb(0xd9a95c)));
    for row in 0..3 {
        let y = sea + 3.5 + 4.2 * row as f32;
        for column in 0..4 {
            let x = 26.0 * column as f32 + dice.between(-2.0, 16.0);
            canvas.stroke(
                &Shape::curve((x, y), &[((x + 3.0, y - 1.6), (x + 6.0, y)), ((x + 9.0, y + 1.6), (x + 12.0, y))]),
                0.9,
                rgb(0xd8f4fa).veil(0.8),
            );
        }
    }
    let foam = Shape::blob(
        (-2.0, sand - 0.6),
        &[
            ((24.0, sand + 3.4), (48.0, sand)),
            ((72.0, sand - 2.6), (98.0, sand + 1.2)),
            ((72.0, sand - 0.6), (48.0, sand + 2.4)),
            ((24.0, sand + 5.2), (-2.0, sand + 1.8)),
        ],
    );
    canvas.fill(&foam, rgb(0xffffff));
    let sail = dice.between(52.0, 84.0);
    canvas.fill(&Shape::polygon(&[(sail, sea - 11.0), (sail, sea + 1.0), (sail + 8.0, sea + 1.0)]), rgb(0xffffff));
    canvas.fill(&Shape::polygon(&[(sail - 1.4, sea - 8.0), (sail - 1.4, sea + 1.0), (sail - 6.0, sea + 1.0)]), rgb(0xffe0d0));
    canvas
        .fill(&Shape::polygon(&[(sail - 7.0, sea + 1.8), (sail + 9.0, sea + 1.8), (sail + 6.0, sea + 4.8), (sail - 4.6, sea + 4.8)]), rgb(0xb5432f));
    let (x, top) = (dice.between(5.0, 30.0), dice.between(32.0, 36.0));
    canvas.stroke(&Shape::curve((x - 4.0, sand + 4.0), &[((x - 2.0, sand - 14.0), (x + 2.0, top))]), 2.8, rgb(0x8a5a2c));
    for (dx, dy, bend) in [(-13.0, 3.0, -5.0), (-9.0, -6.0, -8.0), (3.0, -9.0, -7.0), (12.0, -4.0, -8.0), (13.0, 5.0, -4.0)] {
        let leaf = Shape::blob(
            (x + 2.0, top),
            &[
                ((x + 2.0 + dx * 0.5, top + dy * 0.5 + bend), (x + 2.0 + dx, top + dy + 1.0)),
                ((x + 2.0 + dx * 0.5, top + dy * 0.5 + bend * 0.2), (x + 2.0, top)),
            ],
        );
        canvas.fill(&leaf, rgb(0x2c8a3e));
    }
}

/// Peaks with snow over foothills.
pub(super) fn mountain(canvas: &mut Canvas, dice: &mut Dice) {
    canvas.fade((0.0, rgb(0x5ba1e0)), (66.0, rgb(0xd6e6f2)));
    puff(canvas, dice.between(10.0, 86.0), dice.between(16.0, 24.0), 1.1);
    let mut peak = |x: f32, top: f32, half: f32, side: f32| {
        let foot = 70.0;
        canvas.fill(&Shape::polygon(&[(x, top), (x + half, foot), (x - half, foot)]), rgb(0x75739c));
        canvas.fill(&Shape::polygon(&[(x, top), (x + half, foot), (x + side, foot), (x - 2.0, top + 20.0)]), rgb(0x545279));
        let snow = |share: f32, across: f32| (x + half * share * across, top + (foot - top) * share);
        let cap = [(x, top), snow(0.36, 1.0), snow(0.28, 0.5), snow(0.4, 0.15), snow(0.29, -0.3), snow(0.38, -0.6), snow(0.32, -1.0)];
        canvas.fill(&Shape::polygon(&cap), rgb(0xffffff));
    };
    let (left, right) = (dice.between(14.0, 24.0), dice.between(70.0, 82.0));
    peak(left, dice.between(24.0, 31.0), 32.0, 6.0);
    peak(right, dice.between(22.0, 29.0), 36.0, 4.0);
    peak(dice.between(42.0, 54.0), dice.between(11.0, 19.0), 36.0, 8.0);
    let hills = dice.between(63.0, 66.0);
    canvas.fade((72.0, rgb(0x5f9a4a)), (96.0, rgb(0x3c7038)));
    canvas.fill(
        &Shape::blob(
            (-2.0, 74.0),
            &[
                ((10.0, hills - 6.0), (40.0, hills + 2.0)),
                ((66.0, hills + 7.0), (98.0, hills - 2.0)),
                ((98.0, 76.0), (98.0, 76.0)),
                ((48.0, 76.0), (-2.0, 76.0)),
            ],
        ),
        rgb(0x6aa652),
    );
    for i in 0..6 {
        let (x, y) = (8.0 + 16.0 * i as f32 + dice.between(-5.0, 5.0), dice.between(66.0, 70.0));
        canvas.fill(&Shape::polygon(&[(x, y - 8.0), (x + 3.2, y + 1.0), (x - 3.2, y + 1.0)]), rgb(0x2e5f3a));
    }
}

/// Conifers behind conifers, and a path.
pub(super) fn forest(canvas: &mut Canvas, dice: &mut Dice) {
    canvas.fade((0.0, rgb(0xbfe0c4)), (62.0, rgb(0x7db37e)));
    canvas.fade((62.0, rgb(0x6d8a45)), (96.0, rgb(0x4f6a34)));
    let path = dice.between(40.0, 56.0);
    canvas.fill(
        &Shape::blob(
            (path - 3.0, 63.0),
            &[((path - 2.0, 76.0), (path - 22.0, 97.0)), ((path, 97.0), (path + 16.0, 97.0)), ((path + 4.0, 76.0), (path + 3.0, 63.0))],
        ),
        rgb(0xc9a46c),
    );
    let mut row = |ground: f32, height: f32, half: f32, step: f32, needles, trunk| {
        let mut x = dice.between(-step * 0.5, step * 0.3);
        while x < 98.0 {
            let top = ground - height * dice.between(0.85, 1.1);
            canvas.stroke(&Shape::line(&[(x, ground), (x, ground - 10.0)]), half * 0.4, trunk);
            for tier in 0..3 {
                let (from, to) = (top + (ground - 7.0 - top) * 0.27 * tier as f32, top + (ground - 7.0 - top) * (0.46 + 0.27 * tier as f32));
                let wide = half * (0.58 + 0.21 * tier as f32);
                canvas.fill(&Shape::polygon(&[(x, from), (x + wide, to), (x - wide, to)]), needles);
            }
            x += step * dice.between(0.8, 1.2);
        }
    };
    row(63.0, 50.0, 8.5, 11.0, rgb(0x6ba173), rgb(0x7a6448));
    row(65.0, 58.0, 10.0, 18.0, rgb(0x3f8050), rgb(0x64492f));
    row(69.0, 66.0, 12.0, 29.0, rgb(0x235c3a), rgb(0x50371f));
}

/// Rolling green with a fence and many small flowers.
pub(super) fn meadow(canvas: &mut Canvas, dice: &mut Dice) {
    canvas.fade((0.0, rgb(0x69b8ef)), (60.0, rgb(0xd9effb)));
    puff(canvas, dice.between(8.0, 36.0), dice.between(12.0, 34.0), 1.2);
    puff(canvas, dice.between(56.0, 88.0), dice.between(14.0, 38.0), 1.0);
    let hill = dice.between(42.0, 47.0);
    canvas.fade((60.0, rgb(0x7cc04a)), (96.0, rgb(0x4a9a35)));
    canvas.fill(
        &Shape::blob((-2.0, hill + 8.0), &[((26.0, hill - 8.0), (60.0, hill + 8.0)), ((80.0, 64.0), (98.0, 64.0)), ((50.0, 64.0), (-2.0, 64.0))]),
        rgb(0xa3d35f),
    );
    canvas.fill(
        &Shape::blob((30.0, 62.0), &[((66.0, hill), (98.0, hill + 4.0)), ((98.0, 64.0), (98.0, 64.0)), ((60.0, 64.0), (30.0, 62.0))]),
        rgb(0x8cc850),
    );
    for i in 0..9 {
        let x = 1.0 + 12.0 * i as f32;
        canvas.stroke(&Shape::line(&[(x, 51.0), (x, 60.5)]), 1.8, rgb(0xf6efe0));
    }
    canvas.stroke(&Shape::line(&[(-2.0, 53.5), (98.0, 53.5)]), 1.3, rgb(0xf6efe0));
    canvas.stroke(&Shape::line(&[(-2.0, 57.5), (98.0, 57.5)]), 1.3, rgb(0xf6efe0));
    for i in 0..42 {
        let (x, y) = (dice.between(1.0, 95.0), 63.0 + 32.0 * (i as f32 / 42.0));
        let petals = dice.pick(rgb(0xffffff), &[rgb(0xffe14d), rgb(0xff7fa8), rgb(0xe8556b)]);
        let size = 0.8 + 0.7 * (i as f32 / 42.0);
        canvas.stroke(&Shape::line(&[(x, y), (x, y + 2.6 * size)]), 0.7, rgb(0x2f7a2a));
        canvas.fill(&Shape::disc(x, y, size), petals);
    }
}
