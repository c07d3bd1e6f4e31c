//! What the step is tested and measured on. Log-probabilities lie on a grid, so that sums are exact in f32 and equal ones are so everywhere.

use super::{BeamStep, IMPOSSIBLE, Search, beam_step};
use crate::ops::support::case::{Case, Fill};
use crate::tensor::TensorType;

/// The token that ends a caption.
const END: i32 = 9;
const NONE: f64 = IMPOSSIBLE as f64;

/// One case in the making.
#[derive(Clone)]
struct Setting {
    step: BeamStep,
    images: usize,
    /// Candidates of a row, and how many steps are made with them.
    width: usize,
    repeats: usize,
    log_probs: Vec<f64>,
    tokens: Vec<i32>,
    scores: Vec<f64>,
    status: Vec<i32>,
}

impl Setting {
    /// Captions of up to 6 tokens, of which 3 to 5 are there; running beams apart by a half, and half of the finished captions there.
    fn new(images: usize, beams: usize) -> Self {
        let step = BeamStep { beams, steps: 6, least: 0, length_penalty: 1.0, end: END };
        let scores = |image: usize| {
            let running = (0..beams).map(move |i| -2.0 - 0.5 * i as f64 - image as f64);
            running.chain((0..beams).map(move |i| if 2 * i < beams { -1.5 - i as f64 } else { NONE }))
        };
        let slots = |image: usize| {
            let there = move |i: usize| if 2 * i < beams { [1 + (i % 2) as i32, (i % beams) as i32, END] } else { [0; 3] };
            [0, 3 + image as i32 % 3].into_iter().chain((0..beams).flat_map(there))
        };
        let width = step.width();
        let setting = Setting {
            step,
            images,
            width,
            repeats: 1,
            log_probs: Vec::new(),
            tokens: Vec::new(),
            scores: (0..images).flat_map(scores).collect(),
            status: (0..images).flat_map(slots).collect(),
        };
        setting.candidates(width, |row, i| (row * 17 + i * 7) % 131)
    }

    /// Before the first step.
    fn start(images: usize, beams: usize) -> Self {
        let scores = (0..images * 2 * beams).map(|i| if i % (2 * beams) == 0 { 0.0 } else { NONE }).collect();
        Setting { scores, status: vec![0; images * (2 + 3 * beams)], ..Self::new(images, beams) }
    }

    /// So many candidates a row, with these tokens; log-probabilities fall by sixteenths, and some are equal.
    fn candidates(self, width: usize, token: impl Fn(usize, usize) -> usize) -> Self {
        let each = || (0..self.images * self.step.beams).flat_map(move |row| (0..width).map(move |i| (row, i)));
        let log_probs = each().map(|(row, i)| -0.25 - ((row * 5 + i * i) / 3) as f64 / 16.0).collect();
        Setting { width, log_probs, tokens: each().map(|(row, i)| token(row, i) as i32).collect(), ..self }
    }

    /// The same with scores as a model gives them: on no grid, falling by 0.05 to 0.45 from one candidate to the next.
    fn off_grid(self) -> Self {
        let spread = |i: usize| (i as f64 * 0.618_033_988_749_895).fract();
        let fallen = |row: usize, i: usize| (0..=i).map(|j| 0.05 + 0.4 * spread(row * 31 + j * 7 + 1)).sum::<f64>();
        let log_probs = (0..self.images * self.step.beams).flat_map(|row| (0..self.width).map(move |i| -fallen(row, i))).collect();
        let scores = self.scores.iter().enumerate().map(|(i, &score)| if score == NONE || score == 0.0 { score } else { score - 0.1 * spread(i + 1) }).collect();
        Setting { log_probs, scores, ..self }
    }

    fn with(mut self, set: impl Fn(&mut BeamStep)) -> Self {
        set(&mut self.step);
        self
    }

    /// The same with these rows of candidates.
    fn of<const K: usize>(self, rows: &[[(f64, i32); K]]) -> Self {
        let (log_probs, tokens) = rows.iter().flatten().copied().unzip();
        Setting { width: K, log_probs, tokens, ..self }
    }

