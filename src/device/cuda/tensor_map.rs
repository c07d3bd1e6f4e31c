//! Tensors as the tensor memory accelerator of compute capability 9.0 sees them.

use super::driver::{Context, words};
use super::launch::Operand;
use crate::error::{Error, Result};
use crate::tensor::DType;
use cudarc::driver::sys as api;
use std::ffi::c_void;
use std::num::TryFromIntError;

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

/// What is copied at once. A row of it, along the contiguous dimension, is a multiple of 16 bytes and no wider than the swizzle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tile {
    /// A box of these extents, at most 256 each.
    Box(Vec<usize>),
    /// What lies under one tap of a filter that goes over pictures ("im2col"), whose dimensions are channels, W, H and the pictures.
    Pixels {
        /// Pixels, at most 1024: along W first, then H, then from picture to picture.
        pixels: usize,
        /// Channels of each, at most 256.
        channels: usize,
        /// Along W and H: where the filter's first tap may lie at the least, and at the most, counted from the last pixel on: from -128 to 127.
        corners: [[isize; 2]; 2],
        /// From one of its places to the next, in both directions: at most 8.
        step: usize,
    },
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
    /// What is copied.
    pub tile: Tile,
    /// How it lies in shared memory.
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
    let beyond = |_: TryFromIntError| refused("a tile beyond 2^31");
    let rank = map.dims.len();
    let fits = match &map.tile {
        Tile::Box(tile) => tile.len() == rank,
        Tile::Pixels { .. } => rank == 4,
    };
    if rank == 0 || map.strides.len() != rank - 1 || !fits {
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
    let (dims, strides) = (long(&map.dims), long(&map.strides));
    let interleave = api::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE;
    let promotion = api::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
    let fill = api::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    let mut encoded = api::CUtensorMap { opaque: [0; 16] };
    let (rank, address, dims, strides) = (rank as u32, at as *mut c_void, dims.as_ptr(), strides.as_ptr());
    context.enter()?;
    let status = match &map.tile {
        Tile::Box(tile) => {
            let tile = tile.iter().map(|&n| u32::try_from(n)).collect::<std::result::Result<Vec<_>, _>>().map_err(beyond)?;
            let (tile, steps) = (tile.as_ptr(), vec![1; map.dims.len()]);
            // SAFETY: each list is as long as the rank says, the strides' but one, and the map is aligned as its type says.
            unsafe {
                let map = &mut encoded;
                api::cuTensorMapEncodeTiled(map, data_type, rank, address, dims, strides, tile, steps.as_ptr(), interleave, swizzle, promotion, fill)
            }
        }
        Tile::Pixels { pixels, channels, corners, step } => {
            let short = |n: &usize| u32::try_from(*n).map_err(beyond);
            let corner = |[w, h]: [isize; 2]| -> Result<[i32; 2]> { Ok([i32::try_from(w).map_err(beyond)?, i32::try_from(h).map_err(beyond)?]) };
            let (pixels, channels, step) = (short(pixels)?, short(channels)?, short(step)?);
            let (first, last, steps) = (corner(corners[0])?, corner(corners[1])?, [1, step, step, 1]);
            let (first, last, steps) = (first.as_ptr(), last.as_ptr(), steps.as_ptr());
            // SAFETY: as above; the rank is 4, and corners have two numbers, which is two fewer.
            unsafe {
                let map = &mut encoded;
                api::cuTensorMapEncodeIm2col(
                    map, data_type, rank, address, dims, strides, first, last, channels, pixels, steps, interleave, swizzle, promotion, fill,
                )
            }
        }
    };
    match status {
        api::CUresult::CUDA_ERROR_INVALID_VALUE => Err(refused(&words(status))),
        _ => context.check(status).map(|()| encoded.opaque),
    }
}
