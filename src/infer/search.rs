//! What comes of a search, and how tokens are drawn by sampling. It knows no model; beam search is [`crate::ops::beam_step`], on the device.

use crate::ops::support::philox::philox;

/// A caption's tokens, start token and prompt included, up to and with the end token where it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Token ids.
    pub ids: Vec<i32>,
    /// sum log p / tokens after the prompt, the end token included (with a length penalty of 1).
    pub score: f32,
}

/// How a token is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the log-probabilities first.
    pub temperature: f32,
    /// Only this many of the most probable; 0: all.
    pub top_k: usize,
    /// Only the most probable that together reach this probability.
    pub top_p: f32,
    /// Fixes the draw.
    pub seed: u64,
}

impl Sampling {
    /// Draws a token from log-probabilities. `row` and `step` make each draw its own.
    pub fn draw(&self, log_probs: &[f32], row: usize, step: usize) -> (f32, i32) {
        let mut order: Vec<usize> = (0..log_probs.len()).filter(|&i| log_probs[i].is_finite()).collect();
        order.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a]).then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let Some(&first) = order.first() else { return (f32::NEG_INFINITY, 0) };
        let temperature = f64::from(self.temperature.max(1e-6));
        let weight = |i: usize| (f64::from(log_probs[i] - log_probs[first]) / temperature).exp();
        let total: f64 = order.iter().map(|&i| weight(i)).sum();
        let mut kept = 0.0;
        let enough = order.iter().position(|&i| {
            kept += weight(i) / total;
            kept >= f64::from(self.top_p)
        });
        order.truncate(enough.map_or(order.len(), |n| n + 1));
        let total: f64 = order.iter().map(|&i| weight(i)).sum();
        let bits = philox([row as u32, step as u32, 0, 0], [self.seed as u32, (self.seed >> 32) as u32])[0];
        let mut left = f64::from(bits) / f64::from(u32::MAX) * total;
        let drawn = order.iter().copied().find(|&i| {
            left -= weight(i);
            left <= 0.0
        });
        let id = drawn.unwrap_or(first);
        (log_probs[id], id as i32)
    }
}
