//! Whether a device computes what it should: a few operators of a small model, run for real and compared with f64.

use super::parts::{Part, model};
use super::shapes::{Subject, subjects};
use super::subject::{Check, Memory, Prepared};
use crate::device::Device;
use crate::error::Result;
use crate::infer::inspect::Stage;
use crate::tensor::DType;
use serde::Serialize;

/// What a device computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Operators that ran, all of them right.
    pub operators: usize,
    /// The largest relative error against f64.
    pub error: f64,
}

/// Runs the first of each kind of operator that the small model's inference has, in `dtype`.
///
/// # Errors
/// [`crate::Error::Graph`] where a result is off by more than the operator's limit; those of the device.
pub fn health(device: &Device, dtype: DType) -> Result<Health> {
    let parts = [Stage::Classify, Stage::CaptionEncode, Stage::CaptionStep].map(Part::Inference);
    let mut firsts: Vec<Subject> = Vec::new();
    for subject in subjects(&model("escnet-tiny")?, &parts, 1, dtype)? {
        if firsts.iter().all(|first| first.op.label() != subject.op.label()) {
            firsts.push(subject);
        }
    }
    let mut health = Health { operators: firsts.len(), error: 0.0 };
    for subject in &firsts {
        if let Check::Checked(worst) = Prepared::new(subject, device, Memory::Hot)?.check()? {
            health.error = health.error.max(worst.error);
        }
    }
    Ok(health)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_well() -> Result<()> {
        for dtype in [DType::F32, DType::BF16] {
            let health = health(&Device::cpu(2)?, dtype)?;
            assert!(health.operators > 15 && health.error > 0.0 && health.error < 0.02, "{health:?}");
        }
        Ok(())
    }
}
