//! Lesson 5: learning. Draws pictures, teaches a tiny captioner what they show, and lets it tell one that it never saw.
//!
//! `cargo run --release --example 05_train`

use escnet::data::dataset::{Dataset, OpenOptions, Split};
use escnet::data::demo::{Spec, generate};
use escnet::data::image::Image;
use escnet::train::config::RunConfig;
use escnet::train::judge::Judged;
use escnet::train::watch::{Now, Watch};
use escnet::train::{train_captioner, train_classifier};
use escnet::{Engine, EngineOptions, Error, Result};
use std::path::Path;

/// What a `run.toml` holds. Whatever is left out has a default.
const SETTINGS: &str = r#"
data.path = ""

[model.config]
image_size = 32
backbone = { layers = [1, 1, 1, 1], width = 8 }
captioner.vision_config = { image_size = 32, patch_size = 8, hidden_size = 32, intermediate_size = 64, num_hidden_layers = 1, num_attention_heads = 4 }
captioner.text_config = { hidden_size = 32, intermediate_size = 64, num_hidden_layers = 1, num_attention_heads = 4, max_position_embeddings = 40 }
text_encoder = { hidden_size = 32, intermediate_size = 64, num_hidden_layers = 1, num_attention_heads = 4, max_position_embeddings = 40 }
fusion = { hidden_size = 32, num_attention_heads = 4, mlp_ratio = 2, depth = 1 }

[captioner]
fitting = "in-sample"
style = { emotion_phrase = false, wordings = 1 }
stage = { epochs = 6.0, batch = 16, rate = 3e-3 }

[classifier]
captions = "none"
stage = { epochs = 4.0, batch = 16, rate = 3e-3, groups = [] }
"#;

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("escnet-lesson-{}", std::process::id()));
    let done = learn(&folder);
    std::fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    done
}

fn learn(folder: &Path) -> Result<()> {
    // 512 pictures of 32 x 32, in EmoSet's layout: one of eight emotions each, and the attributes that add up to it.
    let data = folder.join("data");
    generate(&Spec { count: 512, seed: 1, size: 32, label_noise: 0.0 }, &data, || Ok::<(), Error>(()))?;

    // First stage: attributes become sentences, and the captioner learns to say them. Second: the emotion, here from the picture alone.
    let place = |key: &str, name: &str| format!("{key}={:?}", folder.join(name).display().to_string());
    let changes = [place("data.path", "data"), place("captioner.out", "captioner"), place("classifier.out", "classifier")];
    let run = RunConfig::parse(SETTINGS, Path::new("run.toml"), &changes)?;
    train_captioner(&run, false, &mut Printed)?;
    train_classifier(&run, false, &mut Printed)?;

    // The run's folder holds a model that every part of the library takes.
    let mut engine = Engine::load(&folder.join("classifier/model"), EngineOptions::default())?;
    let set = Dataset::open(&data, &OpenOptions::default())?;
    if let Some(sample) = set.split(Split::Test).first() {
        let result = engine.classify(&Image::open(&sample.image)?)?;
        println!("truth: {}, {:?}", set.classes[sample.label], sample.attributes);
        println!("model: {}, \"{}\"", result.predictions[0].class, result.caption.text);
    }
    Ok(())
}

/// Prints what a run tells of itself after each epoch.
struct Printed;

impl Watch for Printed {
    fn begin(&mut self, what: &str, _: u64, steps: u64) {
        println!("{what}: {steps} steps");
    }
    fn step(&mut self, _: &Now) {}
    fn judged(&mut self, epoch: f64, judged: &Judged, _: bool) {
        println!("  epoch {epoch}: loss {:.3}, {:.1} % right", judged.loss, 100.0 * judged.accuracy);
    }
    fn note(&mut self, text: &str) {
        println!("  {text}");
    }
    fn stop(&self) -> bool {
        false
    }
}
