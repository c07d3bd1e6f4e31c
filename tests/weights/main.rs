//! Weights and configurations: what is read, what is refused and how it is said, what is written.

mod common;
mod config;
mod convert;
mod damage;
mod durable;
mod file;
#[cfg(feature = "train")]
mod fingerprint;
mod load;
mod manifest;
mod save;
