//! Lesson 4: a picture in, an emotion and a caption out.
//!
//! `cargo run --release --example 04_classify [MODEL [PICTURE]]`

use escnet::Result;
use escnet::data::image::Image;
use escnet::infer::{Engine, EngineOptions};
use std::path::PathBuf;

fn main() -> Result<()> {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().unwrap_or_else(|| golden.join("trained"));
    let picture = arguments.next().unwrap_or_else(|| golden.join("preprocess/photo_exif6.jpg"));

    let mut engine = Engine::load(&model, EngineOptions::default())?;
    let result = engine.classify(&Image::open(&picture)?)?;
    println!("\"{}\" (score {:.3})", result.caption.text, result.caption.score);
    for word in &result.words {
        println!("  {:<12} gate {:.2}", word.word, word.gate);
    }
    for prediction in &result.predictions {
        println!("{:>12} {:6.2} %", prediction.class, 100.0 * prediction.probability);
    }
    Ok(())
}
