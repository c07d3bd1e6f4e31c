//! The manifest names exactly what checkpoints hold.

use crate::common::{MODELS, golden, model};
use escnet::model::EscnetConfig;
use escnet::weights::names::{Meaning, meaning};
use escnet::weights::{Part, Wanted, WeightFile, manifest};
use std::collections::BTreeMap;

#[test]
fn it_is_the_golden_models_names_and_shapes() {
    for name in MODELS {
        let file = WeightFile::open(golden(name).join("model.safetensors")).unwrap();
        let held: BTreeMap<_, _> = file.names().map(|n| (n.to_owned(), file.shape(n).unwrap().to_vec())).collect();
        let (_, wanted) = model(name);
        let asked: BTreeMap<_, _> = wanted.iter().map(|w| (w.name.clone(), w.shape.to_vec())).collect();
        assert_eq!(asked.len(), wanted.len(), "{name}: names are distinct");
        assert_eq!(asked, held, "{name}");
    }
}

/// Every name of the original resolves, and together they are the part's manifest.
fn resolves(part: Part, keys: &str, ignored: usize, copies: usize, edit: impl Fn(&mut EscnetConfig)) {
    let mut config = EscnetConfig::open(golden("keys/config_base.json")).unwrap();
    edit(&mut config);
    let wanted: Vec<Wanted> = manifest(&config).unwrap().into_iter().filter(|w| w.part == part).collect();
    let mut asked: BTreeMap<_, _> = wanted.iter().map(|w| (w.name.clone(), w.shape.to_vec())).collect();
    let (mut left, mut same) = (0, 0);
    for line in std::fs::read_to_string(golden(keys)).unwrap().lines() {
        let [name, dtype, shape] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let shape: Vec<usize> = shape.split(',').filter(|d| !d.is_empty()).map(|d| d.parse().unwrap()).collect();
        for hint in [None, Some(part)] {
            for dressed in [name.to_owned(), format!("module.{name}"), format!("{part}.{name}")] {
                assert_eq!(meaning(hint, &dressed), meaning(Some(part), name), "{dressed}");
            }
        }
        match meaning(Some(part), name) {
            Meaning::Tensor(of, full) => {
                assert_eq!((of, dtype), (part, "F32"));
                assert_eq!(asked.remove(&full), Some(shape), "{name}");
            }
            Meaning::Copy(of, original) => {
                same += 1;
                assert!(of == part && wanted.iter().any(|w| w.name == original && w.shape[..] == shape[..]), "{name}");
            }
            Meaning::Ignored(_) => left += 1,
            Meaning::Unknown => panic!("{name} is not known"),
        }
    }
    assert!(asked.is_empty(), "{keys} lacks {asked:?}");
    assert_eq!((left, same), (ignored, copies));
}

#[test]
fn resnet50_resolves() {
    resolves(Part::Backbone, "keys/resnet50.tsv", 2 + 53, 0, |c| c.backbone.layers = [3, 4, 6, 3]);
}

#[test]
fn resnet101_resolves() {
    resolves(Part::Backbone, "keys/resnet101.tsv", 2 + 104, 0, |_| {});
}

#[test]
fn blip_base_resolves() {
    resolves(Part::Captioner, "keys/blip_base.tsv", 0, 2, |_| {});
}

#[test]
fn blip_large_resolves() {
    resolves(Part::Captioner, "keys/blip_large.tsv", 0, 2, |c| {
        let vision = &mut c.captioner.vision_config;
        (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.num_attention_heads) = (1024, 4096, 24, 16);
        c.captioner.text_config.encoder_hidden_size = 1024;
    });
}

#[test]
fn bert_base_resolves() {
    resolves(Part::TextEncoder, "keys/bert_base.tsv", 2, 0, |_| {});
}

#[test]
fn bert_names_of_all_ages_mean_the_same() {
    let full = |name: &str| match meaning(Some(Part::TextEncoder), name) {
        Meaning::Tensor(Part::TextEncoder, full) => full,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(full("bert.embeddings.LayerNorm.gamma"), "text_encoder.embeddings.LayerNorm.weight");
    assert_eq!(full("embeddings.LayerNorm.beta"), "text_encoder.embeddings.LayerNorm.bias");
    assert_eq!(full("text_encoder.bert.encoder.layer.0.output.dense.weight"), "text_encoder.encoder.layer.0.output.dense.weight");
    for name in ["cls.predictions.decoder.weight", "bert.pooler.dense.bias", "cls.seq_relationship.weight", "embeddings.position_ids"] {
        assert!(matches!(meaning(Some(Part::TextEncoder), name), Meaning::Ignored(_)), "{name}");
    }
    assert_eq!(meaning(None, "lm_head.weight"), Meaning::Unknown);
    assert!(matches!(meaning(Some(Part::Backbone), "fusion.head.bias"), Meaning::Ignored(_)));
}

#[test]
fn an_impossible_configuration_has_none() {
    let (mut config, _) = model("default");
    config.fusion.num_attention_heads = 5;
    assert!(matches!(manifest(&config), Err(escnet::Error::Config { field, .. }) if field == "fusion.num_attention_heads"));
}
