//! Patches of a picture as the rows of a matrix ("im2col").

use super::Extents;
use crate::device::cpu::vectorized;

/// A grid of target pixels, and under each a patch of source pixels: target (ty, tx) lies over the sources
/// (ty step + origin\[0\] + a, tx step + origin\[1\] + b) for the taps (a, b). Sources outside the picture are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// Pictures.
    pub batch: usize,
    /// Rows and columns of the source.
    pub source: [usize; 2],
    /// Numbers in a source pixel.
    pub channels: usize,
    /// Rows and columns of the target.
    pub target: [usize; 2],
    /// Rows and columns of a patch.
    pub taps: [usize; 2],
    /// Sources from one target to the next.
    pub step: usize,
    /// The source under the first tap of the first target.
    pub origin: [isize; 2],
}

impl Patches {
    /// Those of x that y's pixels see.
    pub fn of_input(e: &Extents) -> Self {
        let origin = [-(e.padding as isize); 2];
        Patches { batch: e.batch, source: e.size, channels: e.channels, target: e.out, taps: e.kernel, step: e.stride, origin }
    }

    /// Target pixels of all pictures: the rows of the matrix.
    pub fn rows(&self) -> usize {
        self.batch * self.target[0] * self.target[1]
    }

    /// Numbers in a patch: the columns of the matrix.
    pub fn width(&self) -> usize {
        self.taps[0] * self.taps[1] * self.channels
    }

    /// The matrix is the source itself.
    pub fn is_source(&self) -> bool {
        self.taps == [1, 1] && self.step == 1 && self.origin == [0, 0] && self.source == self.target
    }

    /// Writes the rows from `first` on, as many as there is room for.
    pub fn gather(&self, x: &[f32], first: usize, rows: &mut [f32]) {
        let width = self.width();
        vectorized(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
                    self.row(x, first + i, row);
                }
            },
        );
    }

    #[inline(always)]
    fn row(&self, x: &[f32], index: usize, row: &mut [f32]) {
        let ([height, width], [th, tw]) = (self.source, self.target);
        let (picture, ty, tx) = (index / (th * tw), index / tw % th, index % tw);
        let left = (tx * self.step) as isize + self.origin[1];
        // The taps [from, to) are inside the picture.
        let from = (-left).clamp(0, self.taps[1] as isize) as usize;
        let to = (width as isize - left).clamp(from as isize, self.taps[1] as isize) as usize;
        for (a, run) in row.chunks_exact_mut(self.taps[1] * self.channels).enumerate() {
            let y = (ty * self.step + a) as isize + self.origin[0];
            if y < 0 || y >= height as isize || from == to {
                run.fill(0.0);
                continue;
            }
            let start = ((picture * height + y as usize) * width).wrapping_add_signed(left + from as isize) * self.channels;
            let (before, rest) = run.split_at_mut(from * self.channels);
            let (inside, after) = rest.split_at_mut((to - from) * self.channels);
            before.fill(0.0);
            copy(inside, &x[start..][..inside.len()]);
            after.fill(0.0);
        }
    }
}

/// The pixels (s t + offset\[0\], s u + offset\[1\]) of dx, and the taps that they meet.
pub struct Phase {
    /// Below the stride.
    pub offset: [usize; 2],
    /// The first tap; the others follow at a distance of the stride.
    pub first: [usize; 2],
    /// Those of dy that the pixels meet: from the last tap on.
    pub patches: Patches,
}

/// All phases that have pixels.
///
/// Pixel i meets tap k and output j where `i + padding = stride j + k`. For i = s t + offset the taps are k = first + s m, m < taps, with
/// the outputs `j = t + shift - m`; in the order of falling m they are neighbours.
pub fn phases(e: &Extents) -> Vec<Phase> {
    let s = e.stride;
    let axis = |offset: usize, d: usize| {
        let first = (offset + e.padding) % s;
        let shift = (offset + e.padding) / s;
        let taps = e.kernel[d].saturating_sub(first).div_ceil(s);
        let target = e.size[d].saturating_sub(offset).div_ceil(s);
        (first, taps, target, shift as isize + 1 - taps as isize)
    };
    let mut phases = Vec::new();
    for (py, px) in (0..s * s).map(|n| (n / s, n % s)) {
        let ((fy, ky, ty, oy), (fx, kx, tx, ox)) = (axis(py, 0), axis(px, 1));
        let patches = Patches { batch: e.batch, source: e.out, channels: e.filters, target: [ty, tx], taps: [ky, kx], step: 1, origin: [oy, ox] };
        if ty * tx > 0 {
            phases.push(Phase { offset: [py, px], first: [fy, fx], patches });
        }
    }
    phases
}

/// Copies a run. Short ones are worth more than a call: two vectors that overlap in the middle.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    const LANES: usize = 16;
    let n = to.len();
    if let (LANES..=32, Some(head), Some(tail)) = (n, from.first_chunk::<LANES>(), from.last_chunk::<LANES>()) {
        to[..LANES].copy_from_slice(head);
        to[n - LANES..].copy_from_slice(tail);
    } else {
        to.copy_from_slice(from);
    }
}
