//! Lessons 1 to 3 of the course: C = A B, n by n, from three loops to what the library does. See docs/course/.
//!
//! `cargo run --release --example course_gemm -- 512`

#[path = "course/ladder.rs"]
mod ladder;

use escnet::device::cpu::vectorized;
use escnet::ops::matmul::matmul;
use escnet::{Result, TensorType};
use ladder::{climb, library, numbers, rung, size};

/// The definition. The innermost loop walks down a column of B: each step is a line of the cache further.
fn naive(a: &[f32], b: &[f32], c: &mut [f32], n: usize) {
    for i in 0..n {
        for j in 0..n {
            c[i * n + j] = (0..n).map(|k| a[i * n + k] * b[k * n + j]).sum();
        }
    }
}

/// The same additions in another order: the innermost loop walks along rows of B and C, which the compiler turns into vectors.
fn along_rows(a: &[f32], b: &[f32], c: &mut [f32], n: usize) {
    c.fill(0.0);
    for i in 0..n {
        for k in 0..n {
            let (factor, row) = (a[i * n + k], &b[k * n..][..n]);
            for (c, b) in c[i * n..][..n].iter_mut().zip(row) {
                *c += factor * b;
            }
        }
    }
}

/// Columns and rows of B that stay in the nearest cache: 64 x 64 numbers are 16 kB.
const TILE: usize = 64;

/// The same, a tile of B at a time: it is read from memory once and from cache n times.
fn tiled(a: &[f32], b: &[f32], c: &mut [f32], n: usize) {
    c.fill(0.0);
    for k0 in (0..n).step_by(TILE) {
        for j0 in (0..n).step_by(TILE) {
            let (k1, j1) = ((k0 + TILE).min(n), (j0 + TILE).min(n));
            for i in 0..n {
                for k in k0..k1 {
                    let (factor, row) = (a[i * n + k], &b[k * n + j0..k * n + j1]);
                    for (c, b) in c[i * n + j0..i * n + j1].iter_mut().zip(row) {
                        *c += factor * b;
                    }
                }
            }
        }
    }
}

/// Rows and columns of C whose sums stay in registers while K goes by.
const HIGH: usize = 6;
const WIDE: usize = 32;

/// A tile of C.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Lengths that the compiler knows are what keeps sums in registers.
fn sums_of(rows: [&[f32]; HIGH], panel: &[f32]) -> [[f32; WIDE]; HIGH] {
    let mut sums = [[0.0f32; WIDE]; HIGH];
    for (k, b) in panel.as_chunks::<WIDE>().0.iter().enumerate() {
        for i in 0..HIGH {
            let factor = rows[i][k];
            for j in 0..WIDE {
                sums[i][j] = factor.mul_add(b[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Sums in registers: a tile of C is written once, and each number of B that is loaded meets six of A. B's columns are laid side by side first, so that they are
/// read one after another.
fn in_registers(a: &[f32], b: &[f32], c: &mut [f32], n: usize, panel: &mut [f32]) {
    for j0 in (0..n).step_by(WIDE) {
        let wide = WIDE.min(n - j0);
        panel.fill(0.0);
        for k in 0..n {
            panel[k * WIDE..][..wide].copy_from_slice(&b[k * n + j0..][..wide]);
        }
        for i0 in (0..n).step_by(HIGH) {
            let high = HIGH.min(n - i0);
            // Rows that are not there repeat the last one, and are not written.
            let rows: [&[f32]; HIGH] = std::array::from_fn(|i| &a[(i0 + i.min(high - 1)) * n..][..n]);
            let sums = vectorized(
                #[inline(always)]
                || sums_of(rows, panel),
            );
            for (i, sums) in sums.iter().enumerate().take(high) {
                c[(i0 + i) * n + j0..][..wide].copy_from_slice(&sums[..wide]);
            }
        }
    }
}

fn main() -> Result<()> {
    let n = size(160);
    let (a, b) = (numbers(n * n, 1), numbers(n * n, 2));
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let (wide_a, wide_b) = (wide(&a), wide(&b));
    let at = |i: usize, j: usize| (0..n).map(|k| wide_a[i * n + k] * wide_b[k * n + j]).sum::<f64>();
    let want: Vec<f64> = (0..n * n).map(|at_c| at(at_c / n, at_c % n)).collect();
    let mut panel = vec![0.0; n * WIDE];
    let given = [&a, &b].map(|numbers| (TensorType::f32([n, n]), &numbers[..], false));
    let rungs = vec![
        rung("naive: a row times a column", 0, |c| naive(&a, &b, c, n)),
        rung("along rows: loops exchanged", 0, |c| along_rows(&a, &b, c, n)),
        rung("tiled: a part of B stays in cache", 0, |c| tiled(&a, &b, c, n)),
        rung("in registers: sums of 6 x 32, B side by side", 4 * n * WIDE, |c| in_registers(&a, &b, c, n, &mut panel)),
        library("the library, one thread", 1, &given, |b, v| matmul(b, v[0], v[1]))?,
        library("the library, all threads", 0, &given, |b, v| matmul(b, v[0], v[1]))?,
    ];
    climb(&format!("product of {n} x {n}"), 2.0 * (n as f64).powi(3), &want, rungs);
    Ok(())
}
