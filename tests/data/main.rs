//! Data sets and the way from their pictures to batches.
#![cfg(feature = "train")]

mod augment;
mod folder;
mod pipeline;
