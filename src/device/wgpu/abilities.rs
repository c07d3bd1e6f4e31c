//! What an adapter can do beyond what every kernel relies on. Faster variants of kernels are chosen from it, by pure functions.

use super::{PORTABLE, api};

/// What kernels of an opened GPU may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Numbers can be stored in 16 bits.
    pub half: bool,
    /// Invocations of a subgroup exchange numbers without workgroup memory.
    pub subgroups: bool,
    /// Subgroups multiply small matrices at once.
    pub fragments: Option<Fragments>,
    /// Bytes that may be bound at once.
    pub binding: u64,
    /// Workgroups along the first axis of a grid; longer grids wrap into the second.
    pub across: usize,
}

/// Matrices of f16 that a subgroup multiplies at once, with sums in f32 (cooperative matrices).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragments {
    /// Rows and columns of each factor and of the result.
    pub edge: usize,
    /// Invocations of a subgroup: the same of all.
    pub subgroup: usize,
}

/// Workgroup memory that kernels with fragments take; all others keep to WebGPU's 16 KiB.
pub(super) const FRAGMENT_STORAGE: u32 = 32 << 10;

impl Abilities {
    /// What every WebGPU device has.
    pub const PORTABLE: Abilities = Abilities {
        half: false,
        subgroups: false,
        fragments: None,
        binding: 128 << 20,
        across: PORTABLE.max_compute_workgroups_per_dimension as usize,
    };
    /// Everything that kernels know how to use.
    pub const ALL: Abilities =
        Abilities { half: true, subgroups: true, fragments: Some(Fragments { edge: 16, subgroup: 64 }), binding: u64::MAX, across: usize::MAX };

    pub(super) fn of(adapter: &api::Adapter) -> Self {
        let (features, limits, info) = (adapter.features(), adapter.limits(), adapter.get_info());
        let (half, subgroups) = (features.contains(api::Features::SHADER_F16), features.contains(api::Features::SUBGROUP));
        let wanted = half && subgroups && limits.max_compute_workgroup_storage_size >= FRAGMENT_STORAGE;
        let sizes = (info.subgroup_min_size as usize, info.subgroup_max_size as usize);
        Abilities {
            half,
            subgroups,
            fragments: if wanted { Fragments::of(&adapter.cooperative_matrix_properties(), sizes) } else { None },
            binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            across: PORTABLE.max_compute_workgroups_per_dimension.min(limits.max_compute_workgroups_per_dimension) as usize,
        }
    }

    /// No more than `most`.
    pub(super) fn up_to(self, most: Abilities) -> Self {
        Abilities {
            half: self.half && most.half,
            subgroups: self.subgroups && most.subgroups,
            fragments: self.fragments.filter(|f| most.fragments.is_some_and(|most| f.edge <= most.edge && f.subgroup <= most.subgroup)),
            binding: self.binding.min(most.binding),
            across: self.across.min(most.across),
        }
    }

    /// What has to be asked of the driver for it.
    pub(super) fn features(self) -> api::Features {
        let when = |has: bool, feature| if has { feature } else { api::Features::empty() };
        when(self.half, api::Features::SHADER_F16)
            | when(self.subgroups, api::Features::SUBGROUP)
            | when(self.fragments.is_some(), api::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    }
}

impl Fragments {
    /// The largest that WGSL has a name for. A kernel must know how many subgroups make a workgroup, so their size, given as (least, most), must be fixed.
    fn of(properties: &[api::CooperativeMatrixProperties], (least, most): (usize, usize)) -> Option<Self> {
        use api::CooperativeScalarType::{F16, F32};
        let is = |p: &api::CooperativeMatrixProperties, edge: usize| {
            [p.m_size, p.n_size, p.k_size].iter().all(|&extent| extent as usize == edge) && p.ab_type == F16 && p.cr_type == F32
        };
        let edge = [16, 8].into_iter().find(|&edge| properties.iter().any(|p| is(p, edge)))?;
        // From 4 subgroups of 64 to 32 of 8.
        (least == most && [8, 16, 32, 64].contains(&most)).then_some(Fragments { edge, subgroup: most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::CooperativeScalarType::{F16, F32};

    fn property([m_size, n_size, k_size]: [u32; 3], cr_type: api::CooperativeScalarType) -> api::CooperativeMatrixProperties {
        api::CooperativeMatrixProperties { m_size, n_size, k_size, ab_type: F16, cr_type, saturating_accumulation: false }
    }

    #[test]
    fn fragments_are_square_and_summed_in_f32() {
        let all = [property([8, 8, 8], F16), property([8, 8, 8], F32), property([16, 16, 16], F32), property([16, 8, 16], F32)];
        assert_eq!(Fragments::of(&all, (32, 32)), Some(Fragments { edge: 16, subgroup: 32 }));
        assert_eq!(Fragments::of(&all[..2], (8, 8)), Some(Fragments { edge: 8, subgroup: 8 }));
        assert_eq!(Fragments::of(&all[..1], (32, 32)), None);
        assert_eq!(Fragments::of(&all[3..], (32, 32)), None);
        assert_eq!(Fragments::of(&[], (32, 32)), None);
    }

    #[test]
    fn subgroups_of_fragments_have_one_size() {
        let one = [property([16, 16, 16], F32)];
        assert_eq!(Fragments::of(&one, (32, 64)), None);
        assert_eq!(Fragments::of(&one, (128, 128)), None);
        assert!(Fragments::of(&one, (64, 64)).is_some());
    }

    #[test]
    fn no_more_is_used_than_is_allowed() {
        let has = Abilities { half: true, subgroups: true, fragments: Some(Fragments { edge: 16, subgroup: 32 }), binding: 1 << 31, across: 65535 };
        assert_eq!(has.up_to(Abilities::PORTABLE), Abilities::PORTABLE);
        assert_eq!(has.up_to(Abilities::ALL), has);
        assert!(Abilities::PORTABLE.features().is_empty());
    }
}
