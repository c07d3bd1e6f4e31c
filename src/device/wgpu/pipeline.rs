//! Shaders made into pipelines, each once.

use super::launch::{Dispatch, EXTENTS};
use super::{Abilities, Gpu, api};
use crate::device::Kernel;
use crate::error::Result;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

/// What tells two pipelines apart: the text, the entry point, the lines before it, which operands are written, and whether there are parameters.
type Key = (&'static str, String, String, Vec<bool>, bool);

/// The pipelines of a device.
#[derive(Debug, Default)]
pub(super) struct Pipelines(Mutex<HashMap<Key, Arc<Pipeline>>>);

impl Pipelines {
    /// The pipeline of a launch, whose numbers are stored in 16 bits where `half` says so.
    pub fn of(&self, gpu: &Gpu, dispatch: &Dispatch, half: bool) -> Result<Arc<Pipeline>> {
        let constants: String = dispatch.constants.iter().map(|(name, value)| format!("const {name} = {value};\n")).collect();
        let variant = Variant::of(gpu.abilities(), half);
        let before = format!("{}{constants}", variant.aliases);
        let written: Vec<bool> = dispatch.operands.iter().map(|o| o.is_written()).collect();
        let key = (dispatch.source, dispatch.entry.clone(), before, written, dispatch.parameters.is_empty());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = known.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(gpu.scoped(0, || build(gpu.device(), variant.reductions, &key))?);
        known.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// All of them, in the order of their entry points and texts.
    pub fn kernels(&self) -> Vec<Kernel> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kernels: Vec<_> = known.values().map(|pipeline| pipeline.kernel.clone()).collect();
        kernels.sort();
        kernels
    }
}

fn build(device: &api::Device, reductions: &str, (source, entry, before, written, plain): &Key) -> Pipeline {
    let extents: String = EXTENTS.iter().map(|(name, value)| format!("const {name} = {value}u;\n")).collect();
    let source: Arc<str> = format!("{before}{extents}{COMMON}{reductions}{source}").into();
    let module =
        device.create_shader_module(api::ShaderModuleDescriptor { label: Some(entry), source: api::ShaderSource::Wgsl(Cow::Borrowed(&source)) });
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
        compilation_options: api::PipelineCompilationOptions::default(),
        cache: None,
    });
    Pipeline { kernel: Kernel { entry: entry.clone(), source }, raw, tensors, parameters }
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
