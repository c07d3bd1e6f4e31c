//! A golden model taken apart as torchvision and Hugging Face would store its parts, and put together again.

use crate::common::{Folder, by_crate, golden, model, problems};
use escnet::error::WeightProblem;
use escnet::model::EscnetConfig;
use escnet::model::config::FusionConfig;
use escnet::tensor::{DType, Data, Tensor};
use escnet::weights::init::Init;
use escnet::weights::{Part, Parts, Source, WeightFile, convert, load, manifest, save};
use escnet::{Error, TensorType};
use serde_json::Value;
use std::collections::BTreeMap;

/// A golden model's parts under the names they are published by, with what such files hold besides.
fn take_apart(folder: &Folder, name: &str, edit: impl Fn(&mut BTreeMap<String, Tensor>)) -> Parts {
    let mut files: BTreeMap<&str, BTreeMap<String, Tensor>> = BTreeMap::new();
    let file = WeightFile::open(golden(name).join("model.safetensors")).unwrap();
    for full in file.names() {
        let tensor = file.tensor(full).unwrap().read().unwrap();
        let (part, bare) = full.split_once('.').unwrap();
        let published = match part {
            "text_encoder" => format!("bert.{bare}").replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
            "fusion" => full.to_owned(),
            _ => bare.to_owned(),
        };
        files.entry(part).or_default().insert(published, tensor);
    }
    let zeros = |shape: &[usize]| Tensor::zeros(TensorType::f32(escnet::Shape::new(shape).unwrap()));
    let counter = Tensor::from_i32([], vec![1]).unwrap();
    files.get_mut("backbone").unwrap().extend([
        ("fc.weight".to_owned(), zeros(&[10, 256])),
        ("fc.bias".to_owned(), zeros(&[10])),
        ("bn1.num_batches_tracked".to_owned(), counter.clone()),
        ("layer1.0.bn1.num_batches_tracked".to_owned(), counter.clone()),
    ]);
    files.get_mut("text_encoder").unwrap().extend([
        ("bert.pooler.dense.weight".to_owned(), zeros(&[24, 24])),
        ("cls.predictions.decoder.weight".to_owned(), zeros(&[95, 24])),
        ("bert.embeddings.position_ids".to_owned(), Tensor::from_i32([1, 3], vec![0, 1, 2]).unwrap()),
    ]);
    let captioner = files.get_mut("captioner").unwrap();
    let (words, bias) = ("text_decoder.bert.embeddings.word_embeddings.weight", "text_decoder.cls.predictions.bias");
    captioner.insert("text_decoder.cls.predictions.decoder.weight".into(), captioner[words].clone());
    captioner.insert("text_decoder.cls.predictions.decoder.bias".into(), captioner[bias].clone());
    edit(captioner);
    for (part, tensors) in files {
        std::fs::create_dir(folder.path(part)).unwrap();
        save(folder.path(part).join("model.safetensors"), tensors, None, &BTreeMap::new()).unwrap();
    }
    Parts {
        backbone: folder.path("backbone/model.safetensors"),
        captioner: folder.path("captioner"),
        text_encoder: folder.path("text_encoder"),
        fusion: Some(folder.path("fusion")),
        config: Some(golden(name)),
        vocabulary: Some(golden(name).join("vocab.txt")),
        seed: 1,
    }
}

/// Puts the descriptions Hugging Face would write beside the parts.
fn describe(folder: &Folder, name: &str) {
    let text = std::fs::read_to_string(golden(name).join("config.json")).unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    let (mut blip, mut bert) = (whole["captioner"].clone(), whole["text_encoder"].clone());
    (blip["model_type"], bert["model_type"]) = ("blip".into(), "bert".into());
    folder.put("captioner/config.json", blip.to_string());
    folder.put("text_encoder/config.json", bert.to_string());
}

fn tensors(path: std::path::PathBuf) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    by_crate(&std::fs::read(path).unwrap())
}

#[test]
fn the_parts_of_a_model_make_it_again() {
    for name in ["default", "self_none", "i2t_lexicon_focal"] {
        let folder = Folder::new();
        let parts = take_apart(&folder, name, |_| {});
        let notes = convert(&parts, folder.path("out"), DType::F32).unwrap();
        assert_eq!(tensors(folder.path("out/model.safetensors")), tensors(golden(name).join("model.safetensors")));
        assert_eq!(EscnetConfig::open(folder.path("out")).unwrap(), model(name).0);
        assert_eq!(std::fs::read(folder.path("out/vocab.txt")).unwrap(), std::fs::read(golden(name).join("vocab.txt")).unwrap());
        let notes = notes.join("\n");
        for piece in ["fc.bias, fc.weight", "num_batches_tracked", "pooler", "pre-training heads", "position_ids", "equals the tensor it is tied to"]
        {
            assert!(notes.contains(piece), "{piece} is not in {notes}");
        }
    }
}

#[test]
fn halves_are_written_where_asked_for() {
    let folder = Folder::new();
    let parts = take_apart(&folder, "default", |_| {});
    convert(&parts, folder.path("out"), DType::BF16).unwrap();
    let (_, wanted) = model("default");
    let (half, whole) = (load(&wanted, &[Source::whole(folder.path("out"))]).unwrap(), load(&wanted, &[Source::whole(golden("default"))]).unwrap());
    for name in half.names() {
        let rounded: Vec<f32> = whole.tensor(name).unwrap().to_f32().iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        assert_eq!(half.tensor(name).unwrap().as_f32(), Some(&rounded[..]));
        assert_eq!(half.view(name).unwrap().stored.float(), Some(DType::BF16));
    }
    assert!(matches!(convert(&parts, folder.path("out"), DType::I32), Err(Error::Argument { name: "dtype", .. })));
}

