//! The step itself, of one image: the CPU's code, and the statement of what kernels do.

use super::{BARRED, BeamStep, IMPOSSIBLE};
use crate::device::cpu::Real;
use std::cmp::Ordering;

/// One image's part of the state.
pub(super) struct Image<'a, T> {
    /// The row of its first beam.
    pub first_row: usize,
    pub trellis: &'a mut [i32],
    pub scores: &'a mut [T],
    pub status: &'a mut [i32],
    pub ids: &'a mut [i32],
    pub parents: &'a mut [i32],
}

/// A token put behind a running beam.
#[derive(Clone, Copy)]
struct Grown<T> {
    /// What it is chosen by.
    key: T,
    score: T,
    beam: usize,
    token: i32,
    ends: bool,
}

/// The larger first, NaN last.
fn falling<T: Real>(a: T, b: T) -> Ordering {
    b.max(T::LOWEST).partial_cmp(&a.max(T::LOWEST)).unwrap_or(Ordering::Equal)
}

impl BeamStep {
    pub(super) fn advance<T: Real>(&self, log_probs: &[T], tokens: &[i32], image: &mut Image<T>) {
        let BeamStep { beams, steps, least, end, .. } = *self;
        let Some(taken) = usize::try_from(image.status[1]).ok().filter(|&taken| image.status[0] == 0 && taken < steps) else { return };
        let impossible = T::of(IMPOSSIBLE.into());
        let penalty = T::of(self.penalty(taken + 1).into());
        let (running, finished) = image.scores.split_at_mut(beams);
        let width = log_probs.len() / beams;
        let grow = |(candidate, (&log_p, &token)): (usize, (&T, &i32))| {
            let beam = candidate / width;
            let log_p = if token == end && taken < least { T::of(BARRED.into()) } else { log_p };
            let score = running[beam] + log_p;
            // Sums may be rounded to one number where log p differs.
            Grown { key: if beams == 1 { log_p } else { score }, score, beam, token, ends: token == end || taken + 1 == steps }
        };
        let mut best: Vec<Grown<T>> = log_probs.iter().zip(tokens).enumerate().map(grow).collect();
        best.sort_by(|a, b| falling(a.key, b.key).then((a.beam, a.token).cmp(&(b.beam, b.token))));
        best.truncate(2 * beams);

        let slots = &mut image.status[2..];
        let mut captions: Vec<(T, [i32; 3])> = finished.iter().zip(slots.chunks(3)).map(|(&score, slot)| (score, [slot[0], slot[1], slot[2]])).collect();
        let ended = best.iter().take(beams).filter(|g| g.ends);
        captions.extend(ended.map(|g| (g.score / penalty, [taken as i32 + 1, g.beam as i32, g.token])));
        captions.sort_by(|a, b| falling(a.0, b.0));
        for ((score, slot), caption) in finished.iter_mut().zip(slots.chunks_mut(3)).zip(captions) {
            *score = caption.0;
            slot.copy_from_slice(&caption.1);
        }

        let stuck = best.iter().all(|g| g.ends);
        best.iter_mut().filter(|g| g.ends).for_each(|g| g.score += impossible);
        best.sort_by(|a, b| falling(a.score, b.score));
        for (beam, next) in best.iter().take(beams).enumerate() {
            let at = 2 * (taken * beams + beam);
            image.trellis[at..at + 2].copy_from_slice(&[next.token, next.beam as i32]);
            running[beam] = next.score;
            image.ids[beam] = next.token;
            image.parents[beam] = (image.first_row + next.beam) as i32;
        }
        let can_improve = running[0] / penalty > finished[beams - 1];
        image.status[0] = i32::from(stuck || !can_improve);
        image.status[1] = taken as i32 + 1;
    }
}
