//! config.json: what is read, and that each refusal names the field.

use crate::common::{Folder, MODELS, golden};
use escnet::Error;
use escnet::model::EscnetConfig;
use escnet::model::config::{CaptionerConfig, Cross, Highlight, LossKind, TextEncoderConfig};
use serde_json::{Value, json};
use std::path::Path;

fn base() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("keys/config_base.json")).unwrap()).unwrap()
}

fn parse(value: &Value) -> Result<EscnetConfig, Error> {
    EscnetConfig::parse(&value.to_string(), Path::new("some/config.json"))
}

#[test]
fn the_full_size_is_read() {
    let config = EscnetConfig::open(golden("keys/config_base.json")).unwrap();
    assert_eq!(config.classes.len(), 8);
    assert_eq!(config.backbone.layers, [3, 4, 23, 3]);
    assert_eq!((config.grid(), config.backbone.channels()), (7, 2048));
    assert_eq!(config.captioner.vision_config.tokens(), 577);
    assert_eq!(config.captioner.text_config.num_attention_heads, 12);
    assert_eq!(config.captioner.text_config.label_smoothing, 0.1);
    assert_eq!(config.text_encoder.layer_norm_eps, 1e-12);
    assert_eq!((config.fusion.cross, config.fusion.highlight), (Cross::Both, Highlight::Learned));
}

#[test]
fn golden_models_read_and_write_back() {
    for name in MODELS {
        let config = EscnetConfig::open(golden(name)).unwrap();
        assert_eq!(EscnetConfig::open(golden(name).join("config.json")).unwrap(), config);
        assert_eq!(EscnetConfig::parse(&config.to_json().unwrap(), Path::new("x")).unwrap(), config);
    }
    let config = EscnetConfig::open(golden("self_none")).unwrap();
    assert_eq!(config.loss.class_weights.as_deref(), Some(&[1.0, 0.5, 2.0, 1.0, 1.0, 1.5, 0.7, 1.0][..]));
    assert_eq!(EscnetConfig::open(golden("t2i_ce")).unwrap().loss.kind, LossKind::CrossEntropy);
}

#[test]
fn written_configurations_say_all_that_the_original_said() {
    let text = EscnetConfig::open(golden("keys/config_base.json")).unwrap().to_json().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), base());
}

#[test]
fn layers_may_be_a_number() {
    for (depth, layers) in [(50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])] {
        let mut value = base();
        value["backbone"] = json!({ "layers": depth });
        let config = parse(&value).unwrap();
        assert_eq!((config.backbone.layers, config.backbone.width), (layers, 64));
    }
}

#[test]
fn hugging_face_files_are_read() {
    let blip = CaptionerConfig::open_hf(golden("keys/config_blip.json")).unwrap();
    assert_eq!(blip.text_config.num_attention_heads, 8, "the default of BlipTextConfig");
    assert_eq!((blip.vision_config.patch_size, blip.text_config.vocab_size), (16, 30524));
    let bert = TextEncoderConfig::open_hf(golden("keys/config_bert.json")).unwrap();
    assert_eq!(bert, TextEncoderConfig::default());
}

