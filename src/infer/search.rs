//! How the next token is chosen: greedy, beam search, or sampling. Pure bookkeeping over log-probabilities; it knows no model.

use crate::ops::support::philox::philox;

/// What a search needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// Beams of an image; 1 is greedy, or sampling.
    pub beams: usize,
    /// The most tokens, start token and prompt included.
    pub max_length: usize,
    /// The fewest tokens before a caption may end, start token and prompt included.
    pub min_length: usize,
    /// A finished caption's score is sum log p / (tokens after the prompt)^this.
    pub length_penalty: f32,
    /// The token that ends a caption.
    pub end: i32,
}

/// A caption's tokens, start token and prompt included, up to and with the end token where it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Token ids.
    pub ids: Vec<i32>,
    /// sum log p / tokens after the prompt, the end token included (with a length penalty of 1).
    pub score: f32,
}

/// The most probable next tokens of one sequence, falling: (log p, id).
pub type Candidates<'a> = &'a [(f32, i32)];

/// What unfinished hypotheses are scored as, and what is added to those that may not be chosen: finite, so that the order of
/// hypotheses stays defined as in Hugging Face's search.
const IMPOSSIBLE: f32 = -1e9;

/// One image's beam search, with the semantics of Hugging Face's `generate` (early stopping off): twice as many candidates as beams are
/// kept, those that end go to the finished ones where they are among the best, the rest run on; it stops when the best running beam can
/// no longer beat the worst finished one.
#[derive(Debug, Clone)]
pub struct BeamSearch {
    options: SearchOptions,
    prompt: usize,
    running: Vec<Hypothesis>,
    finished: Vec<(Hypothesis, bool)>,
    can_improve: bool,
    done: bool,
}

impl BeamSearch {
    /// Starts from the start token and the prompt.
    pub fn new(options: SearchOptions, prompt: &[i32]) -> Self {
        let start = |score| Hypothesis { ids: prompt.to_vec(), score };
        let running = (0..options.beams).map(|i| start(if i == 0 { 0.0 } else { IMPOSSIBLE })).collect();
        let finished = (0..options.beams).map(|_| (start(IMPOSSIBLE), false)).collect();
        BeamSearch { done: prompt.len() >= options.max_length, prompt: prompt.len(), running, finished, can_improve: true, options }
    }

    /// How many candidates of each beam [`BeamSearch::advance`] wants: twice the beams, and one that may have to be left out.
    pub fn width(beams: usize) -> usize {
        2 * beams + 1
    }

    /// No step can change the result.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The last token of each running beam.
    pub fn last_tokens(&self) -> impl Iterator<Item = i32> {
        self.running.iter().map(|h| h.ids.last().copied().unwrap_or(self.options.end))
    }

    /// Takes each beam's candidates; gives for each beam that runs on the one it came from.
    pub fn advance(&mut self, candidates: &[Candidates]) -> Vec<usize> {
        let SearchOptions { beams, max_length, min_length, length_penalty, end } = self.options;
        let length = self.running.first().map_or(0, |h| h.ids.len());
        let mut all: Vec<(f32, usize, i32)> = Vec::new();
        for (beam, next) in candidates.iter().enumerate().take(beams) {
            let allowed = next.iter().filter(|(_, id)| *id != end || length >= min_length);
            all.extend(allowed.map(|&(log_p, id)| (self.running[beam].score + log_p, beam, id)));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        all.truncate(2 * beams);

        let grown = |beam: usize, id: i32, score| {
            let mut ids = self.running[beam].ids.clone();
            ids.push(id);
            Hypothesis { ids, score }
        };
        let ends = |id: i32| id == end || length + 1 >= max_length;
        let penalty = ((length + 1 - self.prompt) as f32).powf(length_penalty);
        let mut merged = self.finished.clone();
        for (rank, &(score, beam, id)) in all.iter().enumerate() {
            let just_ended = ends(id) && rank < beams;
            let barred = if self.can_improve { 0.0 } else { IMPOSSIBLE } + if just_ended { 0.0 } else { IMPOSSIBLE };
            merged.push((grown(beam, id, score / penalty + barred), just_ended));
        }
        merged.sort_by(|a, b| b.0.score.total_cmp(&a.0.score));
        merged.truncate(beams);

        let mut next: Vec<(f32, usize, i32)> =
            all.iter().map(|&(score, beam, id)| (score + if ends(id) { IMPOSSIBLE } else { 0.0 }, beam, id)).collect();
        next.sort_by(|a, b| b.0.total_cmp(&a.0));
        next.truncate(beams);
        let stuck = all.iter().all(|&(_, _, id)| ends(id));
        let running: Vec<Hypothesis> = next.iter().map(|&(score, beam, id)| grown(beam, id, score)).collect();

        let best_possible = running.first().map_or(f32::NEG_INFINITY, |h| h.score / penalty);
        let worst = merged.iter().map(|(h, _)| h.score).fold(f32::INFINITY, f32::min);
        self.can_improve &= merged.iter().any(|&(_, finished)| best_possible > if finished { worst } else { IMPOSSIBLE });
        self.done = !self.can_improve || stuck;
        (self.finished, self.running) = (merged, running);
        next.iter().map(|&(_, beam, _)| beam).collect()
    }

    /// The best caption.
    pub fn result(self) -> Hypothesis {
        let (best, _) = self.finished.into_iter().next().unwrap_or((Hypothesis { ids: Vec::new(), score: IMPOSSIBLE }, false));
        best
    }
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
