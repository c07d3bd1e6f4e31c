//! A convolution's factors as the tensor memory accelerator sees them, for `kernels/common/im2col.cuh`: patches by im2col maps, filters tap by tap. K, and the
//! columns of the filters' gradient, go from tap to tap, and in each through its channels in strips of 64, of which zeros fill the last one.

use super::patches::Patches;
use crate::device::cuda::{Operand, Swizzle, TensorMap, Tile};
use crate::tensor::DType;

/// Channels of a tap, and a line of shared memory.
const STRIP: usize = 64;
const SWIZZLE: Swizzle = Swizzle::Bytes128;

impl Patches {
    /// Numbers of a patch, the zeros among them.
    pub fn depth(&self) -> usize {
        self.taps[0] * self.taps[1] * self.channels.next_multiple_of(STRIP)
    }

    /// Along W and H: where the first patch's corner is, and the last one's counted from the last pixel on.
    fn corners(&self) -> [[isize; 2]; 2] {
        let last = |d: usize| self.origin[d] + (self.target[d] * self.step) as isize - (self.step + self.source[d]) as isize + 1;
        [[self.origin[1], self.origin[0]], [last(1), last(0)]]
    }

    /// Whether an im2col map can tell of them: pixels begin at multiples of 16 bytes, and corners, steps and taps are small.
    pub fn have_map(&self) -> bool {
        let is_near = self.corners().iter().flatten().all(|corner| (-128..128).contains(corner));
        self.channels.is_multiple_of(8) && is_near && self.step <= 8 && self.taps.iter().all(|&taps| taps <= 256)
    }

    /// So many patches at once, of 64 channels of one tap.
    pub fn map(&self, operand: Operand, dtype: DType, patches: usize) -> TensorMap {
        let ([height, width], pixel) = (self.source, 2 * self.channels);
        let tile = Tile::Pixels { pixels: patches, channels: STRIP, corners: self.corners(), step: self.step };
        let (dims, strides) = (vec![self.channels, width, height, self.batch], vec![pixel, pixel * width, pixel * width * height]);
        TensorMap { operand, dtype, dims, strides, tile, swizzle: SWIZZLE }
    }
}

/// Of filters [O, KH, KW, I], so many at once: 64 channels of one tap.
pub fn filters(operand: Operand, dtype: DType, [filters, height, width, channels]: [usize; 4], lines: usize) -> TensorMap {
    let (taps, tile) = (height * width, Tile::Box(vec![STRIP, 1, lines]));
    TensorMap { operand, dtype, dims: vec![channels, taps, filters], strides: vec![2 * channels, 2 * channels * taps], tile, swizzle: SWIZZLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::patches::phases;
    use crate::ops::conv2d::{Extents, RESNET50};

    /// How many places the corner has between the first and the last, along W and H.
    fn places(patches: &Patches) -> [usize; 2] {
        let [first, last] = patches.corners();
        [0, 1].map(|d| (patches.source[1 - d] as isize - 1 + last[d] - first[d]) as usize / patches.step + 1)
    }

    #[test]
    fn maps_have_as_many_places_as_there_are_patches() {
        for (size, kernel, stride, padding) in [(1, 1, 1, 0), (7, 3, 1, 1), (8, 3, 2, 1), (9, 3, 2, 1), (9, 2, 3, 3), (14, 7, 2, 3), (11, 4, 4, 0), (5, 1, 1, 2)] {
            let e = Extents::new(&[2, size, size + 2, 8], &[16, kernel, kernel, 8], stride, padding);
            let all = phases(&e).into_iter().map(|phase| phase.patches).filter(|patches| patches.depth() > 0);
            for patches in all.chain([Patches::of_input(&e)]) {
                assert_eq!(places(&patches), [patches.target[1], patches.target[0]], "{e:?}: {patches:?}");
                assert!(patches.have_map(), "{patches:?}");
            }
        }
    }

    #[test]
    fn maps_are_for_channels_in_eights_and_corners_near_the_picture() {
        let of = |channels: usize, kernel: usize, stride: usize, padding: usize| {
            Patches::of_input(&Extents::new(&[2, 300, 300, channels], &[16, kernel, kernel, channels], stride, padding)).have_map()
        };
        assert!(of(8, 3, 1, 1) && of(72, 129, 8, 128) && !of(12, 3, 1, 1));
        assert!(!of(8, 3, 9, 1), "steps of 9");
        assert!(!of(8, 1, 1, 129) && !of(8, 131, 1, 1), "a corner 129 away");
        assert!(RESNET50[1..].iter().all(|&(size, i, o, kernel, stride)| {
            Patches::of_input(&Extents::new(&[8, size, size, i], &[o, kernel, kernel, i], stride, kernel / 2)).have_map()
        }));
    }
}
