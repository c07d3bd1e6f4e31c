//! What several operators share. No operator lives here.

pub mod case;
pub mod draws;
pub mod elementwise;
#[cfg(feature = "cuda")]
pub mod gemm;
pub mod moments;
pub mod optimizer;
pub mod philox;
#[cfg(feature = "wgpu")]
pub mod product;
