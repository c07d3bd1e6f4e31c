//! What goes in and what comes out: pictures, their preparation, text and affect words.

pub mod image;
pub mod lexicon;
pub mod preprocess;
mod resize;
pub mod tokenizer;
