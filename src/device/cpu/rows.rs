//! Work split over rows. The split depends on the shape alone, so any number of threads gives the same bits.

use super::Real;
use rayon::prelude::*;

/// Elements that are worth a task of their own.
const GRAIN: usize = 16 * 1024;

/// Calls `work(row, slice)` for each row of `width` elements, in parallel. A closure that is marked `#[inline(always)]` is compiled for
/// this machine's widest vectors (see [`vectorized`]); another may become a function of its own and is then not.
pub fn for_rows<E: Send>(out: &mut [E], width: usize, work: impl Fn(usize, &mut [E]) + Sync) {
    if width == 0 || out.is_empty() {
        return;
    }
    let rows = (GRAIN / width).max(1);
    let block = |start: usize, chunk: &mut [E]| {
        vectorized(
            #[inline(always)]
            || {
                for (i, row) in chunk.chunks_mut(width).enumerate() {
                    work(start * rows + i, row);
                }
            },
        );
    };
    if out.len() <= rows * width {
        return block(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| block(i, chunk));
}

/// `out[c] = sum over r of term(r, c)`, added up in blocks of fixed size whose partial sums are added in order: the same bits on any
/// number of threads. `term` is asked for a whole row at once: `add(row, partial)` adds it to `partial`. Mark it as for [`for_rows`].
pub fn sum_rows<T: Real>(out: &mut [T], rows: usize, add: impl Fn(usize, &mut [T]) + Sync) {
    let width = out.len();
    let block = (GRAIN / width.max(1)).clamp(8, 1024);
    let partial = |start: usize| {
        let mut sum = vec![T::ZERO; width];
        vectorized(
            #[inline(always)]
            || {
                for row in start..(start + block).min(rows) {
                    add(row, &mut sum);
                }
            },
        );
        sum
    };
    out.fill(T::ZERO);
    let fold = |out: &mut [T], sum: &[T]| out.iter_mut().zip(sum).for_each(|(o, &s)| *o += s);
    if rows <= block {
        return fold(out, &partial(0));
    }
    let sums: Vec<Vec<T>> = (0..rows.div_ceil(block)).into_par_iter().map(|i| partial(i * block)).collect();
    sums.iter().for_each(|sum| fold(out, sum));
}

/// Runs `work` compiled for the widest vector instructions that this machine has. What is inlined into it is compiled with them.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
        fn avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the machine was just asked for these features.
            return unsafe { avx512(work) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { avx2(work) };
        }
    }
    work()
}
