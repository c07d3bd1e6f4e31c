//! Beam search and greedy search as one would write them down: whole captions, copied at every step. What `beam_step` is compared with.

use escnet::graph::{Builder, Options, Segment, Session, StateKind, Store};
use escnet::ops::beam_step::{BeamStep, IMPOSSIBLE, Search, beam_step};
use escnet::{Device, Tensor, TensorType};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// Tokens and score.
#[derive(Debug, Clone, PartialEq)]
struct Hypothesis {
    tokens: Vec<i32>,
    score: f32,
}

/// One image's search, with the semantics of Hugging Face's `generate` (early stopping off).
#[derive(Debug, Clone)]
struct BeamSearch {
    options: BeamStep,
    running: Vec<Hypothesis>,
    finished: Vec<(Hypothesis, bool)>,
    can_improve: bool,
    done: bool,
}

impl BeamSearch {
    fn new(options: BeamStep) -> Self {
        let start = |score| Hypothesis { tokens: Vec::new(), score };
        let running = (0..options.beams).map(|i| start(if i == 0 { 0.0 } else { IMPOSSIBLE })).collect();
        let finished = vec![(start(IMPOSSIBLE), false); options.beams];
        BeamSearch { options, running, finished, can_improve: true, done: false }
    }

    /// Takes each beam's candidates, falling; gives for each beam that runs on the one it came from.
    fn advance(&mut self, candidates: &[&[(f32, i32)]]) -> Vec<usize> {
        let BeamStep { beams, steps, least, length_penalty, end } = self.options;
        let length = self.running[0].tokens.len();
        let mut all: Vec<(f32, usize, i32)> = Vec::new();
        for (beam, next) in candidates.iter().enumerate() {
            let allowed = next.iter().filter(|(_, id)| *id != end || length >= least);
            all.extend(allowed.map(|&(log_p, id)| (self.running[beam].score + log_p, beam, id)));
        }
        if beams == 1 {
            return self.greedy(all[0]);
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        all.truncate(2 * beams);

        let grown = |beam: usize, id: i32, score| Hypothesis { tokens: [&self.running[beam].tokens[..], &[id]].concat(), score };
        let ends = |id: i32| id == end || length + 1 >= steps;
        let penalty = ((length + 1) as f32).powf(length_penalty);
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

        let best_possible = running[0].score / penalty;
        let worst = merged.iter().map(|(h, _)| h.score).fold(f32::INFINITY, f32::min);
        self.can_improve &= merged.iter().any(|&(_, finished)| best_possible > if finished { worst } else { IMPOSSIBLE });
        self.done = !self.can_improve || stuck;
        (self.finished, self.running) = (merged, running);
        next.iter().map(|&(_, beam, _)| beam).collect()
    }

    /// The best candidate, whatever ends: the first to end is the caption.
    fn greedy(&mut self, (score, _, id): (f32, usize, i32)) -> Vec<usize> {
        let BeamStep { steps, length_penalty, end, .. } = self.options;
        let running = &mut self.running[0];
        running.tokens.push(id);
        running.score = score;
        self.done = id == end || running.tokens.len() >= steps;
        if self.done {
            let score = score / (running.tokens.len() as f32).powf(length_penalty);
            self.finished[0] = (Hypothesis { tokens: running.tokens.clone(), score }, true);
        }
        vec![0]
    }

    /// The best caption.
    fn result(&self) -> &Hypothesis {
        &self.finished[0].0
    }
}

/// Whole searches over random candidates, step by step beside [`BeamSearch`].
pub fn searches(device: &Device) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(5);
    let plain = BeamStep { beams: 1, steps: 9, least: 0, length_penalty: 1.0, end: 2 };
    let settings = [
        plain,
        BeamStep { least: 4, length_penalty: 0.5, ..plain },
        BeamStep { beams: 2, steps: 1, ..plain },
        BeamStep { beams: 2, ..plain },
        BeamStep { beams: 3, least: 3, ..plain },
        BeamStep { beams: 3, length_penalty: 2.0, ..plain },
        BeamStep { beams: 4, length_penalty: -1.0, least: 2, ..plain },
        BeamStep { beams: 5, length_penalty: 0.0, steps: 20, ..plain },
    ];
    for step in settings {
        // All of a small vocabulary, or the most probable of a larger one; on a coarse grid many are equal.
        for (vocabulary, grain) in [(3, 0.5), (2 * step.beams + 1, 0.25), (40, 1e-6)] {
            let width = step.width().min(vocabulary);
            let row = || {
                let mut row: Vec<(f32, i32)> = (0..vocabulary as i32).map(|id| ((-3.0 * rng.random::<f32>() / grain).floor() * grain, id)).collect();
                row.sort_by(|a, b| b.0.total_cmp(&a.0));
                row.truncate(width);
                row
            };
            let outcome = search(device, step, width, row).unwrap_or_else(|e| Err(e.to_string()));
            outcome.map_err(|e| format!("{step:?}, {vocabulary} tokens: {e}"))?;
        }
    }
    Ok(())
}