#[test]
fn hugging_face_defaults_fill_what_is_absent() {
    let folder = Folder::new();
    let path =
        folder.put("config.json", r#"{"model_type": "blip", "vision_config": {"hidden_size": 1024, "num_attention_heads": 16}, "text_config": {}}"#);
    let blip = CaptionerConfig::open_hf(&path).unwrap();
    assert_eq!(blip.text_config.encoder_hidden_size, 1024, "follows the vision transformer");
    assert_eq!(blip.text_config.num_attention_heads, 8);
    let refused = TextEncoderConfig::open_hf(&path).unwrap_err().to_string();
    assert!(refused.contains("`model_type`: expected bert, got blip"), "{refused}");
}

#[test]
fn refusals_name_the_field() {
    /// A path to a value, the value, the field that is named, and a piece of what is expected and got.
    type Case = (&'static str, Value, &'static str, &'static str, &'static str);
    let cases: Vec<Case> = vec![
        ("/model_type", json!("blip"), "model_type", "`escnet`", "unknown variant `blip`"),
        ("/classes", json!(["a"]), "classes", "2 to", "1"),
        ("/classes", json!(["a", " "]), "classes[1]", "a name", "nothing"),
        ("/classes", json!(["a", "b", "a"]), "classes", "distinct", "\"a\" twice"),
        ("/image_size", json!(225), "image_size", "a multiple of 32", "225"),
        ("/image_size", json!(0), "image_size", "1 to", "0"),
        ("/image_size", json!("big"), "image_size", "usize", "string \"big\""),
        ("/image_size", json!(-32), "image_size", "usize", "-32"),
        ("/cls_token_id", json!(30522), "cls_token_id", "below the vocabulary's 30522", "30522"),
        ("/backbone", json!({}), "backbone.layers", "a value", "nothing"),
        ("/backbone/layers", json!(18), "backbone.layers", "50, 101, 152", "18"),
        ("/backbone/layers", json!([1, 2, 3]), "backbone.layers", "a list of four", "length 3"),
        ("/backbone/layers", json!([1, 2, 3, 4, 5]), "backbone.layers", "a list of four", "length 5"),
        ("/backbone/layers/2", json!(0), "backbone.layers[2]", "1 to", "0"),
        ("/backbone/width", json!(1_000_000), "backbone.width", "1 to", "1000000"),
        ("/captioner/vision_config/patch_size", json!(17), "captioner.vision_config.patch_size", "a divisor of image_size 384", "17"),
        ("/captioner/vision_config/patch_size", json!(0), "captioner.vision_config.patch_size", "1 to", "0"),
        ("/captioner/vision_config/hidden_act", json!("quick_gelu"), "captioner.vision_config.hidden_act", "`gelu`", "quick_gelu"),
        (
            "/captioner/vision_config/num_attention_heads",
            json!(7),
            "captioner.vision_config.num_attention_heads",
            "a divisor of hidden_size 768",
            "7",
        ),
        ("/captioner/text_config/num_attention_heads", json!(0), "captioner.text_config.num_attention_heads", "1 to", "0"),
        ("/captioner/text_config/bos_token_id", json!(30524), "captioner.text_config.bos_token_id", "below the vocabulary's 30524", "30524"),
        ("/captioner/text_config/label_smoothing", json!(1.5), "captioner.text_config.label_smoothing", "0 to 1", "1.5"),
        ("/captioner/text_config/layer_norm_eps", json!(0), "captioner.text_config.layer_norm_eps", "above 0", "0"),
        ("/captioner/text_config/hidden_dropout_prob", json!(1.0), "captioner.text_config.hidden_dropout_prob", "below 1", "1"),
        ("/text_encoder/position_embedding_type", json!("relative_key"), "text_encoder.position_embedding_type", "`absolute`", "relative_key"),
        ("/text_encoder/hidden_act", json!("relu"), "text_encoder.hidden_act", "`gelu`", "relu"),
        ("/text_encoder/hidden_size", json!(70000), "text_encoder.hidden_size", "1 to 65536", "70000"),
        ("/text_encoder/pad_token_id", json!(40000), "text_encoder.pad_token_id", "below the vocabulary's", "40000"),
        ("/fusion/num_attention_heads", json!(5), "fusion.num_attention_heads", "a divisor", "5"),
        ("/fusion/cross", json!("i2i"), "fusion.cross", "`i2t`", "i2i"),
        ("/fusion/hidden_sise", json!(1), "fusion.hidden_sise", "`hidden_size`", "unknown field"),
        ("/loss/kind", json!("hinge"), "loss.kind", "`variable_weight`", "hinge"),
        ("/loss/lambda", json!(-1), "loss.lambda", "0 or more", "-1"),
        ("/loss/label_smoothing", json!(-0.1), "loss.label_smoothing", "0 to 1", "-0.1"),
        ("/loss/class_weights", json!([1, 2]), "loss.class_weights", "one for each of 8", "2"),
        ("/loss/class_weights", json!([1, 1, 1, 1, -1, 1, 1, 1]), "loss.class_weights[4]", "0 or more", "-1"),
    ];
    for (pointer, value, field, expected, got) in cases {
        let mut config = base();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
            object => object[key] = value.clone(),
        }
        match parse(&config) {
            Err(Error::Config { path, field: f, expected: e, got: g }) => {
                assert_eq!(path, Path::new("some/config.json"));
                assert!(f == field && e.contains(expected) && g.contains(got), "{pointer} = {value}: `{f}`: expected {e}, got {g}");
            }
            other => panic!("{pointer} = {value}: {other:?}"),
        }
    }
}

#[test]
fn broken_files_are_refused() {
    let folder = Folder::new();
    for (i, bytes) in [&b""[..], b"{", b"[]", b"null", b"{} {}", b"\xff\xfe", &b"[".repeat(100_000)].into_iter().enumerate() {
        let path = folder.put(&format!("{i}.json"), bytes);
        assert!(matches!(EscnetConfig::open(&path), Err(Error::Config { .. })), "{bytes:?}");
    }
    let path = folder.put("twice.json", base().to_string().replace("\"width\":64", "\"width\":64,\"width\":65"));
    assert!(EscnetConfig::open(path).unwrap_err().to_string().contains("duplicate field `width`"));
    let path = folder.put("huge.json", vec![b' '; 5 << 20]);
    assert!(matches!(EscnetConfig::open(path), Err(Error::Config { .. })));
    assert!(matches!(EscnetConfig::open(folder.path("none.json")), Err(Error::Io { .. })));
}

#[test]
fn keys_of_others_are_tolerated() {
    let mut value = base();
    value["transformers_version"] = json!("4.57");
    value["text_encoder"]["use_cache"] = json!(true);
    value["captioner"]["logit_scale_init_value"] = json!(2.6);
    assert_eq!(parse(&value).unwrap(), parse(&base()).unwrap());
}
