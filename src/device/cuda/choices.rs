//! Which variant of its kernels an operator uses on certain tensors, where that was measured on a device: what `escnet tune` finds, and operators ask before their own rule.

use super::Gpu;
use crate::durable::write_atomically;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Choices for one device, its driver and these kernels: with any of them changed they say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// What the driver calls the device.
    pub device: String,
    /// The version of CUDA that the driver is of.
    pub driver: String,
    /// A hash of all kernels.
    pub kernels: String,
    /// Names of variants, by operator and types: [`dyn Op::signature`](crate::op::Op).
    pub variants: BTreeMap<String, String>,
}

impl Choices {
    /// None yet, for this device.
    pub fn new(gpu: &Gpu) -> Self {
        // The record has a hash of each file's source and of all that decides what becomes of it.
        let kernels = short_hash(include_str!("../../../kernels/images/manifest.json"));
        Choices { device: gpu.name().to_owned(), driver: gpu.driver(), kernels, variants: BTreeMap::new() }
    }

    /// Whether they were made on such a device, by such a driver, of the kernels that the program carries.
    pub fn fit(&self, gpu: &Gpu) -> bool {
        let own = Choices::new(gpu);
        (&self.device, &self.driver, &self.kernels) == (&own.device, &own.driver, &own.kernels)
    }

    /// What the file is called in a folder of caches: other devices, drivers and kernels have other files.
    pub fn file_name(&self) -> String {
        format!("tuned-{}.json", short_hash(&[self.device.as_str(), &self.driver, &self.kernels].join("\n")))
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

fn short_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
