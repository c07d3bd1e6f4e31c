//! Pillow's `Image.resize` with antialiasing, to the bit, of any part of a picture and for any window of the result.
//!
//! Written out here, after the algorithm of Pillow's `Resample.c`, because what counts is equality with the numbers that networks
//! are trained on. `fast_image_resize` 6.1, measured on the golden pictures, is off by 1 in a fifth of the values and by up to 6
//! where the bicubic kernel overshoots (its weights have 16 bits and its passes another order); it cannot compute a window
//! alone; and the core is counted by the crate.

use super::image::Image;
use std::ops::Range;

/// Bits of the fraction of a weight: 32, less 8 for the sample, less 2 for the overshoot of the bicubic kernel.
const PRECISION: u32 = 32 - 8 - 2;

/// An interpolation kernel. It widens with the reduction, which is what keeps a smaller picture from aliasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// The triangle, 1 - |x|.
    Bilinear,
    /// Keys' cubic with a = -1/2.
    Bicubic,
}

impl Filter {
    /// Half the width of the kernel, in pixels of the picture when enlarging, of the result when reducing.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// The pixels that make one pixel of the result: `weights` over those from `first` on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of `window` out of `to` pixels made from the stretch `source` of `from`. The kernel reaches over the ends of the stretch, as
/// in Pillow.
fn taps(filter: Filter, from: usize, source: [f64; 2], to: u64, window: Range<u64>) -> Vec<Taps> {
    let scale = (source[1] - source[0]) / to as f64;
    let widened = scale.max(1.0);
    let support = filter.support() * widened;
    let one = |i: u64| {
        let center = source[0] + (i as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (first..end).map(|x| filter.at((x as f64 - center + 0.5) * (1.0 / widened))).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: f64| if sum == 0.0 { 0.0 } else { w / sum * f64::from(1 << PRECISION) };
        Taps { first, weights: weights.into_iter().map(|w| fixed(w).round() as i32).collect() }
    };
    window.map(one).collect()
}

/// A weighted sum back to a sample. The sum starts at one half.
fn sample(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// Resizes the part `source` (left, top, right, bottom, inside the picture, not empty) to `size` (width, height) and keeps the window
/// `columns` x `rows` of it, as RGB bytes. Only what the window needs is computed.
///
/// One pass runs along the rows, one along the columns, rounded to bytes in between: rows first, unless the height shrinks by
/// more than twice as many pixels as the width. That is the rule since Pillow 13; before, rows always came first.
pub(super) fn resize(picture: &Image, filter: Filter, source: [f64; 4], size: [u64; 2], columns: Range<u64>, rows: Range<u64>) -> Vec<u8> {
    let [left, above, right, below] = source;
    let whole = [picture.width() as u64, picture.height() as u64];
    if size == whole && source == [0.0, 0.0, picture.width() as f64, picture.height() as f64] && [&columns, &rows] == [&(0..whole[0]), &(0..whole[1])]
    {
        return picture.rgb().to_vec();
    }
    let across = taps(filter, picture.width(), [left, right], size[0], columns);
    let down = taps(filter, picture.height(), [above, below], size[1], rows);
    let top = down.first().map_or(0, |t| t.first);
    let bottom = down.last().map_or(0, |t| t.first + t.weights.len());
    let stride = picture.width() * 3;
    let used = &picture.rgb()[top * stride..bottom * stride];

    let shrinks = |from: usize, to: u64| from as i64 - to as i64;
    let [by_width, by_height] = [shrinks(picture.width(), size[0]), shrinks(picture.height(), size[1])];
    if by_height > 0 && by_height > 2 * by_width {
        along_rows(&along_columns(used, stride, top, &down), stride, &across)
    } else {
        along_columns(&along_rows(used, stride, &across), across.len() * 3, top, &down)
    }
}

/// Each row of `stride` bytes becomes one of as many pixels as there are taps.
fn along_rows(picture: &[u8], stride: usize, across: &[Taps]) -> Vec<u8> {
    let mut result = Vec::with_capacity(picture.len() / stride * across.len() * 3);
    for row in picture.chunks_exact(stride) {
        for taps in across {
            let mut sum = [HALF; 3];
            for (pixel, &w) in row[taps.first * 3..].chunks_exact(3).zip(&taps.weights) {
                for (s, &v) in sum.iter_mut().zip(pixel) {
                    *s += i32::from(v) * w;
                }
            }
            result.extend(sum.map(sample));
        }
    }
    result
}

/// The rows of `stride` bytes, the first of which the taps call `top`, become as many rows as there are taps.
fn along_columns(picture: &[u8], stride: usize, top: usize, down: &[Taps]) -> Vec<u8> {
    let mut result = Vec::with_capacity(down.len() * stride);
    let mut sums = vec![HALF; stride];
    for taps in down {
        sums.fill(HALF);
        for (row, &w) in picture[(taps.first - top) * stride..].chunks_exact(stride).zip(&taps.weights) {
            for (s, &v) in sums.iter_mut().zip(row) {
                *s += i32::from(v) * w;
            }
        }
        result.extend(sums.iter().map(|&s| sample(s)));
    }
    result
}