    fn case(self, name: &str) -> Case {
        let Setting { step, images, width, repeats, log_probs, tokens, scores, status } = self;
        let case = Case::new(name, move |b, v| {
            let search = Search { trellis: v[2], scores: v[3], status: v[4], ids: v[5], parents: v[6] };
            (0..repeats).try_for_each(|_| beam_step(b, step, v[0], v[1], search)).map(|()| Vec::new())
        });
        let (rows, types) = (images * step.beams, step.types(images));
        let case = case.fixed("log_probs", [rows, width], Fill::Values(log_probs)).ints("tokens", [rows, width], Fill::Exact(tokens));
        let case = case.state("trellis", types[0], Fill::Ints(-9, 0)).state("scores", types[1], Fill::Values(scores));
        let case = case.state("status", types[2], Fill::Exact(status)).state("ids", TensorType::i32([rows, 1]), Fill::Exact(vec![-1; rows]));
        case.state("parents", TensorType::i32([rows]), Fill::Exact(vec![-1; rows]))
    }

    /// What must be there after the step.
    fn gives(self, name: &str, scores: &[f64], status: &[i32], ids: &[i32], parents: &[i32]) -> Case {
        let numbers = |ints: &[i32]| ints.iter().map(|&i| i.into()).collect();
        let case = self.case(name).expects("scores", scores.to_vec()).expects("status", numbers(status));
        case.expects("ids", numbers(ids)).expects("parents", numbers(parents))
    }
}

