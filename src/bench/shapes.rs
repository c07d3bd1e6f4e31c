//! Which operators are measured, on which tensors: those that a model's own graphs run, after fusion, each once.

use super::listed::{Listed, SWEEP};
use super::parts::{Part, build};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Segment, Source, StateKind, Value, gradients, prepare};
use crate::model::config::EscnetConfig;
use crate::op::{Cost, Op};
use crate::ops::support::case::Case;
use crate::ops::{TABLE, rules};
use crate::tensor::{DType, Tensor, TensorType};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// What an operator's input is to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Computed before, or written by the host.
    Given,
    /// Does not change between runs, so that a device may keep it in a form that it likes better.
    Weight,
    /// State that the operator updates.
    Updated,
    /// These numbers.
    Fixed(Tensor),
}

/// An operator on tensors of certain types.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What is computed.
    pub op: Arc<dyn Op>,
    /// From these.
    pub inputs: Vec<(TensorType, Role)>,
    /// Giving these; which of them anybody wants.
    pub outputs: Vec<(TensorType, bool)>,
    /// The work of one execution.
    pub cost: Cost,
    /// In which graph it was met first.
    pub part: &'static str,
    /// How often it runs there.
    pub uses: usize,
}

/// So many inputs are shown one by one;
const MOST_SHOWN: usize = 8;
/// of more only these.
const MANY_SHOWN: usize = 3;
/// Letters of attributes that a row has.
const LETTERS: usize = 160;

impl Subject {
    /// The types of its inputs in short, as `1x577x768 bf16:3072x768`; of many the first and how many more there are.
    pub fn shape(&self) -> String {
        let short = |ty: &TensorType| {
            let extents: Vec<String> = ty.shape.iter().map(usize::to_string).collect();
            let extents = if extents.is_empty() { "1".to_owned() } else { extents.join("x") };
            if ty.dtype == DType::F32 { extents } else { format!("{}:{extents}", ty.dtype.name()) }
        };
        let shown = if self.inputs.len() > MOST_SHOWN { MANY_SHOWN } else { MOST_SHOWN };
        let mut words: Vec<String> = self.inputs.iter().take(shown).map(|(ty, _)| short(ty)).collect();
        if self.inputs.len() > shown {
            words.push(format!("+{}", self.inputs.len() - shown));
        }
        words.join(" ")
    }

    /// What measurements of it are kept by: [`dyn Op::signature`](crate::op::Op).
    pub fn signature(&self) -> String {
        let types: Vec<TensorType> = self.inputs.iter().map(|(ty, _)| *ty).collect();
        self.op.signature(&types)
    }

    /// The attributes as a row has them: long ones are cut, and tell how long they were.
    pub fn short_attributes(&self) -> String {
        let whole = self.op.attributes();
        match whole.char_indices().nth(LETTERS) {
            Some((end, _)) => format!("{} .. {} letters", &whole[..end], whole.len()),
            None => whole,
        }
    }

    /// What tells it from others: operator with attributes, types and roles.
    fn key(&self) -> String {
        let inputs: Vec<String> = self.inputs.iter().map(|(ty, role)| format!("{ty} {}", role_name(role))).collect();
        let wanted: Vec<bool> = self.outputs.iter().map(|&(_, wanted)| wanted).collect();
        format!("{} {} {inputs:?} {wanted:?}", self.op.label(), self.op.attributes())
    }
}

fn role_name(role: &Role) -> &'static str {
    match role {
        Role::Given => "given",
        Role::Weight => "weight",
        Role::Updated => "updated",
        Role::Fixed(_) => "fixed",
    }
}

/// Everything that these parts of a model run for `batch` pictures, computing in `dtype`: each operator once for the same types, views left out.
///
/// # Errors
/// Those of the model's builders.
pub fn subjects(config: &EscnetConfig, parts: &[Part], batch: usize, dtype: DType) -> Result<Vec<Subject>> {
    let mut found = Found::default();
    parts.iter().try_for_each(|&part| found.add(build(config, part, batch)?, part.name(), dtype))?;
    Ok(found.subjects)
}

