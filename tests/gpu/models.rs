//! Whole models.

use super::{Outcome, check};
use escnet::graph::NodeTime;
use escnet::infer::{Classification, Model, ModelFiles};
use escnet::{DType, Device, Engine, EngineOptions, Image};
use std::path::Path;

/// The demo model's files.
pub fn demo() -> std::io::Result<ModelFiles> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let text = |name: &str| std::fs::read_to_string(dir.join(name));
    let weights = std::fs::read(dir.join("model.safetensors"))?;
    Ok(ModelFiles { config: text("config.json")?, weights, vocabulary: text("vocab.txt")?, ..ModelFiles::default() })
}

pub fn picture(step: usize) -> escnet::Result<Image> {
    Image::from_rgb(64, 48, (0..64 * 48 * 3).map(|i| (i * step % 251) as u8).collect())
}

/// The demo model as a browser has it, against the one the CPU reads from its folder.
pub fn whole_model(dtype: DType, limit: f32) -> Outcome {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let picture = picture(7)?;

    let expected = Engine::load(&dir, EngineOptions { device: "cpu".to_owned(), ..EngineOptions::default() })?.classify(&picture)?;
    let options = EngineOptions { dtype, timed: true, ..EngineOptions::default() };
    let mut engine = Engine::new(Model::of(demo()?)?, &Device::wgpu(None)?, options);
    let got = engine.classify(&picture)?;
    check(got.caption.ids == expected.caption.ids, format!("{} instead of {}", got.caption.text, expected.caption.text))?;
    let probability = |of: &Classification, class: &str| of.predictions.iter().find(|p| p.class == class).map_or(f32::NAN, |p| p.probability);
    let classes = got.predictions.iter().map(|p| &p.class);
    let farthest = classes.map(|c| (probability(&got, c) - probability(&expected, c)).abs()).fold(0.0, f32::max);
    check(farthest <= limit, format!("probabilities differ by {farthest}"))?;
    // The decoder's step runs once a token, all else once.
    let tokens = got.caption.ids.len() as u64 - 1;
    let times = engine.times()?;
    let ran = |t: &&NodeTime| !t.kernels.is_empty();
    check(times.iter().filter(ran).all(|t| t.runs == 1 || t.runs >= tokens), "a node ran neither once nor for each token")?;
    check(engine.times()?.iter().all(|t| t.runs == 0), "what was told is told again")
}
