//! A golden model folder against a device: whatever is in it.

use super::{Comparison, Floor, compare};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Builder, Options, Segment, Session, Store, prepare};
use crate::infer::{Captioner, Generation};
use crate::model::captioner::captioner;
use crate::model::config::{EscnetConfig, Highlight};
use crate::model::escnet::{Trained, classifier};
use crate::model::layers::CONTROL;
use crate::ops::rules;
use crate::ops::softmax::softmax;
use crate::tensor::{DType, Tensor};
use crate::train::{self, DENOMINATOR, LEARNING_RATE, LOSS_SCALE, Optimizer, Stage, Step, StepOptions};
use crate::weights::layout::{from_file, to_file};
use crate::weights::{Source, WeightFile, load, manifest, weight_source};
use std::path::Path;
use std::sync::Arc;

/// The loss scale in f16: no gradient overflows by it, and no step is skipped.
const MODEST_SCALE: f32 = 1024.0;

/// Runs everything that a golden folder holds (forward passes, losses, gradients, training steps, generation) on `device`, computing
/// in `dtype`, and compares it.
///
/// # Errors
/// Those of the folder's readers; [`Error::Graph`] where the folder does not have the golden form.
pub fn model_folder(dir: &Path, device: &Device, dtype: DType) -> Result<Vec<Comparison>> {
    let folder = Folder::open(dir, device, dtype)?;
    let mut comparisons = folder.forward()?;
    for stage in ["caption", "classify"] {
        comparisons.extend(folder.training(stage)?);
    }
    comparisons.extend(folder.generation()?);
    if comparisons.is_empty() {
        return Err(Error::graph(dir.display().to_string(), "golden results to compare with", "none"));
    }
    Ok(comparisons)
}

struct Folder<'a> {
    name: String,
    config: EscnetConfig,
    golden: WeightFile,
    errors: serde_json::Value,
    weights: crate::graph::WeightSource,
    device: &'a Device,
    dtype: DType,
}

impl<'a> Folder<'a> {
    fn open(dir: &Path, device: &'a Device, dtype: DType) -> Result<Self> {
        let config = EscnetConfig::open(dir)?;
        let weights = weight_source(load(&manifest(&config)?, &[Source::whole(dir)])?);
        let golden = WeightFile::open(dir.join("golden.safetensors"))?;
        let path = dir.join("torch_errors.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let errors = serde_json::from_str(&text).map_err(|e| Error::graph(path.display().to_string(), "JSON", e))?;
        let name = dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned());
        Ok(Folder { name, config, golden, errors, weights, device, dtype })
    }

    fn has(&self, name: &str) -> bool {
        self.golden.shape(name).is_some()
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        self.golden.tensor(name)?.read()
    }

    /// An image input: [B, 3, S, S] in the file, channels last inside.
    fn image(&self, name: &str) -> Result<Tensor> {
        from_file(self.tensor(name)?)
    }

    fn store(&self) -> Store {
        Store::with_source(self.device, Arc::clone(&self.weights))
    }

    fn session(&self, b: Builder, store: &mut Store) -> Result<Session> {
        let graph = prepare(b.finish(), &rules(), self.dtype)?;
        Session::new(graph, store, Options::default())
    }

    /// Compares a tensor with the golden one of this name, or its norm where that is a scalar.
    fn judge(&self, name: &str, got: Tensor, whole: f64) -> Result<Comparison> {
        let want = self.tensor(name)?;
        let is_norm = want.shape().rank() == 0 && got.shape().rank() > 0;
        let (mut got, want) = (got.to_f64(), want.to_f64());
        if is_norm {
            got = vec![got.iter().map(|x| x * x).sum::<f64>().sqrt()];
        }
        let precision = if self.dtype == DType::F32 { "f32" } else { "bf16" };
        let torch = self.errors[name][precision].as_f64();
        Ok(compare(format!("{}/{name}", self.name), &got, &want, torch, Floor::model(self.dtype), self.dtype, whole))
    }

