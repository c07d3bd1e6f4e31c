//! What an adapter can do beyond what every kernel relies on. Faster variants of kernels are chosen from it, by pure functions.

use super::{PORTABLE, api};

/// What kernels of an opened GPU may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Numbers can be stored in 16 bits.
    pub half: bool,
    /// Invocations of a subgroup exchange numbers without workgroup memory.
    pub subgroups: bool,
    /// Bytes that may be bound at once.
    pub binding: u64,
    /// Workgroups along the first axis of a grid; longer grids wrap into the second.
    pub across: usize,
}

impl Abilities {
    /// What every WebGPU device has.
    pub const PORTABLE: Abilities =
        Abilities { half: false, subgroups: false, binding: 128 << 20, across: PORTABLE.max_compute_workgroups_per_dimension as usize };
    /// Everything that kernels know how to use.
    pub const ALL: Abilities = Abilities { half: true, subgroups: true, binding: u64::MAX, across: usize::MAX };

    pub(super) fn of(adapter: &api::Adapter) -> Self {
        let (features, limits) = (adapter.features(), adapter.limits());
        Abilities {
            half: features.contains(api::Features::SHADER_F16),
            subgroups: features.contains(api::Features::SUBGROUP),
            binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            across: super::wanted(&limits).max_compute_workgroups_per_dimension as usize,
        }
    }

    /// What both have.
    pub(super) fn and(self, other: Abilities) -> Self {
        Abilities {
            half: self.half && other.half,
            subgroups: self.subgroups && other.subgroups,
            binding: self.binding.min(other.binding),
            across: self.across.min(other.across),
        }
    }

    /// What has to be asked of the driver for it.
    pub(super) fn features(self) -> api::Features {
        let when = |has: bool, feature| if has { feature } else { api::Features::empty() };
        when(self.half, api::Features::SHADER_F16) | when(self.subgroups, api::Features::SUBGROUP)
    }
}
