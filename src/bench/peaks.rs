//! The roofs of a device, measured: how fast it moves bytes and how fast it multiplies and adds.

use super::sampled;
use super::sampling::Patience;
use super::shapes::{Role, Subject};
use super::subject::{Memory, Prepared};
use crate::device::Device;
use crate::error::Result;
use crate::op::{Cost, Op};
use crate::ops::peak::Peak;
use crate::tensor::TensorType;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a device reaches at most, by operators of its own that do nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// The device, as [`Device::describe`] has it.
    pub device: String,
    /// Bytes a second, read and written, of a copy that no cache holds.
    pub bytes_per_second: f64,
    /// FLOPs a second of multiply-adds in f32, outside tensor cores.
    pub flops_per_second: f64,
    /// The largest share by which p5 or p95 of the samples lies off a median.
    pub spread: f64,
}

/// What bounds an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Bytes.
    Memory,
    /// FLOPs.
    Arithmetic,
}

/// Numbers of a copy on a GPU, 256 MiB; on the CPU too they are more than a cache holds.
const COPIED: usize = 64 << 20;
/// Numbers that go through rounds, and how many of these.
const MULTIPLIED: usize = 4 << 20;
const ROUNDS: usize = 1024;

impl Peaks {
    /// Measures a device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure(device: &Device, patience: &Patience) -> Result<Self> {
        let mut spread: f64 = 0.0;
        let mut rate = |numbers: usize, rounds: usize, of: fn(Cost) -> u64| -> Result<f64> {
            let op: Arc<dyn Op> = Arc::new(Peak { rounds });
            let ty = TensorType::f32([numbers]);
            let cost = op.cost(&[ty], &[ty]);
            let subject = Subject { op, inputs: vec![(ty, Role::Given)], outputs: vec![(ty, true)], cost, part: "peaks", uses: 1 };
            let mut prepared = Prepared::new(&subject, device, Memory::Hot)?;
            prepared.check()?;
            let times = sampled(patience, || prepared.run())?.device();
            spread = spread.max(1.0 - times.p5 / times.median).max(times.p95 / times.median - 1.0);
            Ok(of(cost) as f64 / times.median)
        };
        let bytes_per_second = rate(COPIED, 0, |cost| cost.bytes)?;
        let flops_per_second = rate(MULTIPLIED, ROUNDS, |cost| cost.flops)?;
        Ok(Peaks { device: device.describe(), bytes_per_second, flops_per_second, spread })
    }

    /// The least time that this work takes, in seconds, and what bounds it.
    pub fn floor(&self, cost: Cost) -> (f64, Bound) {
        let (moving, computing) = (cost.bytes as f64 / self.bytes_per_second, cost.flops as f64 / self.flops_per_second);
        if computing > moving { (computing, Bound::Arithmetic) } else { (moving, Bound::Memory) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_two_floors_bounds() {
        let peaks = Peaks { device: "d".to_owned(), bytes_per_second: 1e9, flops_per_second: 1e10, spread: 0.0 };
        assert_eq!(peaks.floor(Cost { flops: 1_000_000_000, bytes: 1_000_000 }), (0.1, Bound::Arithmetic));
        assert_eq!(peaks.floor(Cost { flops: 1_000_000, bytes: 1_000_000_000 }), (1.0, Bound::Memory));
    }
}
