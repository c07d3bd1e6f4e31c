//! Training: whole runs, what they are told, and what they report with.

mod common;
mod curves;
mod events;
mod metrics;
mod record;
mod runs;
mod tiny;