/// The operators of a list, forward and backward: `sweep`, or a file in TOML.
///
/// # Errors
/// [`Error::Io`], [`Error::Config`] where the file is not such a list; those of the operators' shape rules.
pub fn listed(name: &str, dtype: DType) -> Result<Vec<Subject>> {
    let list = if name == "sweep" {
        Listed::parse(SWEEP, Path::new("sweep.toml"))?
    } else {
        Listed::parse(&std::fs::read_to_string(name).map_err(|e| Error::io(name, e))?, Path::new(name))?
    };
    let mut found = Found::default();
    found.add(list.graph()?, "listed", dtype)?;
    Ok(found.subjects)
}

/// Every operator on what it is tested on, forward and backward, save empty tensors; of numbers in 16 bits those alone that are computed in.
///
/// # Errors
/// Those of the operators' shape rules.
pub fn cases(dtype: DType) -> Result<Vec<Subject>> {
    let mut found = Found::default();
    for case in TABLE.iter().flat_map(|row| (row.cases)()) {
        let graph = differentiated(&case)?;
        if graph.values().all(|(_, info)| [DType::F32, DType::I32, dtype].contains(&info.ty.dtype)) {
            found.add(graph, "cases", dtype)?;
        }
    }
    let is_empty = |subject: &Subject| subject.inputs.iter().any(|(ty, _)| ty.is_empty()) || subject.outputs.iter().any(|(ty, _)| ty.is_empty());
    found.subjects.retain(|subject| !is_empty(subject));
    Ok(found.subjects)
}

/// A case's graph with the gradients that it has; it is taken apart, not run.
fn differentiated(case: &Case) -> Result<Graph> {
    let (mut b, inputs, results) = case.graph()?;
    let wanted: Vec<Value> = case.inputs.iter().zip(inputs).filter(|(input, _)| input.gradient).map(|(_, v)| v).collect();
    if wanted.is_empty() {
        return Ok(b.finish());
    }
    let mut seeds = Vec::new();
    for (name, y) in results {
        let ty = b.ty(y);
        if ty.dtype != DType::I32 {
            seeds.push((y, b.input(&format!("gradient of {name}"), ty)?));
        }
    }
    for (i, gradient) in gradients(&mut b, &rules(), &seeds, &wanted)?.into_iter().enumerate() {
        gradient.iter().for_each(|&gradient| b.output(&format!("gradient {i}"), gradient));
    }
    Ok(b.finish())
}

/// Subjects, each once.
#[derive(Default)]
struct Found {
    subjects: Vec<Subject>,
    places: HashMap<String, usize>,
}

impl Found {
    fn add(&mut self, graph: Graph, part: &'static str, dtype: DType) -> Result<()> {
        let graph = prepare(graph, &rules(), dtype)?;
        let (uses, updated) = (graph.uses(), graph.updated());
        for node in graph.nodes().iter().filter(|n| n.segment != Segment::Prepare && !n.op.is_view()) {
            let subject = subject(&graph, node, part, &uses, &updated);
            let place = *self.places.entry(subject.key()).or_insert(self.subjects.len());
            match self.subjects.get_mut(place) {
                Some(known) => known.uses += usize::from(known.part == part),
                None => self.subjects.push(subject),
            }
        }
        Ok(())
    }
}

fn subject(graph: &Graph, node: &Node, part: &'static str, uses: &[usize], updated: &[bool]) -> Subject {
    let role = |v: &Value| match &graph.info(*v).source {
        Source::Constant(tensor) => Role::Fixed(tensor.clone()),
        Source::State(kind) if (kind.is_weight() || *kind == StateKind::Derived) && !updated[v.index()] => Role::Weight,
        _ => Role::Given,
    };
    let inputs = node.inputs.iter().enumerate();
    let inputs = inputs.map(|(i, v)| (graph.ty(*v), if node.op.updates().contains(&i) { Role::Updated } else { role(v) })).collect();
    let outputs = node.outputs.iter().map(|v| (graph.ty(*v), uses[v.index()] > 0)).collect();
    Subject { op: node.op.clone(), inputs, outputs, cost: graph.cost(node), part, uses: 1 }
}

#[cfg(test)]
mod tests {
    use super::super::parts::model;
    use super::*;

