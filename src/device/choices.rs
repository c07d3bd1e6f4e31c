//! Which variant of its kernels an operator uses on certain tensors, where that was measured on a device: what `escnet tune` finds, and operators ask before their own rule.

use crate::durable::write_atomically;
use crate::error::{Error, Result};
use crate::hash::fnv1a;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Choices for one device, its driver and these kernels: with any of them changed they say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// What the driver calls the device.
    pub device: String,
    /// The driver: the version of CUDA that it is of; for wgpu Vulkan, Metal, ..., its name and version.
    pub driver: String,
    /// A hash of all kernels.
    pub kernels: String,
    /// Names of variants, by operator and types: [`dyn Op::signature`](crate::op::Op).
    pub variants: BTreeMap<String, String>,
}

impl Choices {
    /// Whether both are for the same device, driver and kernels.
    pub fn fit(&self, other: &Choices) -> bool {
        (&self.device, &self.driver, &self.kernels) == (&other.device, &other.driver, &other.kernels)
    }

    /// What the file is called in a folder of caches: other devices, drivers and kernels have other files.
    pub fn file_name(&self) -> String {
        let whose = [self.device.as_str(), &self.driver, &self.kernels].join("\n");
        format!("tuned-{:016x}.json", fnv1a(whose.bytes()))
    }

    /// Those of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] where it holds something else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        serde_json::from_str(&text).map_err(|e| Error::Config {
            path: path.to_owned(),
            field: "choices".to_owned(),
            expected: "what `escnet tune` writes".to_owned(),
            got: e.to_string(),
        })
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io(path, e.into()))?;
        write_atomically(path, |out| writeln!(out, "{text}").map_err(|e| Error::io(path, e)))
    }
}

/// What a device tells nodes of variants. Copies share what was measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// For all that have it.
    forced: Option<&'static str>,
    measured: Arc<Mutex<Option<Arc<Choices>>>>,
}

impl Told {
    /// The same, but this variant for all that have it.
    pub fn with(self, variant: &'static str) -> Self {
        Told { forced: Some(variant), ..self }
    }

    /// The variant that a node is told to use: what all are told, or what was measured for those of its signature.
    pub fn variant_of(&self, signature: impl FnOnce() -> String) -> Option<String> {
        let measured = || self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.forced {
            Some(variant) => Some(variant.to_owned()),
            None => measured()?.variants.get(&signature()).cloned(),
        }
    }

    /// Takes choices for a device whose own, empty as yet, these are: see [`crate::Device::choose_by`].
    pub fn choose_by(&self, own: &Choices, choices: Choices) -> Result<()> {
        if !choices.fit(own) {
            let Choices { device, driver, kernels, .. } = choices;
            let reason = format!("choices for {device} with driver {driver} and kernels {kernels} do not fit: tune again");
            return Err(Error::Device { device: own.device.clone(), reason });
        }
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(choices));
        Ok(())
    }

    /// Takes those that lie in a folder of caches; as good as none where they are damaged or do not fit.
    pub fn take_from(&self, folder: &Path, own: &Choices) {
        let kept = Choices::read(&folder.join(own.file_name()));
        let _ = kept.and_then(|choices| self.choose_by(own, choices));
    }
}
