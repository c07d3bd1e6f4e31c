//! A short name for what weights say, so that results can tell which model they come from.

use super::WEIGHTS_FILE;
use super::file::WeightFile;
use crate::error::{Error, Result, WeightProblem};
use std::path::Path;

/// Hex digits of a fingerprint: 64 bits tell apart all the models anyone has, and stay short in a row of a file.
const DIGITS: usize = 16;

/// The fingerprint of those tensors of a model folder whose names begin with `prefix`: the first 64 bits, in hex, of BLAKE3 over each tensor's
/// name, element type, extents and bytes as they are stored, in the order of the names. It does not depend on where in the file a tensor
/// stands, nor on what else is there; the same numbers in another element type are other weights.
///
/// # Errors
/// Those of [`WeightFile::open`]; [`Error::Weights`] where no name begins so.
pub fn fingerprint(model: &Path, prefix: &str) -> Result<String> {
    let path = model.join(WEIGHTS_FILE);
    let file = WeightFile::open(&path)?;
    let mut hasher = blake3::Hasher::new();
    // Each field after its length, so that no two lists of tensors read alike.
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let mut tensors = 0;
    for name in file.names().filter(|name| name.starts_with(prefix)) {
        let tensor = file.tensor(name)?;
        field(name.as_bytes());
        field(tensor.describe().as_bytes());
        field(tensor.bytes);
        file.forget(name);
        tensors += 1;
    }
    if tensors == 0 {
        let missing = WeightProblem::Missing { name: format!("{prefix}*"), expected: "one tensor or more".to_owned() };
        return Err(Error::weights(path, vec![missing]));
    }
    let hex = hasher.finalize().to_hex();
    Ok(hex.chars().take(DIGITS).collect())
}
