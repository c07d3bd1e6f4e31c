//! Kernels of `tests/cuda/kernels` that are wrong in one way each: parities, descriptors, swizzles, fences, copies that go on by themselves. The lists in `told/`, one
//! for each file of kernels, say what the stand-in has to tell of each. `tests/cuda` runs them; docs/faults.md names them.

use serde::Deserialize;

/// What is said of a kernel of which the stand-in tells nothing, and whose numbers are others than the right one's.
pub const BY_NUMBERS: &str = "other numbers";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// What they have in common.
    pub title: String,
    pub fault: Vec<Wrong>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    pub name: String,
    pub class: String,
    /// The kernel, without what all names of its file begin with.
    pub kernel: String,
    /// What is told has all of these words.
    pub told: Vec<String>,
}

/// The list of `told/<stem>.toml`, for the kernels of `tests/cuda/kernels/<stem>.cu`.
pub fn list(stem: &str) -> List {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/faults/told/{stem}.toml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
