//! Devices: memory, upload, launch. They know no operator.

pub mod cpu;
pub(crate) mod memory;

use crate::error::{Error, Result};
use cpu::Cpu;

/// A place where graphs run.
#[derive(Debug, Clone)]
pub struct Device(pub(crate) Kind);

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The CPU path in f32.
    Cpu(Cpu),
    /// Each operator's plain f64 code: the truth that the others are tested against.
    Reference(Cpu),
}

impl Device {
    /// The CPU, in f32, with this many threads; 0 takes one a core.
    ///
    /// # Errors
    /// [`Error::Device`] where the threads cannot be started.
    pub fn cpu(threads: usize) -> Result<Self> {
        Ok(Device(Kind::Cpu(Cpu::new(threads)?)))
    }

    /// The readable f64 code of every operator, one after another: slow, and the yardstick.
    ///
    /// # Errors
    /// As [`Device::cpu`].
    pub fn reference() -> Result<Self> {
        Ok(Device(Kind::Reference(Cpu::new(1)?)))
    }

    /// A device by its name: `auto`, `cpu` or `reference`.
    ///
    /// # Errors
    /// [`Error::Device`] for an unknown name.
    pub fn parse(name: &str, threads: usize) -> Result<Self> {
        match name {
            "auto" | "cpu" => Self::cpu(threads),
            "reference" => Self::reference(),
            _ => Err(Error::Device { device: name.to_owned(), reason: "unknown; known are auto, cpu, reference".to_owned() }),
        }
    }

    /// The name [`Device::parse`] understands.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Kind::Cpu(_) => "cpu",
            Kind::Reference(_) => "reference",
        }
    }
}
