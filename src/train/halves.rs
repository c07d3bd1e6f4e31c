//! Halves of a training split: alike in their classes, the same on every machine.

use crate::data::dataset::Sample;
use crate::ops::support::philox::{philox, stable_key};
use std::collections::BTreeMap;

/// For each sample, 0 or 1: each class is put in an order drawn from seed and ids, and dealt out by turns.
pub fn halves(samples: &[Sample], seed: u64) -> Vec<usize> {
    let mut half = vec![0; samples.len()];
    let mut next = 0;
    for order in by_class(samples, seed) {
        for i in order {
            half[i] = next;
            next = 1 - next;
        }
    }
    half
}

/// At most `limit` samples, the classes in their shares; in the order they have.
pub fn limited(samples: &[Sample], limit: Option<usize>, seed: u64) -> Vec<Sample> {
    let Some(limit) = limit.filter(|&l| l < samples.len()) else { return samples.to_vec() };
    // A place between 0 and 1 for each sample within its class; the lowest places win.
    let mut places: Vec<(f64, usize)> = Vec::with_capacity(samples.len());
    for order in by_class(samples, seed) {
        let n = order.len() as f64;
        places.extend(order.into_iter().enumerate().map(|(rank, i)| ((rank as f64 + 0.5) / n, i)));
    }
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut kept: Vec<usize> = places.into_iter().take(limit).map(|(_, i)| i).collect();
    kept.sort_unstable();
    kept.into_iter().map(|i| samples[i].clone()).collect()
}

/// The samples of each class, in an order drawn from the seed.
fn by_class(samples: &[Sample], seed: u64) -> Vec<Vec<usize>> {
    let words = |x: u64| [x as u32, (x >> 32) as u32];
    let mut classes: BTreeMap<usize, Vec<([u32; 4], usize)>> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        let [low, high] = words(stable_key(&sample.id));
        let draw = philox([low, high, 0, 0], words(seed ^ stable_key("halves")));
        classes.entry(sample.label).or_default().push((draw, i));
    }
    let ordered = |mut class: Vec<([u32; 4], usize)>| {
        class.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| samples[a.1].id.cmp(&samples[b.1].id)));
        class.into_iter().map(|(_, i)| i).collect()
    };
    classes.into_values().map(ordered).collect()
}
