//! One step of beam search or greedy search over several images, with all that the search knows in state: the host neither reads nor writes anything between
//! two tokens.
//!
//! Hugging Face's beam search (`generate`, early stopping off). Of B beams the 2 B best next tokens are kept, by `score = sum log p`; among equals those of the
//! lower beam, then of the lower id. Of those that are among the first B, the ones that end (by the end token, or because the caption is full) become finished
//! captions, scored `score / n^length_penalty` for n tokens; the B best finished ones stay, the earlier among equals. The B best that do not end run on, each from
//! its parent. An image is done when its best running beam cannot beat its worst finished caption any more, or all 2 B ended; then nothing of it changes.
//! Greedy search is one beam, whose tokens go by log p alone. It is done when the best of them ends: no other can beat it.
//!
//! * `log_probs` f32 and `tokens` i32 [R, K]: the most probable next tokens of R = images x B rows, falling, as of [`super::top_k`]; NaN counts as the smallest.
//!   K is 2 to 2 B + 1: the end token may have to be left out.
//! * `trellis` i32 [images, steps, B, 2]: for each step and beam the token, and the beam before the step that it was put behind. So a step writes 2 B
//!   numbers and copies no captions; they are read off backwards, see [`BeamStep::captions`].
//! * `scores` f32 [images, 2 B]: of the running beams, falling, then of the finished captions, falling.
//! * `status` i32 [images, 2 + 3 B]: whether it is done, steps taken, and for each finished caption its number of tokens, the running beam that it grew from,
//!   and its last token; no tokens where there is none yet, and its score is then [`IMPOSSIBLE`].
//! * `ids` i32 [R, 1], `parents` i32 \[R\]: what the decoder's next step reads: the last token of each running beam, and the row that its cache is taken from.
//!
//! n^length_penalty is computed on the host in f32, the same for all devices.
//!
//! Some hundred comparisons and bytes an image: bound by the launch.

mod cases;
mod step;

use super::{Kernel, Row};
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, Tensor, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("beam_step");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/order", "beam_step");

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("beam_step", head!("mod.rs"), cases::cases) };

/// The most beams of an image. A block of CUDA's holds the ranks of all their candidates, 33 KB.
pub const MOST_BEAMS: usize = 64;

/// What a place without a finished caption is scored as, and what is added to running beams that ended: finite, so that the order of hypotheses stays defined as
/// in Hugging Face's search.
pub const IMPOSSIBLE: f32 = -1e9;

/// The log-probability of the end token where the caption may not end: below all sums, even of impossible beams.
const BARRED: f32 = -1e30;

/// What the search knows; see the module. Inputs: log_probs, tokens, trellis, scores, status, ids, parents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamStep {
    /// Beams of an image; 1 is greedy search.
    pub beams: usize,
    /// The most tokens of a caption, and so the most steps; what stands before them, such as a prompt, is not counted.
    pub steps: usize,
    /// The fewest before the end token.
    pub least: usize,
    /// A finished caption's score is sum log p / (its tokens)^this.
    pub length_penalty: f32,
    /// The token that ends a caption.
    pub end: i32,
}

/// The state of a search: see the module.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// i32 [images, steps, B, 2]
    pub trellis: Value,
    /// f32 [images, 2 B]
    pub scores: Value,
    /// i32 [images, 2 + 3 B]
    pub status: Value,
    /// i32 [images x B, 1]
    pub ids: Value,
    /// i32 [images x B]
    pub parents: Value,
}

/// Appends a step on each row's most probable next tokens.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match, or there are no beams or more than [`MOST_BEAMS`]; [`crate::Error::Graph`] where what is updated is
/// not state.
pub fn beam_step(b: &mut Builder, step: BeamStep, log_probs: Value, tokens: Value, search: Search) -> Result<()> {
    let Search { trellis, scores, status, ids, parents } = search;
    b.apply(step, &[log_probs, tokens, trellis, scores, status, ids, parents]).map(drop)
}

impl BeamStep {
    /// How many of its most probable tokens each row should offer: twice the beams, and one that may have to be left out.
    pub fn width(&self) -> usize {
        2 * self.beams + 1
    }

    /// The types of trellis, scores and status.
    pub fn types(&self, images: usize) -> [TensorType; 3] {
        let beams = self.beams;
        [TensorType::i32([images, self.steps, beams, 2]), TensorType::f32([images, 2 * beams]), TensorType::i32([images, self.status()])]
    }

    /// Scores and status before the first step: the first beam of each image runs, the others begin as impossible.
    ///
    /// # Errors
    /// None that can happen.
    pub fn start(&self, images: usize) -> Result<[Tensor; 2]> {
        let mut scores = vec![IMPOSSIBLE; images * 2 * self.beams];
        scores.iter_mut().step_by(2 * self.beams).for_each(|first| *first = 0.0);
        Ok([Tensor::from_f32([images, 2 * self.beams], scores)?, Tensor::from_i32([images, self.status()], vec![0; images * self.status()])?])
    }

    /// True where every image's search is done.
    pub fn is_done(&self, status: &[i32]) -> bool {
        status.chunks(self.status()).all(|image| image[0] != 0)
    }

