//! The training loop: batches in, steps, validation, checkpoints.
//!
//! A run is a function of its configuration, its pictures and its first weights. Whatever it is interrupted by, it goes on from its last
//! checkpoint and ends with the same bits.

use super::checkpoint::{Best, Checkpoints, Progress, read_progress, restore};
use super::config::{Decay, Keep, OptimizerKind, StageConfig};
use super::folder::{self, MODEL};
use super::judge::{Judge, hits, write};
use super::logs::Logs;
use super::sampler::Sampler;
use super::schedule::{Schedule, steps};
use super::step::{DENOMINATOR, INITIAL_LOSS_SCALE, LEARNING_RATE, LOSS_SCALE, Optimizer, STEP, Step, StepOptions, build};
use super::task::{Goal, Task};
use super::watch::{Now, Watch};
use crate::data::augment::Augment;
use crate::data::pipeline::{Batch, Pipeline, PipelineOptions};
use crate::data::preprocess::Preprocess;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Options, Segment, Session, StateKind, Store, prepare};
use crate::model::config::EscnetConfig;
use crate::model::escnet::Trained;
use crate::model::layers::CONTROL;
use crate::ops::rules;
use crate::tensor::{DType, Tensor};
use crate::weights::{Source, load, manifest, weight_source};
use std::collections::HashSet;
use std::iter::Peekable;
use std::path::PathBuf;
use std::time::Instant;

/// Everything a training needs.
#[derive(Debug, Clone)]
pub struct Job {
    /// The run's folder. `model` in it is the model that is trained: its first weights before the first step.
    pub dir: PathBuf,
    /// What to call it.
    pub title: String,
    /// The model.
    pub config: EscnetConfig,
    /// How it is trained.
    pub stage: StageConfig,
    /// For so many epochs fusion and head are trained alone.
    pub head_epochs: f64,
    /// Another number, other orders, crops and drops.
    pub seed: u64,
    /// What is learnt from.
    pub train: Task,
    /// What the best weights are told by.
    pub val: Option<Task>,
    /// The ids of the pictures that are learnt from, sorted.
    pub trained_on: Vec<String>,
    /// Threads that decode.
    pub workers: usize,
    /// Batches made ahead.
    pub prefetch: usize,
    /// Tells this run from one of other settings or pictures.
    pub identity: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps were taken, or validation grew no better.
    Finished,
    /// It was asked to stop, and saved its state.
    Stopped,
}

/// A run at work.
pub struct Trainer {
    job: Job,
    store: Store,
    session: Session,
    trained: Trained,
    parameters: Vec<String>,
    judge: Option<Judge>,
    pipeline: Pipeline,
    sampler: Sampler,
    schedule: Schedule,
    per_epoch: u64,
    progress: Progress,
    checkpoints: Checkpoints,
    logs: Logs,
}

