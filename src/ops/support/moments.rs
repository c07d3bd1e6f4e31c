//! Moments of a matrix's columns: of each so many rows their count, their mean, and the sum of squares about it, [parts, 3, width]. Who writes a matrix can leave them
//! while it has it at hand; who wants mean and variance of all rows joins them, and need not read the matrix. Nothing cancels, however far the means are from 0.

use crate::device::cpu::{Real, for_heavy_rows};
use crate::tensor::TensorType;

/// Rows of a part: those that the smallest tile of a product has, and the least common share of all. `PART_ROWS` of `kernels/common/moments.cuh`.
pub const ROWS: usize = 64;

/// Of all rows: the mean of each column, and the sum of squares about it.
#[derive(Debug)]
pub struct Moments<T> {
    /// Of each column.
    pub mean: Vec<T>,
    /// Of each column.
    pub squares: Vec<T>,
}

/// The type of those that are left of x, in f32 whatever x is stored as.
pub fn left_of(x: &TensorType) -> TensorType {
    let (rows, width) = x.shape.rows_and_width();
    TensorType::f32([rows.div_ceil(ROWS), 3, width])
}

/// Those of x [.., c], in parts of so many rows: two passes over each part, while it is in the cache.
pub fn take<T: Real>(x: &[T], c: usize, rows: usize, to: &mut [T]) {
    for_heavy_rows(
        to,
        3 * c,
        rows * c,
        #[inline(always)]
        |part, to| {
            let x = &x[part * rows * c..];
            let x = &x[..x.len().min(rows * c)];
            let (count, rest) = to.split_at_mut(c);
            let (mean, squares) = rest.split_at_mut(c);
            let (mean, squares) = (&mut mean[..c], &mut squares[..c]);
            let n = T::of((x.len() / c) as f64);
            count.fill(n);
            mean.fill(T::ZERO);
            squares.fill(T::ZERO);
            for x in x.chunks_exact(c) {
                for i in 0..c {
                    mean[i] += x[i];
                }
            }
            let share = T::ONE / n;
            for mean in mean.iter_mut() {
                *mean *= share;
            }
            for x in x.chunks_exact(c) {
                for i in 0..c {
                    let away = x[i] - mean[i];
                    squares[i] += away * away;
                }
            }
        },
    );
}

/// Those of all rows: the parts are merged in order, in f64 (Chan, Golub and LeVeque 1979).
pub fn join<T: Real>(parts: &[T], c: usize) -> Moments<T> {
    let (mut before, mut mean, mut squares) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
    for part in parts.chunks_exact((3 * c).max(1)) {
        for i in 0..c {
            let [here, of_part, away] = [part[i], part[c + i], part[2 * c + i]].map(Real::wide);
            let (all, step) = (before[i] + here, of_part - mean[i]);
            let share = here / all;
            mean[i] += step * share;
            squares[i] += away + step * step * before[i] * share;
            before[i] = all;
        }
    }
    let narrow = |v: Vec<f64>| v.into_iter().map(T::of).collect();
    Moments { mean: narrow(mean), squares: narrow(squares) }
}
