//! What goes in and what comes out: pictures, their preparation, data sets, text and affect words.

#[cfg(feature = "train")]
pub mod attributes;
#[cfg(feature = "train")]
pub mod captions;
#[cfg(feature = "train")]
pub mod dataset;
pub mod emotions;
#[cfg(feature = "train")]
pub mod demo;
pub mod image;
pub mod lexicon;
pub mod preprocess;
mod resize;
pub mod tokenizer;