pub(super) fn cases() -> Vec<Case> {
    let two = Setting { scores: vec![-1.0, -2.0, NONE, NONE], status: vec![0, 1, 0, 0, 0, 0, 0, 0], ..Setting::new(1, 2) };
    let second = [(-0.5, 7), (-1.0, END), (-1.5, 3), (-2.0, 4), (-3.0, 5)];
    let going_on = two.clone().of(&[[(-1.0, 3), (-2.0, END), (-3.0, 4), (-4.0, 5), (-5.0, 6)], second]);
    let ending = two.clone().of(&[[(-1.0, END), (-2.0, 3), (-3.0, 4), (-4.0, 5), (-5.0, 6)], second]);
    // A caption of two tokens at -1 a token, that no beam comes up to.
    let beaten = Setting { scores: vec![-4.0, -5.0, -1.0, -1.5], status: vec![0, 1, 2, 0, END, 1, 1, END], ..going_on.clone() };
    let greedy = Setting { scores: vec![-1.0, NONE], status: vec![0, 1, 0, 0, 0], ..Setting::new(1, 1) };
    // The second comes before the first where sums are rounded.
    let rounded = Setting { scores: vec![-1e8, NONE], ..greedy.clone() }.of(&[[(-1.0, 7), (-1.5, 4), (-2.0, 3)]]);
    let one = [(-0.5, END), (-1.0, 4), (-2.0, 3)];
    // Both running beams have the same sums; the lower beam, then the lower id comes first.
    let tied = Setting { scores: vec![-2.0, -2.0, NONE, NONE], ..two.clone() }.of(&[[(-1.0, 8), (-1.0, 7), (-1.0, 6), (-1.0, 5), (-2.0, 2)]; 2]);
    let all_end = two.clone().of(&[[(-1.0, END), (-1.5, END)], [(-1.0, END), (-2.5, END)]]);
    let mixed = [[0, 3, 2, 1, END, 1, 2, END, 0, 0, 0], [1, 3, 2, 1, END, 1, 2, END, 0, 0, 0], [0, 5, 2, 1, END, 1, 2, END, 0, 0, 0]];
    let mixed = Setting { status: mixed.concat(), ..Setting::new(3, 3) };
    let done = Setting { status: vec![1, 1, 0, 0, 0, 0, 0, 0], ..going_on.clone() };
    let no_more = Setting { status: vec![0, 6, 0, 0, 0, 0, 0, 0], ..going_on.clone() };
    let wrong_count = Setting { status: vec![0, -1, 0, 0, 0, 0, 0, 0], ..going_on.clone() };
    let last = Setting { status: vec![0, 5, 0, 0, 0, 0, 0, 0], ..going_on.clone() };
    let (before, untouched) = ([-1.0, -2.0, NONE, NONE], [-1; 2]);
    vec![
        going_on.clone().gives("runs on", &[-2.0, -2.5, NONE, NONE], &[0, 2, 0, 0, 0, 0, 0, 0], &[3, 7], &[0, 1]),
        ending.clone().gives("one ends", &[-2.5, -3.0, -1.0, NONE], &[0, 2, 2, 0, END, 0, 0, 0], &[7, 3], &[1, 0]),
        ending.with(|s| s.least = 2).gives("may not end", &[-2.5, -3.0, NONE, NONE], &[0, 2, 0, 0, 0, 0, 0, 0], &[7, 3], &[1, 0]),
        beaten.gives("cannot improve", &[-5.0, -5.5, -1.0, -1.5], &[1, 2, 2, 0, END, 1, 1, END], &[3, 7], &[0, 1]),
        last.gives("the last step", &[NONE, NONE, -2.0 / 6.0, -2.5 / 6.0], &[1, 6, 6, 0, 3, 6, 1, 7], &[3, 7], &[0, 1]),
        all_end.gives("all end", &[NONE, NONE, -1.0, -1.25], &[1, 2, 2, 0, END, 2, 0, END], &[END, END], &[0, 0]),
        tied.gives("ties", &[-3.0, -3.0, NONE, NONE], &[0, 2, 0, 0, 0, 0, 0, 0], &[5, 6], &[0, 0]),
        done.gives("done", &before, &[1, 1, 0, 0, 0, 0, 0, 0], &untouched, &untouched),
        no_more.gives("no more steps", &before, &[0, 6, 0, 0, 0, 0, 0, 0], &untouched, &untouched),
        wrong_count.gives("a count that is none", &before, &[0, -1, 0, 0, 0, 0, 0, 0], &untouched, &untouched),
        greedy.clone().of(&[one]).gives("greedy ends", &[-2.0, -0.75], &[1, 2, 2, 0, END], &[4], &[0]),
        greedy.clone().of(&[one]).with(|s| s.least = 2).gives("greedy may not end", &[-2.0, NONE], &[0, 2, 0, 0, 0], &[4], &[0]),
        rounded.gives("greedy by log p", &[-1e8, NONE], &[0, 2, 0, 0, 0], &[7], &[0]),
        Setting { repeats: 4, ..greedy.clone().of(&[[(-0.5, 4), (-1.0, END), (-2.0, 3)]]) }.case("greedy, steps"),
        Setting { repeats: 9, ..Setting::start(3, 4) }.with(|s| s.least = 2).case("9 steps of 6 from the start"),
        Setting { repeats: 2, ..Setting::start(2, 3).candidates(7, |row, i| (row + i) % 11 + 4) }.case("ends of several beams"),
        mixed.case("one of three is done, one at its last step"),
        Setting::new(5, 1).case("5 images, 1 beam"),
        Setting { repeats: 2, ..Setting::new(2, 16) }.case("2 images, 16 beams"),
        Setting::new(1, 64).case("64 beams"),
        Setting { repeats: 3, ..Setting::new(2, 4).candidates(2, |row, i| 8 + (row + i) % 2) }.case("2 tokens in all"),
        Setting::new(2, 3).with(|s| s.length_penalty = 0.0).case("no length penalty"),
        Setting::new(2, 3).with(|s| s.length_penalty = 2.5).case("length penalty 2.5"),
        Setting::new(2, 3).with(|s| s.length_penalty = -1.0).case("length penalty -1"),
        Setting { repeats: 3, ..Setting::new(3, 4).off_grid() }.with(|s| s.length_penalty = 0.6).case("off the grid, 3 steps of 3 images, 4 beams"),
        Setting { repeats: 6, ..Setting::start(2, 5).off_grid() }.case("off the grid, from the start"),
        Setting { repeats: 3, ..Setting::new(3, 1).off_grid() }.case("off the grid, greedy"),
        Setting::new(0, 3).case("no images"),
        Setting::new(8, 3).case("8 images, 3 beams").large(),
    ]
}
