//! How much a device has of what kernels use up.

use super::driver::Context;
use crate::error::Result;
use cudarc::driver::sys as api;

/// What a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Multiprocessors.
    pub processors: u64,
    /// Bytes of its memory.
    pub memory: u64,
    /// Bytes of shared memory that a block may ask for.
    pub shared: u64,
    /// Bytes of its L2; 0 where the driver knows of none.
    pub l2: u64,
}

impl Limits {
    /// What its driver says.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where it does not.
    pub(super) fn of(context: &Context) -> Result<Self> {
        use api::CUdevice_attribute::{CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE as L2, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as SHARED};
        let (mut memory, mut shared, mut l2) = (0_usize, 0, 0);
        // SAFETY: the device is one that was opened, and each call has a place to write to.
        unsafe {
            context.check(api::cuDeviceTotalMem_v2(&mut memory, context.number))?;
            context.check(api::cuDeviceGetAttribute(&mut shared, SHARED, context.number))?;
            context.check(api::cuDeviceGetAttribute(&mut l2, L2, context.number))?;
        }
        let bytes = |of: i32| of.max(0) as u64;
        Ok(Limits { processors: context.processors as u64, memory: memory as u64, shared: bytes(shared), l2: bytes(l2) })
    }
}
