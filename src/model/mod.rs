//! The parts of ESCNet as graph builders: no maths of their own, only operators in order. Names follow the checkpoints'.

pub mod backbone;
pub mod captioner;
pub mod config;
pub mod decoder;
pub mod escnet;
pub mod fusion;
pub mod layers;
pub mod text;
pub mod vision;

pub use config::EscnetConfig;
pub use layers::Training;
