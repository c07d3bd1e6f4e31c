//! The order in which an epoch's pictures come: a function of seed and epoch alone, so that a resumed run goes on where it was.

use super::config::Sampling;
use crate::ops::support::philox::{philox, stable_key};
use std::sync::Arc;

/// Orders the pictures of each epoch.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    sampling: Sampling,
    /// The pictures of each class.
    classes: Vec<Vec<u32>>,
    len: usize,
}

impl Sampler {
    /// Orders pictures of these labels.
    pub fn new(labels: &[usize], sampling: Sampling, seed: u64) -> Self {
        let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |m| m + 1)];
        for (i, &label) in (0u32..).zip(labels) {
            classes[label].push(i);
        }
        classes.retain(|c| !c.is_empty());
        Sampler { seed, sampling, classes, len: labels.len() }
    }

    /// Pictures of an epoch.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pictures of one epoch, in their order: as many as there are pictures.
    pub fn order(&self, epoch: u64) -> Arc<[u32]> {
        let mut draws = Draws::new(self.seed, epoch);
        let mut order: Vec<u32> = match self.sampling {
            Sampling::Shuffle => (0..self.len as u32).collect(),
            Sampling::Balanced => self.balanced(&mut draws),
        };
        shuffle(&mut order, &mut draws);
        order.into()
    }

    /// As many of each class, one more of the first where that does not come out even: whole rounds of the class, then a part of one,
    /// drawn anew each epoch.
    fn balanced(&self, draws: &mut Draws) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.len);
        let count = self.classes.len();
        for (i, class) in self.classes.iter().enumerate() {
            let mut wanted = self.len / count + usize::from(i < self.len % count);
            while wanted > 0 {
                let mut round = class.clone();
                shuffle(&mut round, draws);
                round.truncate(wanted);
                wanted -= round.len();
                order.extend(round);
            }
        }
        order
    }
}

/// Fisher and Yates.
fn shuffle(order: &mut [u32], draws: &mut Draws) {
    for i in (1..order.len()).rev() {
        order.swap(i, draws.below(i + 1));
    }
}

/// A stream of random numbers that belongs to one epoch.
struct Draws {
    key: [u32; 2],
    epoch: [u32; 2],
    count: u32,
    words: [u32; 4],
}

impl Draws {
    fn new(seed: u64, epoch: u64) -> Self {
        let words = |x: u64| [x as u32, (x >> 32) as u32];
        Draws { key: words(seed ^ stable_key("order")), epoch: words(epoch), count: 0, words: [0; 4] }
    }

    /// A number below `n`, by the upper half of a product (Lemire 2019); its bias, below n / 2^64, does not matter here.
    fn below(&mut self, n: usize) -> usize {
        let pair = (self.count % 2) as usize * 2;
        if pair == 0 {
            let [low, high] = self.epoch;
            self.words = philox([self.count / 2, 0, low, high], self.key);
        }
        self.count += 1;
        let word = u64::from(self.words[pair]) | u64::from(self.words[pair + 1]) << 32;
        ((u128::from(word) * n as u128) >> 64) as usize
    }
}