    /// Each image's best caption: tokens and score. None are the tokens where no caption was finished.
    pub fn captions(&self, trellis: &[i32], scores: &[f32], status: &[i32]) -> Vec<(Vec<i32>, f32)> {
        let each = trellis.chunks(2 * self.beams * self.steps).zip(scores.chunks(2 * self.beams)).zip(status.chunks(self.status()));
        let best = |((trellis, scores), status): ((&[i32], &[f32]), &[i32])| {
            let [count, beam, last] = [2, 3, 4].map(|i| status[i]);
            let mut tokens = Vec::new();
            if count > 0 {
                tokens = self.running(trellis, count as usize - 1, beam as usize);
                tokens.push(last);
            }
            (tokens, scores[self.beams])
        };
        each.map(best).collect()
    }

    /// The tokens of one image's running beam after so many steps, read off its trellis.
    pub fn running(&self, trellis: &[i32], steps: usize, beam: usize) -> Vec<i32> {
        let (mut tokens, mut at) = (Vec::with_capacity(self.steps), beam);
        for step in trellis.chunks(2 * self.beams).take(steps).rev() {
            tokens.push(step[2 * at]);
            at = step[2 * at + 1] as usize;
        }
        tokens.reverse();
        tokens
    }

    /// Numbers of an image's status.
    fn status(&self) -> usize {
        2 + 3 * self.beams
    }

    /// What the score of a caption of so many tokens is divided by.
    fn penalty(&self, tokens: usize) -> f32 {
        (tokens as f32).powf(self.length_penalty)
    }

    /// The bits of the penalties of all lengths.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn penalties(&self) -> impl Iterator<Item = u32> {
        (1..=self.steps).map(|tokens| self.penalty(tokens).to_bits())
    }

    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (beams, width) = (self.beams, args.shape(0)[1]);
        let (log_probs, tokens) = (args.floats(0)?.chunks(beams * width), args.ints(1)?.chunks(beams * width));
        let (trellis, scores, status) = (args.state_ints(2)?, args.state(3)?, args.state_ints(4)?);
        let (ids, parents) = (args.state_ints(5)?, args.state_ints(6)?);
        let state = trellis.chunks_mut(2 * beams * self.steps).zip(scores.chunks_mut(2 * beams)).zip(status.chunks_mut(self.status()));
        let next = ids.chunks_mut(beams).zip(parents.chunks_mut(beams));
        for (image, (((candidates, tokens), ((trellis, scores), status)), (ids, parents))) in log_probs.zip(tokens).zip(state).zip(next).enumerate() {
            let mut image = step::Image { first_row: image * beams, trellis, scores, status, ids, parents };
            self.advance(candidates, tokens, &mut image);
        }
        Ok(())
    }
}

impl Op for BeamStep {
    fn stem(&self) -> &'static str {
        "beam_step"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("beam_step");
        check.count(inputs, 7)?;
        check.that((1..=MOST_BEAMS).contains(&self.beams), "beams", format!("1 to {MOST_BEAMS}"), self.beams)?;
        check.that(self.steps > 0, "steps", "at least 1", self.steps)?;
        let log_probs = &inputs[0];
        check.float("log_probs", log_probs)?;
        check.rank("log_probs", log_probs, 2)?;
        let (rows, width) = log_probs.shape.rows_and_width();
        check.that((2..=self.width()).contains(&width), "log_probs", format!("2 to {} a row", self.width()), log_probs)?;
        check.that(rows.is_multiple_of(self.beams), "log_probs", format!("rows by {}", self.beams), log_probs)?;
        check.same("tokens", &inputs[1], &TensorType::new(DType::I32, log_probs.shape))?;
        for ((name, ty), expected) in ["trellis", "scores", "status"].into_iter().zip(&inputs[2..]).zip(self.types(rows / self.beams)) {
            check.that(ty.dtype.is_float() == expected.dtype.is_float(), name, expected, ty)?;
            check.shape(name, ty, &expected.shape)?;
        }
        check.same("ids", &inputs[5], &TensorType::i32([rows, 1]))?;
        check.same("parents", &inputs[6], &TensorType::i32([rows]))?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let row = TensorType::i32([inputs[6].len(), 2]);
        Cost::streaming(0, &[inputs[0], inputs[1], inputs[3], inputs[4]], &[row, inputs[3], inputs[4], inputs[5], inputs[6]])
    }

    fn updates(&self) -> Vec<usize> {
        (2..7).collect()
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let penalties = launch.table(self.penalties().map(|bits| bits as usize).collect());
        let tensors = [0, 1].map(cuda::Operand::Input).into_iter().chain([penalties]).chain((2..7).map(cuda::Operand::Input));
        let search = vec![self.beams, width, self.steps, self.least, self.end as u32 as usize];
        launch.add(cuda::Dispatch::new(&KERNELS, "beam_step_forward_f32").overlaps().tensors(tensors).structure(search).rows(rows / self.beams));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let (images, penalties) = (rows / self.beams, launch.table(self.penalties().collect()));
        let operands: Vec<Operand> = [0, 1].map(Operand::Input).into_iter().chain([penalties]).chain((2..7).map(Operand::Update)).collect();
        let dispatch = Dispatch::new(SHADER, "beam_step_forward_f32", operands).constant("MOST_BEAMS", format!("{MOST_BEAMS}u"));
        let dispatch = [images, self.beams, width, self.steps, self.least].into_iter().fold(dispatch, Dispatch::size);
        launch.add(dispatch.word(self.end as u32).rows(images));
        Ok(())
    }
}
