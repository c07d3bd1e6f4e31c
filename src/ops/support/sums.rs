//! Sums and maxima of long rows: as wide as the vector unit, in an order that depends on the length alone.

use crate::device::cpu::{Real, vectorized};
use rayon::prelude::*;

/// Partial results kept side by side, so that the compiler may use one vector operation for all of them.
const LANES: usize = 16;
/// Elements summed by one task.
const BLOCK: usize = 32 * 1024;

/// The sum of `term(x)` over a row. To be called inside [`vectorized`] code.
#[inline(always)]
pub fn sum<T: Real>(row: &[T], term: impl Fn(T) -> T) -> T {
    fold(row, T::ZERO, |sum, x| sum + term(x), |a, b| a + b)
}

/// The sum of `a b` over two rows.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest = rest.fold(T::ZERO, |sum, (&a, &b)| sum + a * b);
    for (a, b) in a.zip(b) {
        (0..LANES).for_each(|l| lanes[l] += a[l] * b[l]);
    }
    halve(lanes, |a, b| a + b) + rest
}

/// The largest number of a row; NaN is passed over.
#[inline(always)]
pub fn max<T: Real>(row: &[T]) -> T {
    fold(row, T::LOWEST, |a, b| if b > a { b } else { a }, |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn fold<T: Real, A: Copy>(row: &[T], start: A, add: impl Fn(A, T) -> A, join: impl Fn(A, A) -> A + Copy) -> A {
    let mut lanes = [start; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(start, |a, &x| add(a, x));
    for chunk in chunks {
        (0..LANES).for_each(|l| lanes[l] = add(lanes[l], chunk[l]));
    }
    join(halve(lanes, join), rest)
}

#[inline(always)]
fn halve<A: Copy>(mut lanes: [A; LANES], join: impl Fn(A, A) -> A) -> A {
    let mut half = LANES / 2;
    while half > 0 {
        (0..half).for_each(|l| lanes[l] = join(lanes[l], lanes[l + half]));
        half /= 2;
    }
    lanes[0]
}

/// The sum of `term(x)` over many elements in f64, in parallel; the sums of fixed blocks are added in order.
pub fn total<T: Real>(x: &[T], term: impl Fn(T) -> f64 + Sync) -> f64 {
    let block = |x: &[T]| {
        vectorized(
            #[inline(always)]
            || fold(x, 0.0, |sum, x| sum + term(x), |a, b| a + b),
        )
    };
    if x.len() <= BLOCK {
        return block(x);
    }
    let sums: Vec<f64> = x.par_chunks(BLOCK).map(block).collect();
    sums.into_iter().sum()
}