#[test]
fn without_a_configuration_it_is_derived() {
    let folder = Folder::new();
    let mut parts = take_apart(&folder, "default", |_| {});
    (parts.config, parts.fusion) = (None, None);
    let missing = convert(&parts, folder.path("out"), DType::F32).unwrap_err().to_string();
    assert!(missing.contains("config.json"), "{missing}");
    describe(&folder, "default");
    let notes = convert(&parts, folder.path("out"), DType::F32).unwrap();
    assert!(notes.iter().any(|n| n.contains("random values, seed 1")), "{notes:?}");
    let (derived, (golden_config, _)) = (EscnetConfig::open(folder.path("out")).unwrap(), model("default"));
    assert_eq!(
        (&derived.backbone, &derived.captioner, &derived.text_encoder),
        (&golden_config.backbone, &golden_config.captioner, &golden_config.text_encoder)
    );
    assert_eq!((derived.classes.len(), derived.image_size, derived.cls_token_id), (8, 224, 2), "[CLS] is line 2 of this vocabulary");
    assert_eq!(derived.fusion, FusionConfig::default());

    let wanted = manifest(&derived).unwrap();
    let loaded = load(&wanted, &[Source::whole(folder.path("out"))]).unwrap();
    let init = Init::new(&wanted, 1);
    for w in wanted.iter().filter(|w| w.part == Part::Fusion) {
        assert_eq!(loaded.tensor(&w.name).unwrap(), init.tensor(w).unwrap());
    }
    let again = std::fs::read(folder.path("out/model.safetensors")).unwrap();
    convert(&parts, folder.path("out"), DType::F32).unwrap();
    assert_eq!(std::fs::read(folder.path("out/model.safetensors")).unwrap(), again, "the same seed gives the same bytes");
    parts.seed = 2;
    convert(&parts, folder.path("out"), DType::F32).unwrap();
    assert_ne!(std::fs::read(folder.path("out/model.safetensors")).unwrap(), again);
}

#[test]
fn a_fusion_brings_its_configuration() {
    let folder = Folder::new();
    let mut parts = take_apart(&folder, "default", |_| {});
    describe(&folder, "default");
    (parts.config, parts.fusion) = (None, Some(golden("trained")));
    convert(&parts, folder.path("out"), DType::F32).unwrap();
    let (made, trained) = (tensors(folder.path("out/model.safetensors")), tensors(golden("trained/model.safetensors")));
    assert!(made.iter().filter(|(n, _)| n.starts_with("fusion.")).all(|(n, t)| &trained[n] == t));
    assert_eq!(EscnetConfig::open(folder.path("out")).unwrap(), model("trained").0);
}

#[test]
fn an_output_layer_that_was_trained_apart_is_refused() {
    let folder = Folder::new();
    let parts = take_apart(&folder, "default", |captioner| {
        let bias = "text_decoder.cls.predictions.decoder.bias";
        let mut values = captioner[bias].to_f32();
        values[40] += 1.0;
        captioner.insert(bias.into(), Tensor::new([values.len()], Data::F32(values)).unwrap());
    });
    let found = problems(convert(&parts, folder.path("out"), DType::F32));
    let (name, original) = ("text_decoder.cls.predictions.decoder.bias".into(), "text_decoder.cls.predictions.bias".into());
    assert_eq!(found, [WeightProblem::Tied { name, original, index: 40 }]);
    assert!(!folder.path("out").exists(), "nothing is written");
}

/// The mean square.
fn square(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32
}

#[test]
fn first_values_follow_their_laws() {
    let (_, wanted) = model("default");
    let init = Init::new(&wanted, 0);
    for w in &wanted {
        let x = init.tensor(w).unwrap().to_f32();
        let bound = x.iter().fold(0f32, |m, x| m.max(x.abs()));
        match w.name.as_str() {
            n if n.ends_with("running_var") || n.ends_with("norm.weight") || n.ends_with("bn2.weight") => assert!(x.iter().all(|&x| x == 1.0), "{n}"),
            n if n.ends_with("running_mean") || n.ends_with("LayerNorm.bias") => assert!(x.iter().all(|&x| x == 0.0), "{n}"),
            n @ ("fusion.text_proj.weight" | "fusion.text_proj.bias") => assert!(bound > 0.15 && bound <= 1.0 / 24f32.sqrt(), "{n} {bound}"),
            n @ "fusion.visual_pos" => assert!(bound > 0.04 && bound < 0.1, "{n} {bound}"),
            n @ "captioner.text_decoder.cls.predictions.bias" => assert!(bound == 0.0, "{n}"),
            // Deviations: of filters by what they write to, of weights by what they read, of embeddings 1.
            n @ "backbone.layer4.0.conv2.weight" => assert!((square(&x) * 64.0 * 9.0 / 2.0 - 1.0).abs() < 0.05, "{n}"),
            n if n.ends_with("crossattention.self.key.weight") || n.ends_with("intermediate.dense.weight") => {
                assert!((square(&x) * w.shape[1] as f32 - 1.0).abs() < 0.1, "{n}")
            }
            n if n.contains("vision_model.encoder") && n.ends_with("weight") && w.shape[..].len() == 2 => {
                assert!((square(&x) * w.shape[1] as f32 * 3.0 - 1.0).abs() < 0.1, "{n}")
            }
            n if n.ends_with("word_embeddings.weight") || n.ends_with("position_embedding") => {
                assert!((square(&x) - 1.0).abs() < 0.2, "{n} {}", square(&x))
            }
            _ => {}
        }
    }
}
