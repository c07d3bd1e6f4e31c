//! How much an adapter offers of what kernels use up.

use super::api;

/// What an adapter offers. Kernels ask for WebGPU's own limits of it, but for buffers as large as they can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a buffer.
    pub buffer: u64,
    /// Bytes that may be bound at once.
    pub binding: u64,
    /// Bytes of workgroup memory.
    pub workgroup: u64,
    /// Invocations of a workgroup.
    pub invocations: u64,
    /// Storage buffers that a kernel may bind.
    pub buffers: u64,
    /// Invocations of a subgroup, least and most; none where it has no subgroups.
    pub subgroup: Option<[u64; 2]>,
}

impl Limits {
    pub(super) fn of(adapter: &api::Adapter) -> Self {
        let (limits, info) = (adapter.limits(), adapter.get_info());
        let sizes = [info.subgroup_min_size.into(), info.subgroup_max_size.into()];
        Limits {
            buffer: limits.max_buffer_size,
            binding: limits.max_storage_buffer_binding_size,
            workgroup: limits.max_compute_workgroup_storage_size.into(),
            invocations: limits.max_compute_invocations_per_workgroup.into(),
            buffers: limits.max_storage_buffers_per_shader_stage.into(),
            subgroup: adapter.features().contains(api::Features::SUBGROUP).then_some(sizes),
        }
    }
}
