//! Training: whole runs, what they are told, and what they report with.
#![cfg(feature = "train")]

mod ablate;
mod common;
mod curves;
mod events;
mod learns;
mod metrics;
mod orders;
mod record;
mod runs;
mod tiny;
