//! Shaders made into pipelines, each once.

use super::cache::Cache;
use super::launch::{Dispatch, EXTENTS};
use super::{Abilities, Gpu, api};
use crate::device::Kernel;
use crate::error::Result;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Constants and functions that every shader may use.
const COMMON: &str = super::shader!("common");
/// Reductions over a workgroup, which every shader may use too: through workgroup memory alone, and with subgroups.
const REDUCE: &str = super::shader!("common/reduce");
const REDUCE_SUBGROUPS: &str = super::shader!("common/reduce_subgroups");

/// A kernel ready to be launched.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub kernel: Kernel,
    pub raw: api::ComputePipeline,
    pub tensors: api::BindGroupLayout,
    /// Of its parameters, where it has some.
    pub parameters: Option<api::BindGroupLayout>,
}

/// What numbers are stored as, and what kernels that move words take one for. They compute in f32 either way.
const WHOLE: &str = "alias Real = f32;\nalias Word = u32;\n";
const HALF: &str = "enable f16;\nalias Real = f16;\nalias Word = f16;\n";

/// The matrices that a subgroup multiplies at once. These are naga's; Tint has others.
fn fragments(edge: usize) -> String {
    let alias = |name: &str, number: &str, role: &str| format!("alias {name} = coop_mat{edge}x{edge}<{number}, {role}>;\n");
    [alias("FragmentA", "f16", "A"), alias("FragmentB", "f16", "B"), alias("Sums", "f32", "C"), format!("const EDGE = {edge}u;\n")].concat()
}

/// What is put before a kernel's text according to the GPU and the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    aliases: &'static str,
    reductions: &'static str,
}

impl Variant {
    /// For kernels whose numbers are stored in 16 bits where `half` says so.
    fn of(abilities: Abilities, half: bool) -> Self {
        Variant { aliases: if half { HALF } else { WHOLE }, reductions: if abilities.subgroups { REDUCE_SUBGROUPS } else { REDUCE } }
    }
}

/// What tells two pipelines of a device apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: &'static str,
    entry: String,
    /// What its constants make of it.
    variant: Option<String>,
    /// The lines before it.
    before: String,
    /// Which operands are written.
    written: Vec<bool>,
    /// It has no parameters.
    plain: bool,
    /// It has no checks.
    trusted: bool,
}

/// The pipelines of a device.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    known: Mutex<HashMap<Key, Arc<Pipeline>>>,
    cache: OnceLock<Cache>,
}

impl Pipelines {
    /// The pipeline of a launch, whose numbers are stored in 16 bits where `half` says so.
    pub fn of(&self, gpu: &Gpu, dispatch: &Dispatch, half: bool) -> Result<Arc<Pipeline>> {
        let aliases = dispatch.aliases.iter().map(|(name, ty)| format!("alias {name} = {ty};\n"));
        let constants: String = aliases.chain(dispatch.constants.iter().map(|(name, value)| format!("const {name} = {value};\n"))).collect();
        let variant = Variant::of(gpu.abilities(), half);
        let before = match dispatch.fragments {
            Some(edge) => format!("enable wgpu_cooperative_matrix;\n{}{}{constants}", variant.aliases, fragments(edge)),
            None => format!("{}{constants}", variant.aliases),
        };
        let written: Vec<bool> = dispatch.operands.iter().map(|o| o.is_written()).collect();
        let (source, entry, plain, trusted) = (dispatch.source, dispatch.entry.clone(), dispatch.parameters.is_empty(), dispatch.trusted);
        let key = Key { source, entry, variant: dispatch.variant.clone(), before, written, plain, trusted };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = known.get(&key) {
            return Ok(pipeline.clone());
        }
        let cache = self.cache.get().map(|cache| &cache.raw);
        let pipeline = Arc::new(gpu.scoped(0, || build(gpu.device(), &key, variant.reductions, cache))?);
        known.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Has them kept in a file of this folder; true where it held some.
    pub fn keep(&self, gpu: &Gpu, key: &str, folder: &Path) -> bool {
        self.cache.get().is_none() && Cache::open(gpu, key, folder).is_some_and(|cache| self.cache.get_or_init(|| cache).is_found())
    }

    /// All of them, in the order of their entry points and texts.
    pub fn kernels(&self) -> Vec<Kernel> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kernels: Vec<_> = known.values().map(|pipeline| pipeline.kernel.clone()).collect();
        kernels.sort();
        kernels
    }
}