    #[test]
    fn a_model_s_operators_are_met_once() -> Result<()> {
        let config = model("escnet-tiny")?;
        let all = subjects(&config, &Part::ALL, 2, DType::F32)?;
        let mut keys: Vec<String> = all.iter().map(Subject::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
        let stems: std::collections::BTreeSet<&str> = all.iter().map(|s| s.op.stem()).collect();
        for stem in ["adamw", "attention", "batchnorm", "conv2d", "cross_entropy", "kv_cache", "layernorm", "linear", "variable_weight_loss"] {
            assert!(stems.contains(stem), "{stem} of {stems:?}");
        }
        assert!(all.iter().any(|s| s.uses > 1) && all.iter().any(|s| s.op.pass() == "backward_input"));
        Ok(())
    }

    #[test]
    fn a_sweep_has_what_kernels_are_compared_at() -> Result<()> {
        for dtype in [DType::F32, DType::BF16] {
            let told: Vec<String> = listed("sweep", dtype)?.iter().map(|s| format!("{} {}", s.op.label(), s.shape())).collect();
            let prefix = if dtype == DType::F32 { "" } else { "bf16:" };
            let has = |label: &str, shape: &str| {
                let shape: Vec<String> = shape.split(' ').map(|extents| format!("{prefix}{extents}")).collect();
                told.contains(&format!("{label} {}", shape.join(" ")))
            };
            assert!(has("matmul", "8192x8192 8192x8192") && has("attention", "32x197x768 32x197x768 32x197x768"), "{told:#?}");
            assert!(has("conv2d.backward_input", "32x56x56x64 64x3x3x64") && has("linear.backward_weight", "4096x4096 4096x4096"), "{told:#?}");
        }
        Ok(())
    }

    /// What no model runs as it stands is reached too, and can be computed with what a bench fills tensors with.
    #[test]
    fn every_operator_has_cases_that_can_be_measured() -> Result<()> {
        use super::super::subject::{Check, Memory, Prepared};
        let device = crate::device::Device::cpu(2)?;
        for dtype in [DType::F32, DType::BF16] {
            let all = cases(dtype)?;
            let stems: std::collections::BTreeSet<&str> = all.iter().map(|s| s.op.stem()).collect();
            let missing: Vec<&str> = TABLE.iter().map(|row| row.stem).filter(|stem| !stems.contains(stem)).collect();
            assert_eq!(missing, ["reshape"], "{dtype}: a view computes nothing");
            assert!(all.iter().any(|s| s.op.label() == "gelu") && all.iter().any(|s| s.op.label() == "linear.backward_weight"));
            let mut wrong = Vec::new();
            // Of each operator and pass the first few: plain ones and some with attributes.
            let mut met: HashMap<String, usize> = HashMap::new();
            for subject in all.iter().filter(|subject| subject.cost.flops < 1_000_000) {
                let count = met.entry(subject.op.label()).or_default();
                *count += 1;
                if *count > 4 {
                    continue;
                }
                match Prepared::new(subject, &device, Memory::Hot).and_then(|mut prepared| prepared.check()) {
                    Ok(Check::Checked(worst)) if !worst.error.is_finite() => wrong.push(format!("{} {}", subject.op.label(), subject.shape())),
                    Ok(_) => {}
                    Err(e) => wrong.push(e.to_string()),
                }
            }
            assert!(wrong.is_empty(), "{dtype}, of {}: {wrong:#?}", all.len());
        }
        Ok(())
    }

    #[test]
    fn attributes_are_without_names_and_keys() -> Result<()> {
        let all = subjects(&model("escnet-base")?, &[Part::TrainClassify], 1, DType::F32)?;
        let of = |label: &str| all.iter().find(|s| s.op.label() == label).map(|s| s.op.attributes()).unwrap_or_default();
        assert_eq!(of("layernorm"), "eps: 1e-12");
        assert_eq!(of("dropout"), "p: 0.1, key: , backward: false");
        assert_eq!(of("relu"), "");
        assert!(of("adamw").len() > LETTERS);
        assert!(all.iter().all(|s| s.short_attributes().len() < LETTERS + 32));
        Ok(())
    }

    #[test]
    fn keys_of_random_numbers_make_no_difference() -> Result<()> {
        let dropouts = |of: &str| -> Result<usize> {
            Ok(subjects(&model(of)?, &[Part::TrainClassify], 1, DType::F32)?.iter().filter(|s| s.op.stem() == "dropout").count())
        };
        assert_eq!(dropouts("escnet-tiny")?, 0);
        assert!((1..10).contains(&dropouts("escnet-base")?), "{}", dropouts("escnet-base")?);
        Ok(())
    }
}