impl Trainer {
    /// Builds a run, or takes up the one that its folder holds.
    ///
    /// # Errors
    /// [`Error::Argument`] where a task has too few pictures; [`Error::Config`] where the folder holds a run of other settings; those of the model.
    pub fn new(job: Job, device: &Device) -> Result<Self> {
        let stage = &job.stage;
        let per_step = stage.batch * stage.accumulate;
        job.train.check(per_step)?;
        let per_epoch = (job.train.pictures.len() / per_step) as u64;
        let checkpoints = Checkpoints::at(job.dir.join("checkpoint"));
        folder::make(&job.dir.join("checkpoint"))?;
        let found = checkpoints.newest()?;
        let mut progress = Progress { identity: job.identity.clone(), ..Progress::default() };
        if let Some(path) = &found {
            progress = read_progress(path)?;
            if progress.identity != job.identity {
                let (expected, got) = ("the settings, pictures and captions the run began with", "others");
                return Err(Error::config(path, "identity", expected, got));
            }
        }
        let weights = load(&manifest(&job.config)?, &[Source::whole(job.dir.join(MODEL))])?;
        let mut store = Store::with_source(device, weight_source(weights));
        // The phase of the last step: what the checkpoint holds. The next phase is entered as in a run without a break.
        let trained = trained(&job, progress.step.saturating_sub(1), per_epoch);
        let (session, parameters) = session(&job, trained, &mut store)?;
        let pipeline = |task: &Task, augment: Augment| -> Result<Pipeline> {
            let input = preprocess(&job, task.goal)?;
            let options = PipelineOptions { workers: job.workers, prefetch: job.prefetch, seed: job.seed, ..PipelineOptions::default() };
            Pipeline::new(task.pictures.clone(), input, augment, options)
        };
        let judge = match &job.val {
            Some(task) => {
                let rows = stage.batch.min(task.pictures.len());
                let dtype = compute(stage);
                Some(Judge::new(&job.config, task.clone(), pipeline(task, Augment::default())?, rows, dtype, &mut store)?)
            }
            None => None,
        };
        match &found {
            Some(path) => progress = restore(path, &mut store)?,
            None if store.contains(LOSS_SCALE) => store.write(LOSS_SCALE, &Tensor::from_f32([1], vec![INITIAL_LOSS_SCALE])?)?,
            None => {}
        }
        let logs = Logs::open(&job.dir, progress.step)?;
        Ok(Trainer {
            sampler: Sampler::new(&job.train.labels, stage.sampling, job.seed),
            schedule: Schedule::new(stage, per_epoch),
            pipeline: pipeline(&job.train, stage.augment.clone())?,
            job,
            store,
            session,
            trained,
            parameters,
            judge,
            per_epoch,
            progress,
            checkpoints,
            logs,
        })
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Trains to the end, or until `watch` says to stop.
    ///
    /// # Errors
    /// [`Error::Diverged`] after too many steps in a row that are not finite; those of the pipeline, the session and the files. The last checkpoint
    /// stays whole.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<Ended> {
        let all = self.schedule.steps();
        watch.begin(&self.job.title, self.progress.step, all);
        while self.progress.step < all && !self.progress.finished {
            let step = self.progress.step;
            let epoch = step / self.per_epoch;
            let end = all.min((epoch + 1) * self.per_epoch);
            self.enter_phase(step)?;
            let (batch, accumulate) = (self.job.stage.batch, self.job.stage.accumulate);
            let first = (step % self.per_epoch) as usize * accumulate;
            // Where other parts are trained is another session.
            let until = (step + 1..end).find(|&step| trained(&self.job, step, self.per_epoch) != self.trained).unwrap_or(end);
            let mut batches = self.pipeline.epoch(epoch, self.sampler.order(epoch), batch, first);
            let none = || Err(Error::graph("pipeline", "a batch", "the end of the epoch"));
            let micro = move |_| (0..accumulate).map(|_| batches.next().unwrap_or_else(none)).collect();
            let mut steps = (step..until).map(micro).peekable();
            let mut begun = Instant::now();
            if let Some(first) = first_of(&mut steps) {
                self.feed(first)?;
            }
            while let Some(micro) = steps.next() {
                self.step(&micro?, begun, watch, &mut steps)?;
                // What belongs to the end of an epoch comes before a stop there.
                if self.progress.step == until {
                    break;
                }
                let every = self.job.stage.checkpoint_steps;
                let due = every > 0 && self.progress.step.is_multiple_of(every) && self.progress.skipped_in_a_row == 0;
                let stop = watch.stop();
                if due || stop {
                    self.save()?;
                }
                if stop {
                    return Ok(Ended::Stopped);
                }
                begun = Instant::now();
            }
            drop(steps);
            if self.progress.step == end {
                self.end_epoch(all, watch)?;
                if watch.stop() {
                    return Ok(Ended::Stopped);
                }
            }
        }
        self.finish(watch)?;
        Ok(Ended::Finished)
    }

    /// Writes a micro-batch's inputs.
    fn feed(&mut self, batch: &Batch) -> Result<()> {
        write(&mut self.session, &self.job.train, &batch.pixels, &batch.indices, self.job.stage.batch)
    }

