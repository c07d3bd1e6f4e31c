//! Validation: a whole split, in inference mode, between steps. Sessions share the weights with training.

use super::step::IGNORED;
use super::task::{Goal, Task};
use crate::data::pipeline::{Batch, Pipeline};
use crate::error::{Error, Result};
use crate::graph::{Builder, Options, Segment, Session, Store, prepare};
use crate::model::captioner::captioner;
use crate::model::config::EscnetConfig;
use crate::model::escnet::classifier;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::reshape::reshape;
use crate::ops::rules;
use crate::ops::top_k::top_k;
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// How a model answers a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Mean cross-entropy of tokens or pictures, in nats; without smoothing or weights.
    pub loss: f64,
    /// Share of right answers: tokens predicted from the true ones before them, or pictures.
    pub accuracy: f64,
}

/// Judges a model by a split.
#[derive(Debug)]
pub struct Judge {
    session: Session,
    task: Task,
    pipeline: Pipeline,
    rows: usize,
}

impl Judge {
    /// Builds the session for `rows` pictures at a time.
    ///
    /// # Errors
    /// Those of the model's builders and of [`Session::new`].
    pub fn new(config: &EscnetConfig, task: Task, pipeline: Pipeline, rows: usize, dtype: DType, store: &mut Store) -> Result<Self> {
        let mut b = Builder::new();
        let (logits, name, answers) = match task.goal {
            Goal::Caption => {
                let answers = rows * task.length;
                let logits = captioner(&mut b, &config.captioner, rows, task.length, None)?.logits;
                (reshape(&mut b, logits, [answers, config.captioner.text_config.vocab_size])?, "lm_labels", answers)
            }
            Goal::Classify => (classifier(&mut b, config, rows, task.length, None)?.fused.logits, "labels", rows),
        };
        let labels = b.input(name, crate::tensor::TensorType::i32([answers]))?;
        // The sum, to be divided by what the whole split counts.
        let one = b.constant(Tensor::scalar(1.0));
        let loss = cross_entropy(&mut b, logits, labels, Some(one), 0.0, IGNORED)?;
        let (_, predicted) = top_k(&mut b, logits, 1)?;
        b.output("loss", loss);
        b.output("predicted", predicted);
        let graph = prepare(b.finish(), &rules(), dtype)?;
        let session = Session::new(graph, store, Options::default())?;
        Ok(Judge { session, task, pipeline, rows })
    }

    /// Goes through the split once.
    ///
    /// # Errors
    /// Those of the pipeline and of the session.
    pub fn run(&mut self, store: &mut Store) -> Result<Judged> {
        let order: Arc<[u32]> = (0..self.task.pictures.len() as u32).collect();
        let (mut loss, mut right, mut counted) = (0.0, 0, 0);
        let mut batches = self.pipeline.epoch(0, order, self.rows, 0);
        let mut next = self.feed(batches.next())?;
        while let Some(batch) = next {
            self.session.run(store, Segment::Run)?;
            // While a GPU computes this one.
            next = self.feed(batches.next())?;
            loss += self.session.read("loss", store)?.to_f32().first().map_or(f64::NAN, |&x| f64::from(x));
            right += hits(&self.session, &self.task, &batch.indices, self.rows, store)?;
            counted += self.task.counted(&batch.indices);
        }
        let counted = (counted as f64).max(1.0);
        Ok(Judged { loss: loss / counted, accuracy: right as f64 / counted })
    }

    /// Writes a batch's inputs, where there is one.
    fn feed(&mut self, batch: Option<Result<Batch>>) -> Result<Option<Batch>> {
        let batch = batch.transpose()?;
        if let Some(batch) = &batch {
            write(&mut self.session, &self.task, &batch.pixels, &batch.indices, self.rows)?;
        }
        Ok(batch)
    }
}

/// Writes a batch's inputs; pictures short of `rows` are filled up with black ones that do not count.
pub(super) fn write(session: &mut Session, task: &Task, pixels: &Tensor, indices: &[usize], rows: usize) -> Result<()> {
    if indices.len() == rows {
        session.write(task.picture_input(), pixels)?;
    } else {
        let mut dims = pixels.shape().to_vec();
        let mut values = pixels.to_f32();
        values.resize(values.len() / indices.len().max(1) * rows, 0.0);
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        session.write(task.picture_input(), &Tensor::from_f32(crate::tensor::Shape::new(&dims)?, values)?)?;
    }
    for (name, tensor) in task.inputs(indices, rows)? {
        session.write(name, &tensor)?;
    }
    Ok(())
}

/// How many of the session's `predicted` answers are right.
pub(super) fn hits(session: &Session, task: &Task, indices: &[usize], rows: usize, store: &mut Store) -> Result<usize> {
    let predicted = session.read("predicted", store)?;
    let inputs = task.inputs(indices, rows)?;
    let wanted = inputs.iter().find(|(name, _)| name.ends_with("labels")).map(|(_, t)| t);
    match (predicted.as_i32(), wanted.and_then(Tensor::as_i32)) {
        (Some(said), Some(wanted)) => Ok(said.iter().zip(wanted).filter(|(s, w)| s == w).count()),
        _ => Err(Error::graph("predicted", "integers", predicted.ty())),
    }
}