    fn batch_and_length(&self, name: &str) -> Result<[usize; 2]> {
        match self.golden.shape(name) {
            Some(&[batch, length]) => Ok([batch, length]),
            other => Err(Error::graph(name, "[batch, length]", format!("{other:?}"))),
        }
    }

    fn write_classifier_inputs(&self, session: &mut Session) -> Result<()> {
        session.write("image", &self.image("in.image")?)?;
        session.write("caption_ids", &self.tensor("in.caption_ids")?)?;
        session.write("caption_mask", &self.tensor("in.caption_mask")?)?;
        if self.config.fusion.highlight == Highlight::Lexicon {
            session.write("word_affect", &self.tensor("in.word_affect")?)?;
        }
        Ok(())
    }

    fn forward(&self) -> Result<Vec<Comparison>> {
        let mut comparisons = Vec::new();
        if self.has("in.image") {
            let [batch, words] = self.batch_and_length("in.caption_ids")?;
            let mut b = Builder::new();
            let built = classifier(&mut b, &self.config, batch, words, None)?;
            let probs = softmax(&mut b, built.fused.logits)?;
            let stages = ["backbone.stem", "backbone.layer1", "backbone.layer2", "backbone.layer3", "backbone.layer4"];
            let maps = std::iter::once(built.features.stem).chain(built.features.layers);
            let mut results: Vec<_> = stages.into_iter().zip(maps).collect();
            results.extend([("text", built.text), ("logits", built.fused.logits), ("probs", probs), ("fusion.pooled", built.fused.pooled)]);
            results.extend(built.fused.gate.map(|g| ("fusion.gate", g)));
            results.extend(built.fused.attention.map(|a| ("fusion.attn", a)));
            results.iter().for_each(|(name, v)| b.output(&format!("out.{name}"), *v));
            let mut store = self.store();
            let mut session = self.session(b, &mut store)?;
            self.write_classifier_inputs(&mut session)?;
            session.run(&mut store, Segment::Run)?;
            for name in results.iter().map(|(name, _)| format!("out.{name}")).filter(|n| self.has(n)) {
                comparisons.push(self.judge(&name, to_file(session.read(&name, &mut store)?)?, 0.0)?);
            }
        }
        if self.has("in.caption_image") && self.has("in.lm_ids") {
            let [batch, length] = self.batch_and_length("in.lm_ids")?;
            let mut b = Builder::new();
            let built = captioner(&mut b, &self.config.captioner, batch, length, None)?;
            b.output("out.captioner.vision", built.vision);
            b.output("out.captioner.logits", built.logits);
            let mut store = self.store();
            let mut session = self.session(b, &mut store)?;
            session.write("caption_image", &self.image("in.caption_image")?)?;
            session.write("lm_ids", &self.tensor("in.lm_ids")?)?;
            session.write("lm_mask", &self.tensor("in.caption_mask")?)?;
            session.run(&mut store, Segment::Run)?;
            for name in ["out.captioner.vision", "out.captioner.logits"].into_iter().filter(|n| self.has(n)) {
                comparisons.push(self.judge(name, session.read(name, &mut store)?, 0.0)?);
            }
        }
        Ok(comparisons)
    }

    /// `optim` of the metadata: the settings and the learning rate.
    fn optimizer(&self) -> Result<(StepOptions<'static>, f32)> {
        let text = self.golden.metadata().get("optim").map_or("{}", String::as_str);
        let json: serde_json::Value = serde_json::from_str(text).map_err(|e| Error::graph("optim", "JSON", e))?;
        let number = |key: &str| json[key].as_f64().ok_or_else(|| Error::graph("optim", format!("`{key}`"), text));
        let beta = |i: usize| json["betas"][i].as_f64().ok_or_else(|| Error::graph("optim", "two betas", text));
        let options = StepOptions {
            optimizer: Optimizer::AdamW { betas: [beta(0)?, beta(1)?], eps: number("eps")? },
            weight_decay: number("weight_decay")?,
            clip_norm: json["clip_norm"].as_f64(),
            loss_scale: self.dtype == DType::F16,
            ..StepOptions::default()
        };
        Ok((options, number("lr")? as f32))
    }

