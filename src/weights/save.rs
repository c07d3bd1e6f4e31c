//! Safetensors out: the same tensors always give the same bytes.

use super::header::is_plain;
use super::stored::StoredType;
use crate::durable::write_atomically;
use crate::error::{Error, Result, WeightProblem};
use crate::tensor::{DType, Data, Tensor, TensorType};
use half::{bf16, f16};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

/// Writes tensors to a file: floating-point ones as `dtype`, or as they are where it is none; integers as they are. The file is replaced
/// whole or not at all.
///
/// # Errors
/// [`Error::Weights`] where two tensors have one name, where a name is not plain, or where a number is not finite in the
/// type it is written as; [`Error::Argument`] where `dtype` is not a floating-point type; [`Error::Io`].
pub fn save(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    dtype: Option<DType>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    if let Some(dtype) = dtype.filter(|d| !d.is_float()) {
        return Err(Error::Argument { name: "dtype", expected: "f32, f16 or bf16".into(), got: dtype.to_string() });
    }
    let mut by_name = BTreeMap::new();
    for (name, tensor) in tensors {
        if by_name.insert(name.clone(), tensor).is_some() {
            return Err(Error::weights(path, vec![WeightProblem::Duplicate { name }]));
        }
    }
    let types: Vec<_> = by_name.iter().map(|(name, tensor)| (name.clone(), stored_as(tensor.ty(), dtype))).collect();
    save_with(path, &types, metadata, |name| by_name.remove(name).ok_or_else(|| Error::graph(name, "a tensor for each name", "none")))
}

/// Writes tensors to a file, asking for one after the other, so that only one need be in memory. `types` says how each is written; what `read`
/// returns may be of any floating-point type where that is one.
///
/// # Errors
/// As for [`save`], and whatever `read` returns; [`Error::Op`] where `read` returns a tensor of another shape.
pub fn save_with(
    path: impl AsRef<Path>,
    types: &[(String, TensorType)],
    metadata: &BTreeMap<String, String>,
    mut read: impl FnMut(&str) -> Result<Tensor>,
) -> Result<()> {
    let path = path.as_ref();
    // The widest elements first, so that all are aligned; then by name.
    let mut order: Vec<_> = types.iter().collect();
    order.sort_by_key(|(name, ty)| (Reverse(ty.dtype.size()), name));
    let problems = problems_of(types);
    if !problems.is_empty() {
        return Err(Error::weights(path, problems));
    }
    let header = header(&order, metadata);
    write_atomically(path, |out| {
        let io = |e| Error::io(path, e);
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        out.write_all(header.as_bytes()).map_err(io)?;
        for (name, ty) in order {
            let tensor = read(name)?;
            if tensor.shape() != ty.shape || tensor.ty().dtype.is_float() != ty.dtype.is_float() {
                return Err(Error::op("save", name, ty, tensor.ty()));
            }
            write_elements(out, &tensor, ty.dtype).map_err(io)?.map_err(|index| {
                let problem = WeightProblem::NotFinite { name: name.clone(), index };
                Error::weights(path, vec![problem])
            })?;
        }
        Ok(())
    })
}

/// The type a tensor is written as where floating-point ones become `dtype`.
pub(super) fn stored_as(ty: TensorType, dtype: Option<DType>) -> TensorType {
    match dtype {
        Some(dtype) if ty.dtype.is_float() => TensorType { dtype, ..ty },
        _ => ty,
    }
}

/// What of a file's description could not be read back: names that come twice or are not plain, tensors without elements.
fn problems_of(types: &[(String, TensorType)]) -> Vec<WeightProblem> {
    let mut seen = HashSet::new();
    let problem = |(name, ty): &(String, TensorType)| {
        let twice = !seen.insert(name.clone());
        let name = name.clone();
        match () {
            () if twice => Some(WeightProblem::Duplicate { name }),
            () if !is_plain(&name) || name == "__metadata__" => Some(WeightProblem::Name { name }),
            () if ty.is_empty() => Some(WeightProblem::Shape { name, expected: "at least one element".into(), got: ty.shape.to_string() }),
            () => None,
        }
    };
    types.iter().filter_map(problem).collect()
}

/// The header's JSON, padded so that the first tensor is aligned.
fn header(order: &[&(String, TensorType)], metadata: &BTreeMap<String, String>) -> String {
    let mut json = String::from("{");
    if !metadata.is_empty() {
        let text: serde_json::Value = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let _ = write!(json, "\"__metadata__\":{text},");
    }
    let mut start = 0;
    for (name, ty) in order {
        let end = start + ty.bytes();
        let name = serde_json::Value::from(name.as_str());
        // Writing to a string cannot fail.
        let _ = write!(json, "{name}:{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{start},{end}]}},", StoredType::from(ty.dtype), ty.shape);
        start = end;
    }
    if json.ends_with(',') {
        json.pop();
    }
    json.push('}');
    let padded = json.len().next_multiple_of(8);
    json.extend(std::iter::repeat_n(' ', padded - json.len()));
    json
}

/// Writes the elements as `dtype`; the inner error is the index of one that is not finite.
fn write_elements(out: &mut dyn Write, tensor: &Tensor, dtype: DType) -> std::io::Result<Result<(), usize>> {
    match dtype {
        DType::F32 => write_floats(out, tensor, |x| x.is_finite().then(|| x.to_le_bytes())),
        DType::F16 => write_floats(out, tensor, |x| Some(f16::from_f32(x)).filter(|x| x.is_finite()).map(f16::to_le_bytes)),
        DType::BF16 => write_floats(out, tensor, |x| Some(bf16::from_f32(x)).filter(|x| x.is_finite()).map(bf16::to_le_bytes)),
        DType::I32 => {
            for x in tensor.as_i32().unwrap_or_default() {
                out.write_all(&x.to_le_bytes())?;
            }
            Ok(Ok(()))
        }
    }
}

fn write_floats<const N: usize>(out: &mut dyn Write, tensor: &Tensor, bytes: impl Fn(f32) -> Option<[u8; N]>) -> std::io::Result<Result<(), usize>> {
    match tensor.data() {
        Data::F32(v) => write_each(out, v.iter().map(|&x| bytes(x))),
        Data::F16(v) => write_each(out, v.iter().map(|&x| bytes(x.to_f32()))),
        Data::BF16(v) => write_each(out, v.iter().map(|&x| bytes(x.to_f32()))),
        Data::I32(_) => Ok(Ok(())),
    }
}

fn write_each<const N: usize>(out: &mut dyn Write, elements: impl Iterator<Item = Option<[u8; N]>>) -> std::io::Result<Result<(), usize>> {
    let mut block = Vec::with_capacity(1 << 16);
    for (i, element) in elements.enumerate() {
        let Some(bytes) = element else { return Ok(Err(i)) };
        block.extend_from_slice(&bytes);
        if block.len() >= 1 << 16 {
            out.write_all(&block)?;
            block.clear();
        }
    }
    out.write_all(&block).map(Ok)
}
