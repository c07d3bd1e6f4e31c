//! What a `run.toml` must keep to before anything begins.

use super::{ModelConfig, RunConfig, StageConfig};
use crate::error::{Error, Result};
use crate::tensor::DType;
use std::path::Path;

impl RunConfig {
    /// Everything that can be told without looking at data or model.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        for (name, stage) in [("captioner.stage", &self.captioner.stage), ("classifier.stage", &self.classifier.stage)] {
            stage.check(path, name)?;
        }
        let wrong = |field: &str, expected: &str, got: String| Err(Error::config(path, field, expected, got));
        if self.data.limit == Some(0) {
            return wrong("data.limit", "at least 1 picture", "0".into());
        }
        match (&self.model.from, &self.model.config) {
            (None, None) => return wrong("model", "either `from`, a model folder, or `config`, a configuration", "neither".into()),
            (Some(_), Some(config)) => {
                let keys = config.as_object().into_iter().flat_map(|config| config.keys());
                if let Some(other) = keys.into_iter().find(|key| !ModelConfig::SECTIONS.contains(&key.as_str())) {
                    return wrong("model.config", &format!("beside `from` only {}", ModelConfig::SECTIONS.join(", ")), other.clone());
                }
            }
            _ => {}
        }
        let head = self.classifier.head_epochs;
        if !(0.0..=self.classifier.stage.epochs).contains(&head) {
            return wrong("classifier.head_epochs", "0 to classifier.stage.epochs", head.to_string());
        }
        Ok(())
    }
}

impl StageConfig {
    /// The type the step computes in; none for a name that is no such type.
    pub fn compute(&self) -> Option<DType> {
        [DType::F32, DType::F16, DType::BF16].into_iter().find(|d| d.to_string() == self.dtype)
    }

    fn check(&self, path: &Path, name: &str) -> Result<()> {
        let wrong = |field: &str, expected: &str, got: String| Err(Error::config(path, format!("{name}.{field}"), expected, got));
        self.augment.check().map_err(|e| Error::config(path, format!("{name}.augment"), "an augmentation in range", e))?;
        if self.compute().is_none() {
            return wrong("dtype", "f32, f16 or bf16", self.dtype.clone());
        }
        for (field, value) in [("batch", self.batch), ("accumulate", self.accumulate)] {
            if value == 0 {
                return wrong(field, "at least 1", "0".into());
            }
        }
        let (schedule, optimizer) = (&self.schedule, &self.optimizer);
        let ranges = [
            ("epochs", self.epochs, 0.0..=1e6),
            ("rate", self.rate, 0.0..=1e3),
            ("clip_norm", self.clip_norm, 0.0..=f64::MAX),
            ("ema", self.ema, 0.0..=1.0),
            ("schedule.warmup_epochs", schedule.warmup_epochs, 0.0..=1e6),
            ("schedule.floor", schedule.floor, 0.0..=1.0),
            ("schedule.every_epochs", schedule.every_epochs, f64::MIN_POSITIVE..=1e6),
            ("schedule.factor", schedule.factor, 0.0..=1.0),
            ("optimizer.betas", optimizer.betas[0], 0.0..=0.999_999),
            ("optimizer.betas", optimizer.betas[1], 0.0..=0.999_999_999),
            ("optimizer.eps", optimizer.eps, 0.0..=1.0),
            ("optimizer.momentum", optimizer.momentum, 0.0..=0.999_999),
            ("optimizer.weight_decay", optimizer.weight_decay, 0.0..=1e3),
        ];
        for (field, value, range) in ranges {
            if !range.contains(&value) {
                return wrong(field, &format!("{} to {}", range.start(), range.end()), value.to_string());
            }
        }
        if let Some(group) = self.groups.iter().find(|g| !(0.0..=1e6).contains(&g.factor)) {
            return wrong("groups", "factors from 0", format!("{} for `{}`", group.factor, group.prefix));
        }
        Ok(())
    }
}
