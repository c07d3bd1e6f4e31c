//! Filters are [out, in, height, width] in files and [out, height, width, in] inside, where channels come last.

use super::Loaded;
use crate::error::Result;
use crate::graph::WeightSource;
use crate::tensor::Tensor;
use std::sync::Arc;

/// A file's tensor as the graph holds it.
///
/// # Errors
/// None for a whole tensor.
pub fn from_file(tensor: Tensor) -> Result<Tensor> {
    if tensor.shape().rank() == 4 { tensor.permute(&[0, 2, 3, 1]) } else { Ok(tensor) }
}

/// A graph's tensor as files hold it.
///
/// # Errors
/// None for a whole tensor.
pub fn to_file(tensor: Tensor) -> Result<Tensor> {
    if tensor.shape().rank() == 4 { tensor.permute(&[0, 3, 1, 2]) } else { Ok(tensor) }
}

/// Loaded weights as a source for a [`crate::graph::Store`].
pub fn weight_source(weights: Loaded) -> WeightSource {
    Arc::new(move |name| from_file(weights.tensor(name)?).map(Some))
}
