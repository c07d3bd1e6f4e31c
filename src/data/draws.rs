//! Random numbers for pictures that depend on nothing but their address, so that no worker count, order of work or resumption changes them.

use crate::ops::support::philox::{philox, stable_key};

/// For which picture of which epoch numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The run's.
    pub seed: u64,
    /// Counted from 0.
    pub epoch: u64,
    /// Which picture was asked for.
    pub index: u32,
    /// How many times the epoch has had it before: a picture that is sampled twice is altered in two ways.
    pub repeat: u32,
}

/// One stream of numbers at an address: Philox at counter `[purpose * 2^16 + block, index, repeat, epoch]`. Each purpose has a stream of its
/// own, so that turning one alteration on changes no other.
#[derive(Debug)]
pub(super) struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Draws {
    /// The stream for this purpose, a small number.
    pub(super) fn new(address: Address, purpose: u32) -> Self {
        let Address { seed, epoch, index, repeat } = address;
        let key = seed ^ stable_key("data.pipeline");
        let key = [key as u32, (key >> 32) as u32 ^ (epoch >> 32) as u32];
        Draws { key, counter: [purpose << 16, index, repeat, epoch as u32], words: [0; 4], used: 4 }
    }

    fn word(&mut self) -> u32 {
        if self.used == self.words.len() {
            self.words = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.word()) / 2f64.powi(32)
    }

    /// Uniform between two numbers.
    pub(super) fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + self.unit() * (high - low)
    }

    /// Uniform in 0..n; 0 where n is.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }
}
