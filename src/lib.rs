//! `escnet`: hand-written kernels that run one multimodal model end to end.
//!
//! An image goes in; the probabilities of eight emotions, a caption and the words that mattered come out. Underneath
//! is a small kernel library: one file an operator, a graph with automatic backward, a planner, and sessions that replay.

#[cfg(feature = "bench")]
pub mod bench;
pub mod data;
pub mod device;
pub mod durable;
pub mod error;
pub mod graph;
mod hash;
pub mod infer;
pub mod model;
pub mod op;
pub mod ops;
pub mod tensor;
pub mod train;
pub mod verify;
pub mod weights;

pub use data::image::Image;
pub use device::Device;
pub use error::{Error, Result};
pub use infer::{Engine, EngineOptions};
pub use tensor::{DType, Shape, Tensor, TensorType};