fn build(device: &api::Device, key: &Key, reductions: &str, cache: Option<&api::PipelineCache>) -> Pipeline {
    let Key { source, entry, variant, before, written, plain, trusted } = key;
    let extents: String = EXTENTS.iter().map(|(name, value)| format!("const {name} = {value}u;\n")).collect();
    let source: Arc<str> = format!("{before}{extents}{COMMON}{reductions}{source}").into();
    let descriptor = api::ShaderModuleDescriptor { label: Some(entry), source: api::ShaderSource::Wgsl(Cow::Borrowed(&source)) };
    let module = if *trusted {
        let checks = api::ShaderRuntimeChecks {
            bounds_checks: false,
            force_loop_bounding: false,
            int_div_checks: false,
            ..api::ShaderRuntimeChecks::checked()
        };
        // SAFETY: of such a kernel the operator says that indices, divisors and loops follow from sizes alone (`Dispatch::trusted`), which the graph has
        // checked against the buffers that are bound. No text comes from outside this crate.
        unsafe { device.create_shader_module_trusted(descriptor, checks) }
    } else {
        device.create_shader_module(descriptor)
    };
    let entry_of = |binding: usize, ty| api::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: api::ShaderStages::COMPUTE,
        ty: api::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let layout =
        |entries: &[api::BindGroupLayoutEntry]| device.create_bind_group_layout(&api::BindGroupLayoutDescriptor { label: Some(entry), entries });
    let storage = |(binding, &written): (usize, &bool)| entry_of(binding, api::BufferBindingType::Storage { read_only: !written });
    let tensors = layout(&written.iter().enumerate().map(storage).collect::<Vec<_>>());
    let parameters = (!plain).then(|| layout(&[entry_of(0, api::BufferBindingType::Uniform)]));
    let groups: Vec<Option<&api::BindGroupLayout>> = [Some(&tensors), parameters.as_ref()].into_iter().filter(Option::is_some).collect();
    let pipeline_layout =
        device.create_pipeline_layout(&api::PipelineLayoutDescriptor { label: Some(entry), bind_group_layouts: &groups, immediate_size: 0 });
    let raw = device.create_compute_pipeline(&api::ComputePipelineDescriptor {
        label: Some(entry),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(entry),
        compilation_options: api::PipelineCompilationOptions { zero_initialize_workgroup_memory: !trusted, ..Default::default() },
        cache,
    });
    Pipeline { kernel: Kernel { entry: entry.clone(), variant: variant.clone(), source }, raw, tensors, parameters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subgroups_choose_the_reductions_and_halves_the_aliases() {
        for (half, aliases) in [(false, WHOLE), (true, HALF)] {
            for (subgroups, reductions) in [(false, REDUCE), (true, REDUCE_SUBGROUPS)] {
                // An adapter that has f16 still runs kernels in f32.
                for has_half in [half, true] {
                    let abilities = Abilities { half: has_half, subgroups, ..Abilities::PORTABLE };
                    assert_eq!(Variant::of(abilities, half), Variant { aliases, reductions }, "{abilities:?}, {half}");
                }
            }
        }
    }

    #[test]
    fn both_files_of_reductions_have_the_same_functions() {
        let signatures = |text: &'static str, of: &[&str]| -> Vec<&str> {
            let wanted = |line: &&str| of.iter().any(|name| line.starts_with(&format!("fn {name}(")));
            let mut found: Vec<&str> = text.lines().filter(wanted).collect();
            found.sort_unstable();
            found
        };
        let named = ["group_sum", "group_max", "quarter_sum", "quarter_max", "group_least"];
        assert_eq!(signatures(REDUCE, &named).len(), named.len());
        assert_eq!(signatures(REDUCE, &named), signatures(REDUCE_SUBGROUPS, &named));
        assert!(!REDUCE.contains("subgroupAdd(") && REDUCE_SUBGROUPS.contains("subgroupAdd("));
    }
}
