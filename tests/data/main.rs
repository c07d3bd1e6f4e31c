//! Data sets in every layout, their captions, what a check finds, the demo pictures, and the way from pictures to batches.
#![cfg(feature = "train")]

mod augment;
mod captions;
mod captions_file;
mod check;
mod demo;
mod folder;
mod layouts;
mod pipeline;
