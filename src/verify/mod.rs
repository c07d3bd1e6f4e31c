//! Golden numbers against a device: how results are judged.

mod model;
mod ops;

pub use model::model_folder;
pub use ops::operator_file;

use crate::tensor::DType;

/// How one tensor compares with its golden numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Folder or file, case and tensor.
    pub name: String,
    /// Relative L2 error, `||x - ref|| / ||ref||`; not a number where the result holds one.
    pub error: f64,
    /// The most it may be.
    pub limit: f64,
    /// PyTorch's own error in the same precision, where it is known.
    pub torch: Option<f64>,
    /// Printed only: PyTorch itself errs by more than 0.1.
    pub unjudged: bool,
}

impl Comparison {
    /// Within the limit, or not judged.
    pub fn passed(&self) -> bool {
        self.unjudged || self.error <= self.limit
    }
}

/// The least that a limit may be, by precision and by what is compared.
#[derive(Debug, Clone, Copy)]
pub struct Floor(pub f64);

impl Floor {
    /// For single operators.
    pub fn operator(dtype: DType) -> Self {
        Floor(if dtype == DType::F32 { 1e-5 } else { 2e-2 })
    }

    /// For whole models.
    pub fn model(dtype: DType) -> Self {
        Floor(if dtype == DType::F32 { 1e-5 } else { 1e-2 })
    }
}

/// Compares a result with its golden numbers.
///
/// The limit is four times PyTorch's own error, at least the floor; in half precision at most 0.2, and where PyTorch errs by more than
/// 0.1 nothing is judged. What is zero in exact arithmetic (a norm below 1e-7 of `whole`, the norm of the whole gradient or of the
/// cotangent) is measured against `whole`.
pub fn compare(name: String, got: &[f64], want: &[f64], torch: Option<f64>, floor: Floor, dtype: DType, whole: f64) -> Comparison {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut want.iter().copied());
    let difference = if got.len() == want.len() { norm(&mut got.iter().zip(want).map(|(g, w)| g - w)) } else { f64::NAN };
    let is_zero = size < 1e-7 * whole || size == 0.0;
    let measure = if is_zero && whole > 0.0 { whole } else { size };
    let error = if difference == 0.0 { 0.0 } else { difference / measure.max(f64::MIN_POSITIVE) };
    let half = dtype != DType::F32;
    // The ratio of two roundings to a norm of nothing says nothing.
    let torch = torch.filter(|_| !is_zero);
    let limit = torch.map_or(floor.0, |t| (4.0 * t).max(floor.0));
    Comparison { name, error, limit: if half { limit.min(0.2) } else { limit }, torch, unjudged: half && torch.is_some_and(|t| t > 0.1) }
}