    /// One optimizer step of these micro-batches, begun at `begun`. The inputs of the first are written; while a GPU computes each of them, those of the next
    /// are, behind the last those of the step that follows, where there is one.
    fn step(&mut self, micro: &[Batch], begun: Instant, watch: &mut dyn Watch, following: &mut Peekable<impl Iterator<Item = Micro>>) -> Result<()> {
        let (step, rows) = (self.progress.step, self.job.stage.batch);
        let counted: usize = micro.iter().map(|m| self.job.train.counted(&m.indices)).sum();
        let rate = self.schedule.rate(step);
        let rates: Vec<f32> = std::iter::once(1.0).chain(self.job.stage.groups.iter().map(|g| g.factor)).map(|f| (rate * f) as f32).collect();
        self.store.write(LEARNING_RATE, &Tensor::from_f32([rates.len()], rates)?)?;
        self.store.write(DENOMINATOR, &Tensor::scalar(counted as f32))?;
        let (mut loss, mut right) = (0.0, 0);
        for (i, batch) in micro.iter().enumerate() {
            self.logs.broken(&batch.broken)?;
            let [low, high] = [self.job.seed as u32, (self.job.seed >> 32) as u32];
            let control = [low as i32, high as i32, step as i32, i as i32];
            self.store.write(CONTROL, &Tensor::from_i32([4], control.to_vec())?)?;
            self.session.run(&mut self.store, Segment::Run)?;
            if let Some(next) = micro.get(i + 1).or_else(|| first_of(following)) {
                self.feed(next)?;
            }
            loss += self.session.read("loss", &mut self.store)?.to_f32().first().map_or(f64::NAN, |&x| f64::from(x));
            right += hits(&self.session, &self.job.train, &batch.indices, rows, &mut self.store)?;
        }
        if !loss.is_finite() {
            self.poison()?;
        }
        self.session.run(&mut self.store, Segment::Apply)?;
        let number = |t: Tensor| t.to_f32().first().map_or(f64::NAN, |&x| f64::from(x));
        let grad_norm = number(self.session.read("grad_norm", &mut self.store)?);
        let finite = self.session.read("finite", &mut self.store)?.as_i32() == Some(&[1][..]);
        let p = &mut self.progress;
        p.step += 1;
        p.skipped += u64::from(!finite);
        p.skipped_in_a_row = if finite { 0 } else { p.skipped_in_a_row + 1 };
        if p.skipped_in_a_row > 0 && p.skipped_in_a_row >= self.job.stage.max_skipped {
            return Err(Error::Diverged { step: p.step, skipped: p.skipped_in_a_row });
        }
        let images: usize = micro.iter().map(|m| m.indices.len()).sum();
        let now = Now {
            step: p.step,
            epoch: p.step as f64 / self.per_epoch as f64,
            loss,
            accuracy: right as f64 / counted.max(1) as f64,
            rate,
            grad_norm,
            skipped: p.skipped,
            images_per_second: images as f64 / begun.elapsed().as_secs_f64(),
        };
        self.logs.step(&now)?;
        watch.step(&now);
        Ok(())
    }

    /// Makes the step one that changes nothing: a loss that is not finite must not pass even where the gradient happens to be.
    fn poison(&mut self) -> Result<()> {
        let Some(name) = self.parameters.first().map(|p| Step::gradient(p)) else { return Ok(()) };
        let mut gradient = self.store.read_f64(&name)?;
        gradient.fill(f64::NAN);
        self.store.write_f64(&name, &gradient)
    }

    /// Trains other parts from here on, where the phase says so: a new optimizer begins, its moments zero, and with it the averages.
    fn enter_phase(&mut self, step: u64) -> Result<()> {
        let wanted = trained(&self.job, step, self.per_epoch);
        if wanted == self.trained {
            return Ok(());
        }
        let (session, parameters) = session(&self.job, wanted, &mut self.store)?;
        let averages: HashSet<String> = parameters.iter().map(|p| Step::average(p)).collect();
        let moments: Vec<(String, usize)> = self
            .store
            .entries()
            .filter(|(n, _, k)| *k == StateKind::Moment && !averages.contains(*n))
            .map(|(n, t, _)| (n.to_owned(), t.len()))
            .collect();
        for (name, len) in moments {
            self.store.write_f64(&name, &vec![0.0; len])?;
        }
        self.store.write(STEP, &Tensor::from_i32([1], vec![0])?)?;
        (self.session, self.parameters, self.trained) = (session, parameters, wanted);
        Ok(())
    }

    /// Judges, keeps the best, saves.
    fn end_epoch(&mut self, all: u64, watch: &mut dyn Watch) -> Result<()> {
        let epoch = self.progress.step as f64 / self.per_epoch as f64;
        let better = match self.judge.take() {
            Some(mut judge) => {
                let judged = self.with_average(|t| judge.run(&mut t.store));
                self.judge = Some(judge);
                let judged = judged?;
                let better = match (&self.progress.best, self.job.train.goal) {
                    (None, _) => true,
                    (Some(best), Goal::Caption) => judged.loss < best.loss,
                    (Some(best), Goal::Classify) => (judged.accuracy, -judged.loss) > (best.accuracy, -best.loss),
                };
                if better {
                    self.progress.best = Some(Best { step: self.progress.step, loss: judged.loss, accuracy: judged.accuracy });
                    self.progress.stale = 0;
                } else {
                    self.progress.stale += 1;
                }
                self.logs.judged(self.progress.step, epoch, &judged)?;
                watch.judged(epoch, &judged, better);
                better
            }
            None => true,
        };
        if better || self.job.stage.keep == Keep::Last {
            self.write_model()?;
        }
        let patience = self.job.stage.patience;
        self.progress.finished = self.progress.step >= all || (patience > 0 && self.progress.stale >= patience);
        if self.progress.finished && self.progress.step < all {
            watch.note(&format!("{}: {patience} validations without a better one; ends at step {}", self.job.title, self.progress.step));
        }
        self.save()
    }

    fn save(&mut self) -> Result<()> {
        self.logs.flush()?;
        self.checkpoints.write(&mut self.store, &self.progress)
    }