/// One search over four images, which are done at different times, and two steps more.
fn search(device: &Device, step: BeamStep, width: usize, mut row: impl FnMut() -> Vec<(f32, i32)>) -> escnet::Result<Result<(), String>> {
    const IMAGES: usize = 4;
    let (beams, rows, types) = (step.beams, IMAGES * step.beams, step.types(IMAGES));
    let mut b = Builder::new();
    let (log_probs, tokens) = (b.input("log_probs", TensorType::f32([rows, width]))?, b.input("tokens", TensorType::i32([rows, width]))?);
    let mut state = |name, ty| b.global_state(name, ty, StateKind::Control);
    let [trellis, scores, status] = [state("trellis", types[0])?, state("scores", types[1])?, state("status", types[2])?];
    let (ids, parents) = (state("ids", TensorType::i32([rows, 1]))?, state("parents", TensorType::i32([rows]))?);
    beam_step(&mut b, step, log_probs, tokens, Search { trellis, scores, status, ids, parents })?;
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    let [scores, status] = step.start(IMAGES)?;
    store.write("scores", &scores)?;
    store.write("status", &status)?;
    let mut expected = vec![BeamSearch::new(step); IMAGES];
    for taken in 1..=step.steps + 2 {
        let candidates: Vec<Vec<(f32, i32)>> = (0..rows).map(|_| row()).collect();
        let (log_probs, tokens) = candidates.iter().flatten().copied().unzip();
        session.write("log_probs", &Tensor::from_f32([rows, width], log_probs)?)?;
        session.write("tokens", &Tensor::from_i32([rows, width], tokens)?)?;
        session.run(&mut store, Segment::Run)?;
        let mut ints = |name: &str| store.read(name).map(|t| t.as_i32().unwrap_or_default().to_vec());
        let (trellis, status, ids, parents) = (ints("trellis")?, ints("status")?, ints("ids")?, ints("parents")?);
        let scores = store.read("scores")?.to_f32();
        let captions = step.captions(&trellis, &scores, &status);
        for (image, (search, (tokens, score))) in expected.iter_mut().zip(captions).enumerate() {
            let first = image * beams;
            if !search.done {
                let of_image: Vec<&[(f32, i32)]> = candidates[first..first + beams].iter().map(Vec::as_slice).collect();
                let from = search.advance(&of_image);
                let trellis = &trellis[image * step.steps * beams * 2..];
                // Nobody reads how a greedy search would run on.
                for (beam, hypothesis) in search.running.iter().enumerate().filter(|_| beams > 1 || !search.done) {
                    let (row, found) = (first + beam, step.running(trellis, taken, beam));
                    let is_next = ids[row] == hypothesis.tokens[taken - 1] && parents[row] == (first + from[beam]) as i32;
                    if found != hypothesis.tokens || scores[2 * first + beam] != hypothesis.score || !is_next {
                        let got = (found, scores[2 * first + beam], ids[row], parents[row]);
                        return Ok(Err(format!("step {taken}, image {image}, beam {beam}: expected {hypothesis:?} from {from:?}, got {got:?}")));
                    }
                }
            }
            let wanted = search.result();
            // WGSL leaves the last bits of a quotient open.
            let error = if device.describe().starts_with("wgpu") { 3e-7 * wanted.score.abs() } else { 0.0 };
            let is_done = step.is_done(&status[image * (status.len() / IMAGES)..][..status.len() / IMAGES]);
            if is_done != search.done || tokens != wanted.tokens || (score - wanted.score).abs() > error {
                return Ok(Err(format!("step {taken}, image {image}: expected {search:?}, got done: {is_done}, {tokens:?}, {score}")));
            }
        }
    }
    Ok(if expected.iter().all(|search| search.done) { Ok(()) } else { Err("not all are done".to_owned()) })
}
