//! What several operators share. No operator lives here.

pub mod case;
pub mod elementwise;
pub mod optimizer;
pub mod philox;
#[cfg(feature = "wgpu")]
pub mod product;
