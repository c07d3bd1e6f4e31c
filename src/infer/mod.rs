//! From a picture to an emotion and a caption.

mod engine;
#[cfg(feature = "explain")]
pub mod explain;
mod generate;
mod handoff;
mod heat;
pub mod inspect;
mod model;
pub mod search;

pub use engine::{Caption, Classification, Engine, EngineOptions, Prediction, WordGate};
pub use generate::{Captioner, Generation};
pub use handoff::hand_off;
pub use heat::Heat;
pub use model::{Model, ModelFiles};
pub use search::Sampling;
