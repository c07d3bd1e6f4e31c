//! Data sets in every layout, their captions, what a check finds, and the way from their pictures to batches.
#![cfg(feature = "train")]

mod augment;
mod captions;
mod folder;
mod layouts;
mod pipeline;
