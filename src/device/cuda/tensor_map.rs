//! Tensors as the tensor memory accelerator of compute capability 9.0 sees them.

use super::driver::{Context, words};
use super::launch::Operand;
use crate::error::{Error, Result};
use crate::tensor::DType;
use cudarc::driver::sys as api;
use std::ffi::c_void;

/// How wide the pattern is by which a tile's rows are mixed in shared memory, so that neither rows nor columns of it lie in one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swizzle {
    /// Rows lie one behind another.
    None,
    /// 32 bytes.
    Bytes32,
    /// 64 bytes.
    Bytes64,
    /// 128 bytes.
    Bytes128,
}

/// How a tensor lies in memory for the tensor memory accelerator, and which tile of it is copied at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// Whose memory it is.
    pub operand: Operand,
    /// How its elements are stored.
    pub dtype: DType,
    /// Extents, from that of the contiguous dimension on: at most five.
    pub dims: Vec<usize>,
    /// Bytes from one element to the next along each dimension but the first: multiples of 16.
    pub strides: Vec<usize>,
    /// A tile's extents, of at most 256; a row of it is a multiple of 16 bytes, and no wider than the swizzle.
    pub tile: Vec<usize>,
    /// How the tile lies in shared memory.
    pub swizzle: Swizzle,
}

/// The words of a tensor map on the tensor at this address.
///
/// # Errors
/// [`Error::Graph`] where it says what no driver takes, in the driver's words.
pub(super) fn encode(context: &Context, kernel: &str, map: &TensorMap, at: u64) -> Result<[u64; 16]> {
    use api::CUtensorMapDataType_enum as Type;
    use api::CUtensorMapSwizzle_enum as Pattern;
    let refused = |why: &str| Error::graph(kernel, "a tensor map that the driver takes", format!("{map:?}: {why}"));
    let rank = map.dims.len();
    if rank == 0 || map.strides.len() != rank - 1 || map.tile.len() != rank {
        return Err(refused("as many extents as the tile has, and one stride fewer"));
    }
    let data_type = match map.dtype {
        DType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::F16 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DType::BF16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::I32 => Type::CU_TENSOR_MAP_DATA_TYPE_INT32,
    };
    let swizzle = match map.swizzle {
        Swizzle::None => Pattern::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::Bytes32 => Pattern::CU_TENSOR_MAP_SWIZZLE_32B,
        Swizzle::Bytes64 => Pattern::CU_TENSOR_MAP_SWIZZLE_64B,
        Swizzle::Bytes128 => Pattern::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let long = |numbers: &[usize]| numbers.iter().map(|&n| n as u64).collect::<Vec<_>>();
    let tile = map.tile.iter().map(|&n| u32::try_from(n)).collect::<std::result::Result<Vec<_>, _>>().map_err(|_| refused("a tile beyond 2^32"))?;
    let (dims, strides, steps) = (long(&map.dims), long(&map.strides), vec![1; rank]);
    let mut encoded = api::CUtensorMap { opaque: [0; 16] };
    context.enter()?;
    // SAFETY: each list is as long as the rank says, the strides' but one, and the map is aligned as its type says.
    let status = unsafe {
        api::cuTensorMapEncodeTiled(
            &mut encoded,
            data_type,
            rank as u32,
            at as *mut c_void,
            dims.as_ptr(),
            strides.as_ptr(),
            tile.as_ptr(),
            steps.as_ptr(),
            api::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            api::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            api::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    match status {
        api::CUresult::CUDA_ERROR_INVALID_VALUE => Err(refused(&words(status))),
        _ => context.check(status).map(|()| encoded.opaque),
    }
}
