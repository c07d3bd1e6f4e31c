//! A golden operator file against a device.

use super::{Comparison, Floor, compare};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Builder, Options, Segment, Session, Store, Value, gradients, lower_precision};
use crate::ops::support::case::Golden;
use crate::ops::{row, rules};
use crate::tensor::{DType, Tensor, TensorType};
use crate::weights::WeightFile;
use std::collections::BTreeMap;
use std::path::Path;

/// Runs every case of `<stem>.safetensors`, forward and backward, on `device`, computing in `dtype`.
///
/// # Errors
/// [`Error::Io`], [`Error::Weights`], [`Error::Graph`] where the file does not have the golden form or no operator has its stem.
pub fn operator_file(path: &Path, device: &Device, dtype: DType) -> Result<Vec<Comparison>> {
    let form = |expected: &str, got: String| Error::graph(path.display().to_string(), expected, got);
    let file = WeightFile::open(path)?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let build = row(stem).and_then(|r| r.golden).ok_or_else(|| form("the stem of an operator with golden cases", stem.to_owned()))?;
    let json = |key: &str| -> Result<serde_json::Value> {
        let text = file.metadata().get(key).ok_or_else(|| form("metadata", format!("no key `{key}`")))?;
        serde_json::from_str(text).map_err(|e| form("JSON metadata", e.to_string()))
    };
    let (cases, errors) = (json("cases")?, json("torch_errors")?);
    let precision = if dtype == DType::F32 { "f32" } else { "bf16" };
    let mut comparisons = Vec::new();
    for (name, attributes) in cases.as_object().into_iter().flatten() {
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        for full in file.names() {
            if let Some(key) = full.strip_prefix(&format!("{name}/")) {
                tensors.insert(key.to_owned(), file.tensor(full)?.read()?);
            }
        }
        let torch = |tensor: &str| errors[name][precision][tensor].as_f64();
        let full_name = format!("{stem}/{name}");
        comparisons.extend(case(&full_name, attributes, &tensors, build, torch, device, dtype)?);
    }
    Ok(comparisons)
}

fn case(
    name: &str,
    attributes: &serde_json::Value,
    tensors: &BTreeMap<String, Tensor>,
    build: crate::ops::support::case::GoldenBuild,
    torch: impl Fn(&str) -> Option<f64>,
    device: &Device,
    dtype: DType,
) -> Result<Vec<Comparison>> {
    let of_kind = |kind: &str| -> Vec<(String, &Tensor)> {
        tensors.iter().filter_map(|(k, t)| Some((k.strip_prefix(kind)?.strip_prefix('.')?.to_owned(), t))).collect()
    };
    let mut builder = Builder::new();
    let mut inputs: BTreeMap<String, Value> = BTreeMap::new();
    for (key, tensor) in of_kind("in") {
        inputs.insert(key.clone(), builder.input(&format!("in.{key}"), tensor.ty())?);
    }
    let types: Vec<(String, TensorType)> = of_kind("in").into_iter().map(|(k, t)| (k, t.ty())).collect();
    let golden = Golden { name, attributes, inputs: &types };
    let find = |key: &str| inputs.get(key).copied().ok_or_else(|| Error::graph(name, format!("`in.{key}`"), "none"));
    let results = build(&golden, &mut builder, &find)?;
    results.iter().for_each(|(key, v)| builder.output(&format!("out.{key}"), *v));
    let mut seeds = Vec::new();
    for (key, tensor) in of_kind("cot") {
        let result = results.iter().find(|(k, _)| *k == key).ok_or_else(|| Error::graph(name, format!("a result `{key}`"), "none"))?;
        seeds.push((result.1, builder.input(&format!("cot.{key}"), tensor.ty())?));
    }
    let wrt: Vec<(String, Value)> = of_kind("grad").into_iter().filter_map(|(k, _)| Some((k.clone(), *inputs.get(&k)?))).collect();
    let grads = gradients(&mut builder, &rules(), &seeds, &wrt.iter().map(|(_, v)| *v).collect::<Vec<_>>())?;
    for ((key, _), grad) in wrt.iter().zip(grads) {
        builder.output(&format!("grad.{key}"), grad.ok_or_else(|| Error::graph(name, format!("a gradient of `{key}`"), "none"))?);
    }

    let graph = lower_precision(&builder.finish(), &rules(), dtype)?;
    let mut store = Store::new(device);
    let mut session = Session::new(graph, &mut store, Options { checked: true, ..Options::default() })?;
    for kind in ["in", "cot"] {
        for (key, tensor) in of_kind(kind) {
            session.write(&format!("{kind}.{key}"), tensor)?;
        }
    }
    session.run(&mut store, Segment::Run)?;
    let whole = of_kind("cot").iter().flat_map(|(_, t)| t.to_f64()).map(|x| x * x).sum::<f64>().sqrt();
    let mut comparisons = Vec::new();
    for (key, want) in ["out", "grad"].iter().flat_map(|kind| of_kind(kind).into_iter().map(move |(k, t)| (format!("{kind}.{k}"), t))) {
        let got = session.read_f64(&key, &store)?;
        let whole = if key.starts_with("grad") { whole } else { 0.0 };
        comparisons.push(compare(format!("{name}/{key}"), &got, &want.to_f64(), torch(&key), Floor::operator(dtype), dtype, whole));
    }
    Ok(comparisons)
}
