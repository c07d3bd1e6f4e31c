//! PyTorch's numbers for whole models, from `tests/golden/<folder>`: forward passes, losses, gradients, training steps, generation.

use escnet::verify::{Comparison, model_folder};
use escnet::{DType, Device};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn compare(path: &Path) -> Vec<Comparison> {
    model_folder(path, &Device::cpu(2).unwrap(), DType::F32).unwrap()
}

fn holds(name: &str, at_least: usize) {
    let comparisons = compare(&folder(name));
    let failed: Vec<String> = comparisons
        .iter()
        .filter(|c| !c.passed())
        .map(|c| format!("{}: error {:.2e}, limit {:.2e}, torch {:?}", c.name, c.error, c.limit, c.torch))
        .collect();
    assert!(failed.is_empty(), "{} of {} are out:\n{}", failed.len(), comparisons.len(), failed.join("\n"));
    assert!(comparisons.len() >= at_least, "only {} comparisons", comparisons.len());
}

#[test]
fn default() {
    holds("default", 600);
}

#[test]
fn trained() {
    holds("trained", 600);
}

#[test]
fn i2t_lexicon_focal() {
    holds("i2t_lexicon_focal", 140);
}

#[test]
fn self_none() {
    holds("self_none", 140);
}

#[test]
fn t2i_ce() {
    holds("t2i_ce", 140);
}

/// A copy of a golden folder in which one file is written anew from its tensors.
fn changed(name: &str, file: &str, change: impl Fn(&str, escnet::Tensor) -> escnet::Tensor) -> PathBuf {
    let (from, to) = (folder(name), std::env::temp_dir().join(format!("escnet-{name}-{file}-{}", std::process::id())));
    std::fs::create_dir_all(&to).unwrap();
    for file in ["config.json", "model.safetensors", "golden.safetensors", "torch_errors.json"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let tensors = escnet::weights::WeightFile::open(from.join(file)).unwrap();
    let names: Vec<String> = tensors.names().map(str::to_owned).collect();
    let all = names.into_iter().map(|name| {
        let tensor = change(&name, tensors.tensor(&name).unwrap().read().unwrap());
        (name, tensor)
    });
    escnet::weights::save(to.join(file), all, None, tensors.metadata()).unwrap();
    to
}

/// Of large models only norms are kept: a scalar where a tensor is expected is that tensor's L2 norm.
#[test]
fn norms_stand_for_tensors() {
    let to = changed("default", "golden.safetensors", |name, tensor| {
        if name.starts_with("grad.") || name.starts_with("after.") {
            escnet::Tensor::scalar(tensor.to_f64().iter().map(|x| x * x).sum::<f64>().sqrt() as f32)
        } else {
            tensor
        }
    });
    let comparisons = compare(&to);
    std::fs::remove_dir_all(&to).unwrap();
    let failed: Vec<String> = comparisons.iter().filter(|c| !c.passed()).map(|c| format!("{}: {:e} over {:e}", c.name, c.error, c.limit)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(comparisons.len() >= 600);
}

/// A check that cannot fail is none: one weight moved by a hundredth of the largest is seen.
#[test]
fn a_wrong_weight_is_seen() {
    let to = changed("t2i_ce", "model.safetensors", |name, tensor| {
        let mut values = tensor.to_f32();
        if name == "fusion.visual_proj.bias" {
            values[0] += 0.01 * values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        }
        escnet::Tensor::from_f32(tensor.shape(), values).unwrap()
    });
    let failed: Vec<String> = compare(&to).into_iter().filter(|c| !c.passed()).map(|c| c.name).collect();
    std::fs::remove_dir_all(&to).unwrap();
    assert!(failed.iter().any(|n| n.ends_with("out.logits")), "{failed:?}");
    assert!(!failed.iter().any(|n| n.contains("backbone") && n.contains("out.")), "{failed:?}");
}
