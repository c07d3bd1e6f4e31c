//! The header of a safetensors file: 8 bytes of length, then JSON, then the tensors' bytes without a gap.
//!
//! Stricter than the format asks. A header of more than 8 MiB, two tensors of one name, a name that is empty or climbs out of a folder, a tensor
//! without elements, a hole, an overlap and trailing bytes are each refused, by name where there is one.

use super::stored::StoredType;
use crate::error::WeightProblem;
use crate::tensor::MAX_RANK;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

/// Bytes before the JSON.
pub(super) const LENGTH_BYTES: usize = 8;
/// The longest header accepted. The largest checkpoint this library reads needs a tenth of a MiB.
const MAX_HEADER: u64 = 8 << 20;
/// The most tensors accepted.
const MAX_TENSORS: usize = 1 << 16;

/// One tensor as the header describes it, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub stored: StoredType,
    pub shape: Vec<usize>,
    /// The tensor's bytes, counted from the start of the file.
    pub bytes: Range<usize>,
}

/// A checked header.
#[derive(Debug)]
pub(super) struct Header {
    /// The tensors, sorted by name.
    pub entries: Vec<Entry>,
    /// The file's free text, `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

/// The length of the JSON, from a file's first bytes and its length.
pub(super) fn json_length(first: [u8; LENGTH_BYTES], file_length: u64) -> Result<usize, WeightProblem> {
    let length = u64::from_le_bytes(first);
    if length > MAX_HEADER {
        return Err(broken(format!("the header claims {length} bytes, at most {MAX_HEADER} are accepted")));
    }
    if length > file_length.saturating_sub(LENGTH_BYTES as u64) {
        return Err(broken(format!("the header claims {length} bytes, the file has {file_length}")));
    }
    Ok(length as usize)
}

impl Header {
    /// Parses and checks the JSON of a file of `file_length` bytes.
    pub fn parse(json: &[u8], file_length: u64) -> Result<Self, Vec<WeightProblem>> {
        let text = std::str::from_utf8(json).map_err(|e| vec![broken(format!("the header is not UTF-8: {e}"))])?;
        if !text.starts_with('{') {
            return Err(vec![broken("the header is not a JSON object")]);
        }
        let raw: RawHeader = serde_json::from_str(text).map_err(|e| vec![broken(format!("the header is not valid: {e}"))])?;
        let start = (LENGTH_BYTES + json.len()) as u64;
        let mut problems = raw.twice();
        let mut spans = Vec::with_capacity(raw.tensors.len());
        for (name, tensor) in raw.tensors {
            match tensor.check(name, start, file_length) {
                Ok(entry) => spans.push(entry),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            spans.sort_by_key(|e| e.bytes.start);
            problems = gaps(&spans, start as usize, file_length as usize);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        spans.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Header { entries: spans, metadata: raw.metadata })
    }
}

/// A complaint about the file as a whole.
pub(super) fn broken(reason: impl Into<String>) -> WeightProblem {
    WeightProblem::File { reason: reason.into() }
}

/// Where the tensors, sorted by place, do not follow each other from the header to the end of the file.
fn gaps(spans: &[Entry], start: usize, file_length: usize) -> Vec<WeightProblem> {
    let mut problems = Vec::new();
    let (mut end, mut last) = (start, "the header");
    for Entry { name, bytes, .. } in spans {
        if bytes.start > end {
            problems.push(broken(format!("a hole of {} bytes between {last} and {name}", bytes.start - end)));
        } else if bytes.start < end {
            problems.push(broken(format!("{last} and {name} overlap by {} bytes", end - bytes.start)));
        }
        (end, last) = (bytes.end.max(end), name);
    }
    if end < file_length {
        problems.push(broken(format!("{} bytes after the last tensor", file_length - end)));
    }
    problems
}

/// The header's JSON as it stands, nothing checked but its types. Unlike a map this keeps names that come twice.
#[derive(Default)]
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl RawHeader {
    /// The names that come more than once.
    fn twice(&self) -> Vec<WeightProblem> {
        let mut seen = HashSet::new();
        let twice = self.tensors.iter().filter(|(name, _)| !seen.insert(name));
        twice.map(|(name, _)| WeightProblem::Duplicate { name: name.clone() }).collect()
    }
}

impl RawTensor {
    /// The tensor with its extent counted from the start of the file.
    fn check(self, name: String, start: u64, file_length: u64) -> Result<Entry, WeightProblem> {
        if !is_plain(&name) {
            return Err(WeightProblem::Name { name });
        }
        let Some(stored) = StoredType::parse(&self.dtype) else {
            return Err(WeightProblem::DType { name, got: self.dtype });
        };
        let shape: Option<Vec<usize>> = self.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        let size = self.shape.iter().try_fold(stored.size() as u64, |n, &d| n.checked_mul(d));
        let (Some(shape), Some(size), true) = (shape, size, self.shape.len() <= MAX_RANK) else {
            let expected = format!("at most {MAX_RANK} dimensions that fit memory");
            return Err(WeightProblem::Shape { name, expected, got: format!("{:?}", self.shape) });
        };
        if size == 0 {
            return Err(WeightProblem::Shape { name, expected: "at least one element".into(), got: format!("{shape:?}") });
        }
        let (from, to) = self.data_offsets;
        if to.checked_sub(from) != Some(size) {
            return Err(broken(format!("{name}: {stored}{shape:?} has {size} bytes, its offsets say {from} to {to}")));
        }
        match start.checked_add(to) {
            Some(end) if end <= file_length => Ok(Entry { name, stored, shape, bytes: (start + from) as usize..end as usize }),
            _ => Err(broken(format!("{name}: ends {to} bytes after the header, the file has {} there", file_length.saturating_sub(start)))),
        }
    }
}

/// Whether a tensor's name can be shown in a message and would do no harm as part of a file's name.
pub(super) fn is_plain(name: &str) -> bool {
    let climbs = name.split(['/', '\\']).any(|step| step == "..");
    !name.trim().is_empty() && !climbs && !name.starts_with('/') && !name.chars().any(char::is_control)
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        header.tensors.push((name, map.next_value()?));
                        if header.tensors.len() > MAX_TENSORS {
                            return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                        }
                    } else if metadata.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("__metadata__"));
                    }
                }
                header.metadata = metadata.unwrap_or_default();
                Ok(header)
            }
        }
        from.deserialize_map(Entries)
    }
}
