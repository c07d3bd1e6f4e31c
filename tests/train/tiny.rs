//! A data set and a model so small that a run takes a moment.

use crate::common::Folder;
use escnet::data::demo;
use escnet::train::config::RunConfig;
use std::path::{Path, PathBuf};

/// 160 pictures of 32 x 32, drawn once a folder.
pub fn data(folder: &Folder) -> PathBuf {
    let path = folder.join("data");
    if !path.exists() {
        demo::generate(&demo::Spec { count: 160, seed: 3, size: 32, label_noise: 0.0 }, &path, || Ok::<(), escnet::Error>(())).unwrap();
    }
    path
}

/// Two epochs of sixteen steps for the captioner, eight for its halves, altered by `changes`.
pub fn settings(data: &Path, changes: &[String]) -> RunConfig {
    let mut all = vec![format!("data.path={:?}", data.display().to_string())];
    all.extend(changes.iter().cloned());
    RunConfig::parse(SETTINGS, Path::new("run.toml"), &all).unwrap()
}

const SETTINGS: &str = r#"
seed = 5
threads = 2
data.path = ""

[model.config]
image_size = 32
backbone = { layers = [1, 1, 1, 1], width = 4 }
captioner.vision_config = { image_size = 32, patch_size = 16, hidden_size = 16, intermediate_size = 24, num_hidden_layers = 1, num_attention_heads = 2 }
captioner.text_config = { hidden_size = 16, intermediate_size = 24, num_hidden_layers = 1, num_attention_heads = 2, max_position_embeddings = 40, hidden_dropout_prob = 0.1 }
text_encoder = { hidden_size = 16, intermediate_size = 24, num_hidden_layers = 1, num_attention_heads = 2, max_position_embeddings = 40 }
fusion = { hidden_size = 16, num_attention_heads = 2, mlp_ratio = 2, depth = 1 }

[captioner.stage]
epochs = 2.0
batch = 8
rate = 3e-3

[classifier.stage]
epochs = 2.0
batch = 4
rate = 1e-3
groups = []
"#;
