//! What a stage learns: pictures, and for each of them the numbers it is to be answered with.

use super::step::{IGNORED, Stage};
use crate::error::{Error, Result};
use crate::model::escnet::Trained;
use crate::tensor::Tensor;
use std::path::PathBuf;
use std::sync::Arc;

/// Pictures with their targets, tokens included.
#[derive(Debug, Clone)]
pub struct Task {
    /// The files.
    pub pictures: Arc<[PathBuf]>,
    /// The class of each; what sampling balances by.
    pub labels: Vec<usize>,
    /// The captions' tokens, start and end included.
    pub captions: Vec<Vec<i32>>,
    /// A strength for each token, where the model highlights by a lexicon.
    pub affect: Option<Vec<Vec<f32>>>,
    /// What is learnt from them.
    pub goal: Goal,
    /// Tokens of a row of the batch.
    pub length: usize,
    /// The token that fills rows up.
    pub pad: i32,
}

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To say the caption.
    Caption,
    /// To name the class, the caption given.
    Classify,
}

impl Task {
    /// Rows are as long as the longest caption needs: a caption's last token predicts nothing.
    pub fn longest(goal: Goal, captions: &[Vec<i32>]) -> usize {
        let longest = captions.iter().map(Vec::len).max().unwrap_or(2);
        match goal {
            Goal::Caption => longest.max(2) - 1,
            Goal::Classify => longest.max(1),
        }
    }

    /// The step that learns it from so many pictures at once.
    pub fn stage(&self, batch: usize, trained: Trained) -> Stage {
        match self.goal {
            Goal::Caption => Stage::Caption { batch, length: self.length },
            Goal::Classify => Stage::Classify { batch, words: self.length, trained },
        }
    }

    /// The name of the input that takes the pictures.
    pub fn picture_input(&self) -> &'static str {
        match self.goal {
            Goal::Caption => "caption_image",
            Goal::Classify => "image",
        }
    }

    /// What the loss of these pictures is divided by: predicted tokens, or pictures.
    pub fn counted(&self, indices: &[usize]) -> usize {
        match self.goal {
            Goal::Caption => indices.iter().map(|&i| self.caption(i).len().saturating_sub(1).min(self.length)).sum(),
            Goal::Classify => indices.len(),
        }
    }

    /// The inputs beside the pictures, for `rows` rows; those beyond `indices` are filled so that they do not count.
    ///
    /// # Errors
    /// None that depends on the data.
    pub fn inputs(&self, indices: &[usize], rows: usize) -> Result<Vec<(&'static str, Tensor)>> {
        let length = self.length;
        let shape = [rows, length];
        let shift = usize::from(self.goal == Goal::Caption);
        let read = |i: usize| -> &[i32] {
            let caption = self.caption(i);
            &caption[..(caption.len() - shift.min(caption.len())).min(length)]
        };
        let ids = fill(indices.iter().map(|&i| read(i)), length, rows, self.pad);
        let ones = vec![1; length];
        let mask = fill(indices.iter().map(|&i| &ones[..read(i).len()]), length, rows, 0);
        let mut inputs = Vec::with_capacity(4);
        match self.goal {
            Goal::Caption => {
                let next = fill(indices.iter().map(|&i| self.caption(i).get(1..=read(i).len()).unwrap_or_default()), length, rows, IGNORED);
                inputs.push(("lm_ids", Tensor::from_i32(shape, ids)?));
                inputs.push(("lm_mask", Tensor::from_i32(shape, mask)?));
                inputs.push(("lm_labels", Tensor::from_i32([rows * length], next)?));
            }
            Goal::Classify => {
                inputs.push(("caption_ids", Tensor::from_i32(shape, ids)?));
                inputs.push(("caption_mask", Tensor::from_i32(shape, mask)?));
                let labels = indices.iter().map(|&i| self.labels[i] as i32).chain(std::iter::repeat(IGNORED)).take(rows).collect();
                inputs.push(("labels", Tensor::from_i32([rows], labels)?));
                if let Some(affect) = &self.affect {
                    let strengths = fill(indices.iter().map(|&i| affect[i].as_slice()), length, rows, 0.0);
                    inputs.push(("word_affect", Tensor::from_f32(shape, strengths)?));
                }
            }
        }
        Ok(inputs)
    }

    fn caption(&self, i: usize) -> &[i32] {
        self.captions.get(i).map_or(&[], Vec::as_slice)
    }

    /// Refuses a task that has too few pictures for a step, or whose lists differ in length.
    ///
    /// # Errors
    /// [`Error::Argument`] then.
    pub fn check(&self, per_step: usize) -> Result<()> {
        let n = self.pictures.len();
        if n < per_step {
            return Err(Error::Argument {
                name: "batch",
                expected: format!("at most {n} pictures a step, all there are to learn from"),
                got: per_step.to_string(),
            });
        }
        let lengths = [self.labels.len(), self.captions.len(), self.affect.as_ref().map_or(n, Vec::len)];
        match lengths.into_iter().find(|&l| l != n) {
            Some(got) => Err(Error::Argument { name: "task", expected: format!("{n} targets, one a picture"), got: got.to_string() }),
            None => Ok(()),
        }
    }
}

/// Rows of one length, cut and filled up.
fn fill<'a, T: Copy + 'a>(parts: impl Iterator<Item = &'a [T]>, length: usize, rows: usize, with: T) -> Vec<T> {
    let mut all = Vec::with_capacity(rows * length);
    for (row, part) in (1..).zip(parts) {
        all.extend(part.iter().copied().take(length));
        all.resize(row * length, with);
    }
    all.resize(rows * length, with);
    all
}