    /// Does something with the moving averages in the weights' place, where there are any.
    fn with_average<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        // Averages begin with the first update.
        if self.job.stage.ema == 0.0 || self.store.read(STEP)?.as_i32() == Some(&[0][..]) {
            return work(self);
        }
        let mut own = Vec::with_capacity(self.parameters.len());
        for name in self.parameters.clone() {
            own.push((name.clone(), self.store.read(&name)?));
            let average = self.store.read(&Step::average(&name))?;
            self.store.write(&name, &average)?;
        }
        let result = work(self);
        for (name, tensor) in own {
            self.store.write(&name, &tensor)?;
        }
        result
    }

    /// Writes the weights to the model folder.
    fn write_model(&mut self) -> Result<()> {
        let model = self.job.dir.join(MODEL);
        // What the step's graphs do not hold is as it was.
        let rest = load(&manifest(&self.job.config)?, &[Source::whole(&model)])?;
        let rest = weight_source(rest);
        self.with_average(|t| {
            let config = t.job.config.clone();
            folder::write_weights(&model, &config, &mut t.store, |store, name| {
                if store.contains(name) { store.read(name) } else { rest(name)?.ok_or_else(|| Error::graph(name, "a tensor of the model", "none")) }
            })
        })?;
        Ok(())
    }

    fn finish(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let stage = match self.job.train.goal {
            Goal::Caption => "captioner",
            Goal::Classify => "classifier",
        };
        folder::note_training(&self.job.dir.join(MODEL), stage, &self.job.trained_on)?;
        self.logs.flush()?;
        self.logs.draw(&self.job.title)?;
        if let Some(best) = self.progress.best {
            watch.note(&format!(
                "{}: best validation after step {}: loss {:.4}, accuracy {:.2}%",
                self.job.title,
                best.step,
                best.loss,
                100.0 * best.accuracy
            ));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("job", &self.job.title).field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// A step's micro-batches, or why there are none.
type Micro = Result<Vec<Batch>>;

/// The micro-batch that comes next. An error is left to whoever takes the step.
fn first_of(steps: &mut Peekable<impl Iterator<Item = Micro>>) -> Option<&Batch> {
    steps.peek()?.as_ref().ok()?.first()
}

/// Which parts the step trains.
fn trained(job: &Job, step: u64, per_epoch: u64) -> Trained {
    let head_only = step < steps(job.head_epochs, per_epoch);
    let frozen = |part: &str| job.stage.groups.iter().find(|g| part.starts_with(&g.prefix)).is_some_and(|g| g.frozen);
    Trained { backbone: !head_only && !frozen("backbone."), text_encoder: !head_only && !frozen("text_encoder."), fusion: !frozen("fusion.") }
}

/// The session of a step, and the parameters it trains.
fn session(job: &Job, trained: Trained, store: &mut Store) -> Result<(Session, Vec<String>)> {
    let stage = &job.stage;
    let groups = &stage.groups;
    let found = |name: &str| groups.iter().position(|g| name.starts_with(&g.prefix));
    let o = &stage.optimizer;
    let options = StepOptions {
        optimizer: match o.kind {
            OptimizerKind::AdamW => Optimizer::AdamW { betas: o.betas, eps: o.eps },
            OptimizerKind::Sgd => Optimizer::Sgd { momentum: o.momentum, nesterov: o.nesterov },
        },
        weight_decay: o.weight_decay,
        clip_norm: Some(stage.clip_norm).filter(|&c| c > 0.0),
        ema: Some(stage.ema).filter(|&d| d > 0.0),
        loss_scale: compute(stage) == DType::F16,
        groups: 1 + groups.len(),
        group: &|name| found(name).map_or(0, |i| i + 1),
        frozen: &|name| found(name).and_then(|i| groups.get(i)).is_some_and(|g| g.frozen),
        decayed: &|_, shape| o.decay == Decay::All || shape.rank() >= 2,
        ..StepOptions::default()
    };
    let step = build(&job.config, job.train.stage(stage.batch, trained), &options)?;
    let graph = prepare(step.graph, &rules(), compute(stage))?;
    Ok((Session::new(graph, store, Options::default())?, step.parameters))
}

fn compute(stage: &StageConfig) -> DType {
    stage.compute().unwrap_or(DType::F32)
}

/// The stage's preparation of pictures, with the model's own statistics.
fn preprocess(job: &Job, goal: Goal) -> Result<Preprocess> {
    let input = match goal {
        Goal::Caption => Preprocess::caption(job.config.captioner.vision_config.image_size)?,
        Goal::Classify => Preprocess::classify(job.config.image_size)?,
    };
    input.with_file(job.dir.join(MODEL).join("preprocessor.json"))
}
