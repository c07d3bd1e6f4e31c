//! Random numbers that depend on nothing but their address: Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as
//! 1, 2, 3"), the same on every device and for any number of threads.
//!
//! An operator that drops elements reads an i32\[4\] from the device, `[seed_lo, seed_hi, step, micro_step]`, and has a stable key of its
//! own. Element `e` belongs to group `e / 4`; the four words of
//!
//! ```text
//! philox(counter = [group_lo, group_hi, step, micro_step], key = [seed_lo ^ key_lo, seed_hi ^ key_hi])
//! ```
//!
//! are those of the group's elements, and an element is dropped where its word is below `round(p 2^32)`. A backward pass asks again and
//! gets the same mask; nothing is saved.

use crate::device::cpu::Real;
use crate::hash::fnv1a;

/// Elements that share one call of the generator.
pub const GROUP: usize = 4;
/// Groups computed side by side.
const LANES: usize = 16;
/// Elements computed at once.
pub const BLOCK: usize = GROUP * LANES;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// Philox4x32-10 of one counter.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    lanes(counter.map(|word| [word]), key).map(|[word]| word)
}

/// Philox4x32-10 of `N` counters side by side: word `w` of counter `l` is `[w][l]`.
#[inline(always)]
fn lanes<const N: usize>(mut words: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..ROUNDS {
        let [a, b, c, d] = &mut words;
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let first = u64::from(MULTIPLIERS[0]) * u64::from(*a);
            let second = u64::from(MULTIPLIERS[1]) * u64::from(*c);
            *a = (second >> 32) as u32 ^ *b ^ key[0];
            *b = second as u32;
            *c = (first >> 32) as u32 ^ *d ^ key[1];
            *d = first as u32;
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    words
}

/// A number for a name that is the same on every machine and in every build: 64-bit FNV-1a.
pub fn stable_key(scope: &str) -> u64 {
    fnv1a(scope.bytes())
}

/// Which elements one operator drops in one micro-step.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    key: [u32; 2],
    step: [u32; 2],
    /// Words below it are dropped.
    threshold: u32,
    p: f64,
}

impl Mask {
    /// The mask of the operator with this key that drops with probability `p` in [0, 1), where the device holds
    /// `[seed_lo, seed_hi, step, micro_step]`. Missing numbers count as 0.
    pub fn new(rng: &[i32], key: u64, p: f64) -> Self {
        let at = |i: usize| rng.get(i).map_or(0, |&x| x as u32);
        Mask { key: [at(0) ^ key as u32, at(1) ^ (key >> 32) as u32], step: [at(2), at(3)], threshold: Self::threshold(p), p }
    }

    /// The least word that is kept, `round(p 2^32)`.
    pub fn threshold(p: f64) -> u32 {
        (p * 2.0f64.powi(32)).round() as u32
    }

    /// Whether an element stays.
    #[inline(always)]
    pub fn keep(&self, element: u64) -> bool {
        let group = element / GROUP as u64;
        let words = philox([group as u32, (group >> 32) as u32, self.step[0], self.step[1]], self.key);
        words[(element % GROUP as u64) as usize] >= self.threshold
    }

    /// What an element is multiplied by: 0, or 1 / (1 - p).
    #[inline(always)]
    pub fn factor<T: Real>(&self, element: u64) -> T {
        if self.keep(element) { self.scale() } else { T::ZERO }
    }

    /// 1 / (1 - p): what the elements that stay are multiplied by.
    #[inline(always)]
    pub fn scale<T: Real>(&self) -> T {
        T::of(1.0 / (1.0 - self.p))
    }

    /// The words of [`BLOCK`] elements from `first` on, a multiple of [`GROUP`]. Those at or above [`Mask::threshold`] stay.
    #[inline(always)]
    fn words(&self, first: u64) -> [u32; BLOCK] {
        let group = first / GROUP as u64;
        let (mut low, mut high) = ([0; LANES], [0; LANES]);
        for (l, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            let group = group + l as u64;
            (*low, *high) = (group as u32, (group >> 32) as u32);
        }
        let by_word = lanes([low, high, [self.step[0]; LANES], [self.step[1]; LANES]], self.key);
        let mut words = [0; BLOCK];
        for (l, group) in words.chunks_exact_mut(GROUP).enumerate() {
            for (word, by_lane) in group.iter_mut().zip(&by_word) {
                *word = by_lane[l];
            }
        }
        words
    }

    /// [`Mask::factor`] of the elements from `first` on, a multiple of [`GROUP`]: the same numbers, many at once.
    #[inline(always)]
    pub fn factors<T: Real>(&self, first: u64, factors: &mut [T]) {
        let scale = self.scale();
        for (b, block) in factors.chunks_mut(BLOCK).enumerate() {
            let words = self.words(first + (b * BLOCK) as u64);
            for (f, word) in block.iter_mut().zip(words) {
                *f = if word >= self.threshold { scale } else { T::ZERO };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mask, philox, stable_key};

    /// The known answers that Random123 ships as `kat_vectors`.
    #[test]
    fn philox_gives_the_known_answers() {
        let ones = u32::MAX;
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn keys_are_fnv_1a() {
        assert_eq!(stable_key(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_key("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stable_key("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn many_at_once_are_the_same_as_one_at_a_time() {
        let mask = Mask::new(&[-7, 11, 3, 1], stable_key("fusion.blocks.0"), 0.3);
        // Across the carry of the group's low word into the high one.
        for first in [0, 4, 1 << 20, (u64::from(u32::MAX) - 3) * 4] {
            let mut factors = [0.0f32; 131];
            mask.factors(first, &mut factors);
            for (i, &f) in factors.iter().enumerate() {
                assert_eq!(f, mask.factor::<f32>(first + i as u64));
            }
        }
    }

    #[test]
    fn every_part_of_the_address_counts_and_the_share_is_right() {
        let n = 100_000;
        let kept = |rng: [i32; 4], key: u64| -> Vec<bool> { (0..n).map(|e| Mask::new(&rng, key, 0.1).keep(e)).collect() };
        let base = kept([1, 2, 3, 4], 5);
        let share = base.iter().filter(|k| **k).count() as f64 / n as f64;
        // Five standard deviations.
        assert!((share - 0.9).abs() < 5.0 * (0.09 / n as f64).sqrt(), "{share}");
        for (rng, key) in [([9, 2, 3, 4], 5), ([1, 9, 3, 4], 5), ([1, 2, 9, 4], 5), ([1, 2, 3, 9], 5), ([1, 2, 3, 4], 9), ([1, 2, 3, 4], 9 << 32)] {
            let agree = base.iter().zip(kept(rng, key)).filter(|(a, b)| **a == *b).count() as f64 / n as f64;
            // Independent masks agree with probability 0.9^2 + 0.1^2.
            assert!((agree - 0.82).abs() < 5.0 * (0.82 * 0.18 / n as f64).sqrt(), "{rng:?} {key}: {agree}");
        }
        assert!(Mask::threshold(0.0) == 0 && Mask::threshold(0.5) == 1 << 31);
    }
}
