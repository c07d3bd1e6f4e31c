//! What training and evaluation report with: metrics, event files, the record of a run and its curves.

mod common;
mod curves;
mod events;
mod metrics;
mod record;
