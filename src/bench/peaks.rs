//! The roofs of a device, measured: how fast it moves bytes and how fast it multiplies and adds.

use super::sampled;
use super::sampling::Patience;
use super::shapes::{Role, Subject};
use super::subject::{Memory, Prepared};
use super::yardstick::CHECKABLE;
use crate::device::Device;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::AdapterKind;
use crate::error::Result;
use crate::op::{Cost, Op};
use crate::ops::peak::Peak;
use crate::ops::peak_product::PeakProduct;
use crate::tensor::{DType, TensorType};
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
    /// FLOPs a second of products in 16 bits on tensor cores; none where there are none that our kernels use.
    #[serde(default)]
    pub products_per_second: Option<f64>,
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
        let mut seconds = |op: Arc<dyn Op>, inputs: &[TensorType]| -> Result<(Cost, f64)> {
            let outputs = op.infer(inputs)?;
            let cost = op.cost(inputs, &outputs);
            let given = inputs.iter().map(|&ty| (ty, Role::Given)).collect();
            let outputs = outputs.into_iter().map(|ty| (ty, true)).collect();
            let subject = Subject { op, inputs: given, outputs, cost, part: "peaks", uses: 1 };
            let mut prepared = Prepared::new(&subject, device, Memory::Hot)?;
            // The rounds of GPUs would take the CPU minutes; their kernels are the same for fewer, which tests compare.
            if cost.flops <= CHECKABLE {
                prepared.check()?;
            }
            let times = sampled(patience, || prepared.run())?.device();
            spread = spread.max(1.0 - times.p5 / times.median).max(times.p95 / times.median - 1.0);
            Ok((cost, times.median))
        };
        let (copied, took) = seconds(Arc::new(Peak { rounds: 0 }), &[TensorType::f32([COPIED])])?;
        let bytes_per_second = copied.bytes as f64 / took;
        let (multiplied, took) = seconds(Arc::new(Peak { rounds: ROUNDS }), &[TensorType::f32([MULTIPLIED])])?;
        let flops_per_second = multiplied.flops as f64 / took;
        let products_per_second = match on_tensor_cores(device) {
            None => None,
            Some((rows, rounds, dtype)) => {
                let (cost, took) = seconds(Arc::new(PeakProduct { rounds }), &PeakProduct::types(rows, dtype))?;
                Some(cost.flops as f64 / took)
            }
        };
        Ok(Peaks { device: device.describe(), bytes_per_second, flops_per_second, products_per_second, spread })
    }

    /// FLOPs a second that products reach at most: of 16 bits on tensor cores, where there are some, else of f32.
    pub fn rate(&self, in_half: bool) -> f64 {
        self.products_per_second.filter(|_| in_half).unwrap_or(self.flops_per_second)
    }

    /// The least time that this work takes, in seconds, and what bounds it; on tensor cores where it is made of products in 16 bits.
    pub fn floor(&self, cost: Cost, in_half: bool) -> (f64, Bound) {
        let (moving, computing) = (cost.bytes as f64 / self.bytes_per_second, cost.flops as f64 / self.rate(in_half));
        if computing > moving { (computing, Bound::Arithmetic) } else { (moving, Bound::Memory) }
    }
}

/// What measures tensor cores, where a device has some that our kernels use: rows, rounds, and what is multiplied.
#[cfg_attr(not(any(feature = "cuda", feature = "wgpu")), expect(unused_variables))]
fn on_tensor_cores(device: &Device) -> Option<(usize, usize, DType)> {
    /// Blocks of 128 rows, eight for each of an H200's 132 processors; a stand-in, which is there to be tested, takes one, once.
    const ROWS: usize = 128 * 132 * 8;
    #[cfg(feature = "cuda")]
    let cuda = device.cuda_gpu().filter(|gpu| gpu.arch() >= 80).map(|gpu| (2048, DType::BF16, gpu.is_simulated()));
    #[cfg(not(feature = "cuda"))]
    let cuda: Option<(usize, DType, bool)> = None;
    // Fewer rounds: such a GPU may be a laptop's, and drivers give up launches that take seconds.
    #[cfg(feature = "wgpu")]
    let wgpu = device.gpu().filter(|gpu| gpu.abilities().fragments.is_some()).map(|gpu| (512, DType::F16, gpu.kind() == AdapterKind::Software));
    #[cfg(not(feature = "wgpu"))]
    let wgpu = None;
    cuda.or(wgpu).map(|(rounds, dtype, is_stand_in)| if is_stand_in { (128, 1, dtype) } else { (ROWS, rounds, dtype) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_two_floors_bounds() {
        let peaks = Peaks { device: "d".to_owned(), bytes_per_second: 1e9, flops_per_second: 1e10, products_per_second: Some(1e11), spread: 0.0 };
        let (computed, moved) = (Cost { flops: 1_000_000_000, bytes: 1_000_000 }, Cost { flops: 1_000_000, bytes: 1_000_000_000 });
        assert_eq!([peaks.floor(computed, false), peaks.floor(computed, true)], [(0.1, Bound::Arithmetic), (0.01, Bound::Arithmetic)]);
        assert_eq!([peaks.floor(moved, false), peaks.floor(moved, true)], [(1.0, Bound::Memory); 2]);
        let without = Peaks { products_per_second: None, ..peaks };
        assert_eq!(without.floor(computed, true), (0.1, Bound::Arithmetic));
    }
}
