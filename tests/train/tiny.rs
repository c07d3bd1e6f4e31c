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

const SETTINGS: &str = include_str!("tiny.toml");
