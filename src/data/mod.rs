//! What goes in and what comes out: pictures, their preparation, data sets, text and affect words.

pub mod attributes;
#[cfg(feature = "train")]
pub mod augment;
pub mod captions;
#[cfg(feature = "train")]
pub mod colour;
#[cfg(feature = "train")]
pub mod dataset;
#[cfg(feature = "train")]
pub mod demo;
#[cfg(feature = "train")]
mod draws;
#[cfg(feature = "train")]
pub mod captions_file;
pub mod emotions;
pub mod image;
#[cfg(feature = "train")]
pub mod jsonl;
pub mod lexicon;
#[cfg(feature = "train")]
pub mod pipeline;
pub mod preprocess;
mod resize;
pub mod tokenizer;
