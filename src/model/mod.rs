//! The model, ESCNet: what its configuration says. "After the published abstract": the sizes are this project's own.

pub mod config;

pub use config::EscnetConfig;
