//! Lesson 6 of the course: a convolution as loops, as a product of copied patches, and as a product whose patches are gathered on the way. See docs/course/.
//!
//! `cargo run --release --example course_conv -- 56`

#[path = "course/ladder.rs"]
mod ladder;

use escnet::device::cpu::vectorized;
use escnet::ops::conv2d::conv2d;
use escnet::{Result, TensorType};
use ladder::{climb, library, numbers, rung, size};

/// Channels, filters, and the filters' height and width: a 3 x 3 of ResNet's first layers. Padding 1, stride 1.
const CHANNELS: usize = 64;
const FILTERS: usize = 64;
const KERNEL: usize = 3;
/// Numbers of a patch.
const PATCH: usize = KERNEL * KERNEL * CHANNELS;

/// The pixel under a filter's tap; none outside of the picture.
fn pixel(side: usize, y: usize, x: usize, tap: usize) -> Option<usize> {
    let (row, column) = ((y + tap / KERNEL).checked_sub(1)?, (x + tap % KERNEL).checked_sub(1)?);
    (row < side && column < side).then_some((row * side + column) * CHANNELS)
}

/// The definition: for each pixel and filter a sum over taps and channels. x is [H, W, I], w is [O, KH, KW, I].
fn direct(x: &[f32], w: &[f32], y: &mut [f32], side: usize) {
    for at in 0..side * side {
        for o in 0..FILTERS {
            let mut sum = 0.0;
            for tap in 0..KERNEL * KERNEL {
                if let Some(from) = pixel(side, at / side, at % side, tap) {
                    let w = &w[o * PATCH + tap * CHANNELS..][..CHANNELS];
                    sum += x[from..][..CHANNELS].iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
                }
            }
            y[at * FILTERS + o] = sum;
        }
    }
}

/// Rows and columns of the product whose sums stay in registers.
const HIGH: usize = 6;
const WIDE: usize = 32;

/// A tile of the product, of a part of the filters, [PATCH, WIDE].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Lengths that the compiler knows are what keeps sums in registers.
fn sums_of(patches: [&[f32]; HIGH], part: &[[f32; WIDE]]) -> [[f32; WIDE]; HIGH] {
    let mut sums = [[0.0f32; WIDE]; HIGH];
    for (k, w) in part.iter().enumerate() {
        for i in 0..HIGH {
            let factor = patches[i][k];
            for j in 0..WIDE {
                sums[i][j] = factor.mul_add(w[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Patches, [HIGH, PATCH], times filters that are turned to [O / WIDE, PATCH, WIDE].
fn multiply(patches: &[f32], turned: &[[f32; WIDE]], y: &mut [f32]) {
    let rows: [&[f32]; HIGH] = std::array::from_fn(|i| &patches[i * PATCH..][..PATCH]);
    for (part, first) in turned.chunks_exact(PATCH).zip((0..FILTERS).step_by(WIDE)) {
        let sums = vectorized(
            #[inline(always)]
            || sums_of(rows, part),
        );
        for (y, sums) in y.chunks_exact_mut(FILTERS).zip(&sums) {
            y[first..first + WIDE].copy_from_slice(sums);
        }
    }
}

/// The patch around a pixel.
fn gather(x: &[f32], side: usize, at: usize, patch: &mut [f32]) {
    for (tap, to) in patch.chunks_exact_mut(CHANNELS).enumerate() {
        match pixel(side, at / side, at % side, tap) {
            Some(from) => to.copy_from_slice(&x[from..][..CHANNELS]),
            None => to.fill(0.0),
        }
    }
}

/// im2col: all patches are copied first, nine times the picture, then it is one product.
fn im2col(x: &[f32], turned: &[[f32; WIDE]], y: &mut [f32], side: usize, patches: &mut [f32]) {
    for (at, patch) in patches.chunks_exact_mut(PATCH).take(side * side).enumerate() {
        gather(x, side, at, patch);
    }
    for (patches, y) in patches.chunks_exact(HIGH * PATCH).zip(y.chunks_mut(HIGH * FILTERS)) {
        multiply(patches, turned, y);
    }
}

/// Implicit GEMM: the same product, but a tile's patches are gathered when it is their turn, and never leave the cache.
fn implicit(x: &[f32], turned: &[[f32; WIDE]], y: &mut [f32], side: usize, tile: &mut [f32]) {
    for (i, y) in y.chunks_mut(HIGH * FILTERS).enumerate() {
        for (row, patch) in tile.chunks_exact_mut(PATCH).enumerate().take(y.len() / FILTERS) {
            gather(x, side, i * HIGH + row, patch);
        }
        multiply(tile, turned, y);
    }
}

fn main() -> Result<()> {
    let side = size(14);
    let (x, w) = (numbers(side * side * CHANNELS, 7), numbers(FILTERS * PATCH, 8));
    let turned_row = |i: usize| std::array::from_fn(|j| w[(i / PATCH * WIDE + j) * PATCH + i % PATCH]);
    let turned: Vec<[f32; WIDE]> = (0..FILTERS / WIDE * PATCH).map(turned_row).collect();
    let in_f64 = |at: usize, o: usize| -> f64 {
        let of_tap = |tap: usize| {
            let from = pixel(side, at / side, at % side, tap)?;
            Some((0..CHANNELS).map(|c| f64::from(x[from + c]) * f64::from(w[o * PATCH + tap * CHANNELS + c])).sum::<f64>())
        };
        (0..KERNEL * KERNEL).filter_map(of_tap).sum()
    };
    let want: Vec<f64> = (0..side * side * FILTERS).map(|i| in_f64(i / FILTERS, i % FILTERS)).collect();
    let rows = (side * side).next_multiple_of(HIGH);
    let (mut patches, mut tile) = (vec![0.0; rows * PATCH], vec![0.0; HIGH * PATCH]);
    let given = [(TensorType::f32([1, side, side, CHANNELS]), &x[..], false), (TensorType::f32([FILTERS, KERNEL, KERNEL, CHANNELS]), &w[..], true)];
    let rungs = vec![
        rung("direct: loops over taps and channels", 0, |y| direct(&x, &w, y, side)),
        rung("im2col: patches copied, then a product", 4 * rows * PATCH, |y| im2col(&x, &turned, y, side, &mut patches)),
        rung("implicit: patches gathered a tile at a time", 4 * HIGH * PATCH, |y| implicit(&x, &turned, y, side, &mut tile)),
        library("the library, one thread", 1, &given, |b, v| conv2d(b, v[0], v[1], None, 1, 1))?,
        library("the library, all threads", 0, &given, |b, v| conv2d(b, v[0], v[1], None, 1, 1))?,
    ];
    let flops = 2.0 * (side * side * FILTERS * PATCH) as f64;
    climb(&format!("3 x 3 convolution of {side} x {side} x {CHANNELS} to {FILTERS}"), flops, &want, rungs);
    Ok(())
}
