//! Randomness by address: what picture `i` looks like depends on the seed and on `i`, and on nothing else.

use crate::ops::support::philox::philox;

/// What random numbers are for. Each use of a picture has numbers of its own, so that a change to one leaves the others as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// What is on the picture.
    Content,
    /// What its scene looks like.
    Scene,
    /// In what light the scene lies.
    Light,
    /// Where things stand, and what they look like.
    Things,
    /// Whether its label is wrong, and which it is then.
    Label,
    /// Which split it goes to, and where in the split's list it stands.
    Split,
}

/// Draws numbers for one use of one picture: Philox at the counters `[picture, use, block, 0]` under the seed.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    key: [u32; 2],
    picture: u32,
    purpose: Use,
    block: u32,
    words: [u32; 4],
    left: usize,
}

impl Dice {
    /// At the first number.
    pub fn new(seed: u64, picture: u32, purpose: Use) -> Self {
        Dice { key: [seed as u32, (seed >> 32) as u32], picture, purpose, block: 0, words: [0; 4], left: 0 }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.left == 0 {
            self.words = philox([self.picture, self.purpose as u32, self.block, 0], self.key);
            self.block = self.block.wrapping_add(1);
            self.left = self.words.len();
        }
        self.left -= 1;
        self.words[self.left]
    }

    /// A number in `0..n`, each as likely as the next to within `n / 2^32`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.bits()) * n as u64) >> 32) as usize
    }

    /// A number in [0, 1), one of 2^24.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 24) as f32
    }

    /// A number in [from, to).
    pub fn between(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * self.unit()
    }

    /// True with this probability.
    pub fn chance(&mut self, p: f64) -> bool {
        f64::from(self.bits()) < p * 2.0f64.powi(32)
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        match self.below(others.len() + 1).checked_sub(1) {
            Some(i) => others.get(i).copied().unwrap_or(first),
            None => first,
        }
    }

    /// Brings them into random order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            all.swap(i, self.below(i + 1));
        }
    }

    /// The same in random order.
    pub fn shuffled<T, const N: usize>(&mut self, mut all: [T; N]) -> [T; N] {
        self.shuffle(&mut all);
        all
    }
}