    fn training(&self, stage: &str) -> Result<Vec<Comparison>> {
        let steps: usize = self.golden.metadata().get("steps").and_then(|s| s.parse().ok()).unwrap_or(0);
        let loss = format!("loss.{stage}");
        if steps == 0 || !self.has(&loss) {
            return Ok(Vec::new());
        }
        let (options, rate) = self.optimizer()?;
        let form = if stage == "caption" {
            let [batch, length] = self.batch_and_length("in.lm_ids")?;
            Stage::Caption { batch, length: length - 1 }
        } else {
            let [batch, words] = self.batch_and_length("in.caption_ids")?;
            Stage::Classify { batch, words, trained: Trained::ALL }
        };
        let built = train::build(&self.config, form, &options)?;
        let mut store = self.store();
        let graph = prepare(built.graph.clone(), &rules(), self.dtype)?;
        let mut session = Session::new(graph, &mut store, Options::default())?;
        let counted = match form {
            Stage::Caption { batch, length } => self.write_captioner_inputs(&mut session, batch, length)?,
            Stage::Classify { batch, .. } => {
                self.write_classifier_inputs(&mut session)?;
                session.write("labels", &self.tensor("in.labels")?)?;
                batch
            }
        };
        store.write(DENOMINATOR, &Tensor::scalar(counted as f32))?;
        store.write(LEARNING_RATE, &Tensor::from_f32([1], vec![rate])?)?;
        if options.loss_scale {
            store.write(LOSS_SCALE, &Tensor::from_f32([1], vec![MODEST_SCALE])?)?;
        }

        let mut comparisons = Vec::new();
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        let mut vanishing = Vec::new();
        for step in 0..steps {
            store.write(CONTROL, &Tensor::from_i32([4], vec![0, 0, step as i32, 0])?)?;
            session.run(&mut store, Segment::Run)?;
            if step == 0 {
                comparisons.push(self.judge(&loss, session.read("loss", &mut store)?, 0.0)?);
                comparisons.extend(self.gradients(stage, &built, &mut store, &mut vanishing)?);
            }
            session.run(&mut store, Segment::Apply)?;
            losses.push(session.read("loss", &mut store)?.to_f32()[0]);
            norms.push(session.read("grad_norm", &mut store)?.to_f32()[0]);
        }
        for (name, curve) in [(format!("train.{stage}.loss"), losses), (format!("train.{stage}.grad_norm"), norms)] {
            if self.has(&name) {
                comparisons.push(self.judge(&name, Tensor::from_f32([curve.len()], curve)?, 0.0)?);
            }
        }
        let prefix = format!("after.{stage}.");
        for name in self.golden.names().filter(|n| n.starts_with(&prefix)) {
            let parameter = &name[prefix.len()..];
            let got = to_file(store.read(parameter)?)?;
            let mut comparison = self.judge(name, got.clone(), 0.0)?;
            if vanishing.iter().any(|v| v == parameter) {
                // Adam divides nothing by nothing: the direction is noise, its length at most the learning rate a step.
                let want = self.tensor(name)?;
                let is_norm = want.shape().rank() < got.shape().rank();
                let (got, want) = (got.to_f64(), want.to_f64());
                comparison.limit = steps as f64 * f64::from(rate);
                comparison.error = if !is_norm {
                    got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max)
                } else {
                    // Only the norm is known: each element may be off by as much.
                    comparison.limit *= (got.len() as f64).sqrt();
                    (got.iter().map(|g| g * g).sum::<f64>().sqrt() - want[0]).abs()
                };
                comparison.torch = None;
                comparison.unjudged = false;
            }
            comparisons.push(comparison);
        }
        Ok(comparisons)
    }

    /// Writes ids, mask and labels, shifted by one; gives the number of counted tokens.
    fn write_captioner_inputs(&self, session: &mut Session, batch: usize, length: usize) -> Result<usize> {
        let rows = |name: &str, from: usize| -> Result<Vec<i32>> {
            let tensor = self.tensor(name)?;
            let ids = tensor.as_i32().ok_or_else(|| Error::graph(name, "integers", tensor.ty()))?;
            Ok(ids.chunks(length + 1).flat_map(|row| row[from..from + length].iter().copied()).collect())
        };
        let labels = rows("in.lm_labels", 1)?;
        let counted = labels.iter().filter(|&&l| l != train::IGNORED).count();
        session.write("caption_image", &self.image("in.caption_image")?)?;
        session.write("lm_ids", &Tensor::from_i32([batch, length], rows("in.lm_ids", 0)?)?)?;
        session.write("lm_mask", &Tensor::from_i32([batch, length], rows("in.caption_mask", 0)?)?)?;
        session.write("lm_labels", &Tensor::from_i32([batch * length], labels)?)?;
        Ok(counted)
    }

    /// Compares the summed gradients; notes the parameters whose gradient is zero in exact arithmetic.
    fn gradients(&self, stage: &str, built: &Step, store: &mut Store, vanishing: &mut Vec<String>) -> Result<Vec<Comparison>> {
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut all = Vec::new();
        for parameter in &built.parameters {
            let got = to_file(store.read(&Step::gradient(parameter))?)?;
            let name = format!("grad.{stage}.{parameter}");
            let size = if self.has(&name) { norm(&self.tensor(&name)?.to_f64()) } else { norm(&got.to_f64()) };
            all.push((parameter, name, got, size));
        }
        let whole = norm(&all.iter().map(|(.., size)| *size).collect::<Vec<_>>());
        let mut comparisons = Vec::new();
        for (parameter, name, got, size) in all {
            if size < 1e-7 * whole {
                vanishing.push(parameter.clone());
            }
            if self.has(&name) {
                comparisons.push(self.judge(&name, got, whole)?);
            }
        }
        Ok(comparisons)
    }

    /// Greedy and beam search from the start token, without a least length.
    fn generation(&self) -> Result<Vec<Comparison>> {
        let mut comparisons = Vec::new();
        let ids: Vec<&str> = self.golden.names().filter(|n| n.starts_with("gen.") && n.ends_with(".ids")).collect();
        for name in ids {
            let method = name.trim_start_matches("gen.").trim_end_matches(".ids");
            let beams = match method.strip_prefix("beam") {
                Some(n) => n.parse().map_err(|_| Error::graph(name, "gen.greedy or gen.beam<n>", method))?,
                None => 1,
            };
            let want = self.tensor(name)?;
            let text = &self.config.captioner.text_config;
            let max_length = text.max_position_embeddings.min(20);
            let generation = Generation { beams, max_length, min_length: 0, ..Generation::default() };
            let mut store = self.store();
            let images = want.shape()[0];
            let mut captioner = Captioner::new(&self.config.captioner, images, generation, self.dtype, Options::default(), &mut store)?;
            let found = captioner.caption(&self.image("in.caption_image")?, 0, &mut store)?;
            let end = text.sep_token_id as i32;
            let cut = |row: &[i32]| -> Vec<i32> { row[..row.iter().position(|&id| id == end).map_or(row.len(), |at| at + 1)].to_vec() };
            let rows = want.as_i32().unwrap_or_default().chunks(want.shape().rows_and_width().1);
            let wrong = rows.zip(&found).filter(|(row, h)| cut(row) != cut(&h.ids)).count();
            comparisons.push(Comparison {
                name: format!("{}/{name}", self.name),
                error: wrong as f64,
                limit: 0.0,
                torch: None,
                unjudged: self.dtype != DType::F32,
            });
            let score = format!("gen.{method}.score");
            if self.has(&score) {
                let got = Tensor::from_f32([found.len()], found.iter().map(|h| h.score).collect())?;
                let mut comparison = self.judge(&score, got, 0.0)?;
                // Other words have other scores.
                comparison.unjudged |= self.dtype != DType::F32 && wrong > 0;
                comparisons.push(comparison);
            }
        }
        Ok(comparisons)
    }
}
