//! Training: whole runs, what they are told, what they report with, and that they learn as PyTorch does.
#![cfg(feature = "train")]

mod ablate;
mod common;
mod curves;
mod events;
mod learning;
mod learns;
mod metrics;
mod orders;
mod record;
mod runs;
mod tiny;
