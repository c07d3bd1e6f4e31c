//! Loading: everything that does not fit is told at once, by name; what fits is handed out unchanged.

use crate::common::{Folder, MODELS, by_crate, bytes, file, golden, model, problems};
use escnet::error::WeightProblem;
use escnet::weights::{Part, Source, Wanted, load};
use half::{bf16, f16};

fn wanted(names: &[(&str, &[usize])]) -> Vec<Wanted> {
    let part = |name: &str| Part::ALL.into_iter().find(|p| name.starts_with(p.name())).unwrap();
    names.iter().map(|&(name, shape)| Wanted { name: name.into(), shape: escnet::Shape::new(shape).unwrap(), part: part(name) }).collect()
}

#[test]
fn golden_models_load_whole() {
    for name in MODELS {
        let (_, wanted) = model(name);
        let expected = by_crate(&std::fs::read(golden(name).join("model.safetensors")).unwrap());
        let loaded = load(&wanted, &[Source::whole(golden(name))]).unwrap();
        assert!(loaded.notes().is_empty());
        assert!(loaded.names().eq(wanted.iter().map(|w| w.name.as_str())));
        for w in &wanted {
            let tensor = loaded.tensor(&w.name).unwrap();
            assert_eq!(tensor.shape(), w.shape);
            assert_eq!(bytes(tensor.as_f32().unwrap()), expected[&w.name].2, "{}", w.name);
        }
        assert!(loaded.tensor("fusion.none").is_err());
    }
}

#[test]
fn everything_wrong_is_told_in_one_error() {
    let folder = Folder::new();
    let path = folder.put(
        "x.safetensors",
        file(&[
            ("backbone.bn1.weight", "F32", vec![2], bytes(&[1.0, f32::NAN])),
            ("backbone.bn1.bias", "F32", vec![3], bytes(&[0.0; 3])),
            ("backbone.bn1.running_mean", "F64", vec![2], vec![0; 16]),
            ("fusion.extra.weight", "F32", vec![1], bytes(&[0.0])),
            ("no.such", "I64", vec![1], vec![0; 8]),
            ("text_encoder.embeddings.LayerNorm.gamma", "F32", vec![2], bytes(&[1.0; 2])),
            ("text_encoder.embeddings.LayerNorm.weight", "F32", vec![2], bytes(&[1.0; 2])),
            ("fusion.norm.bias", "BF16", vec![2], vec![0, 0, 0x80, 0xff]),
        ]),
    );
    let wanted = wanted(&[
        ("backbone.bn1.weight", &[2]),
        ("backbone.bn1.bias", &[2]),
        ("backbone.bn1.running_mean", &[2]),
        ("backbone.bn1.running_var", &[2]),
        ("text_encoder.embeddings.LayerNorm.weight", &[2]),
        ("fusion.norm.bias", &[2]),
    ]);
    let error = load(&wanted, &[Source::whole(&path)]).map(drop).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("{}: 8 problem(s)", path.display())), "{text}");
    let found = problems::<()>(Err(error));
    let name = String::from;
    for expected in [
        WeightProblem::NotFinite { name: name("backbone.bn1.weight"), index: 1 },
        WeightProblem::NotFinite { name: name("fusion.norm.bias"), index: 1 },
        WeightProblem::Shape { name: name("backbone.bn1.bias"), expected: name("[2]"), got: name("[3]") },
        WeightProblem::DType { name: name("backbone.bn1.running_mean"), got: name("F64") },
        WeightProblem::Missing { name: name("backbone.bn1.running_var"), expected: name("[2]") },
        WeightProblem::Unexpected { name: name("fusion.extra.weight"), got: name("F32[1]") },
        WeightProblem::Unexpected { name: name("no.such"), got: name("I64[1]") },
        WeightProblem::Duplicate { name: name("text_encoder.embeddings.LayerNorm.weight") },
    ] {
        assert!(found.contains(&expected), "{expected} is not in {text}");
    }
}

#[test]
fn one_part_may_come_twice_only_once() {
    let (_, wanted) = model("default");
    let twice = problems(load(&wanted, &[Source::whole(golden("default")), Source::of(Part::Fusion, golden("trained"))]));
    let fusion = wanted.iter().filter(|w| w.part == Part::Fusion).count();
    assert_eq!(twice.len(), fusion);
    assert!(twice.iter().all(|p| matches!(p, WeightProblem::Duplicate { name } if name.starts_with("fusion."))));
}

#[test]
fn parts_may_come_from_different_models() {
    let (_, wanted) = model("default");
    let from = |part| Source::of(part, if part == Part::Fusion { golden("trained") } else { golden("default") });
    let loaded = load(&wanted, &Part::ALL.map(from)).unwrap();
    let (default, trained) =
        (load(&wanted, &[Source::whole(golden("default"))]).unwrap(), load(&wanted, &[Source::whole(golden("trained"))]).unwrap());
    assert_eq!(loaded.tensor("fusion.head.weight").unwrap(), trained.tensor("fusion.head.weight").unwrap());
    assert_eq!(loaded.tensor("backbone.conv1.weight").unwrap(), default.tensor("backbone.conv1.weight").unwrap());
    assert_ne!(default.tensor("fusion.head.weight").unwrap(), trained.tensor("fusion.head.weight").unwrap());
    assert_eq!(loaded.notes().len(), 4);
    assert!(loaded.notes()[0].contains("of another part: captioner."), "{}", loaded.notes()[0]);
}

#[test]
fn one_part_of_a_model_can_be_loaded_alone() {
    let (_, mut wanted) = model("default");
    wanted.retain(|w| w.part == Part::Captioner);
    let loaded = load(&wanted, &[Source::whole(golden("default"))]).unwrap();
    assert_eq!(loaded.names().len(), wanted.len());
    assert!(loaded.notes()[0].contains("not asked for") && loaded.notes()[0].contains("more"));
}

#[test]
fn a_model_of_another_size_is_refused() {
    let (mut config, _) = model("default");
    config.fusion.hidden_size = 52;
    config.text_encoder.num_hidden_layers = 1;
    let wanted = escnet::weights::manifest(&config).unwrap();
    let found = problems(load(&wanted, &[Source::whole(golden("default"))]));
    assert!(found.iter().any(|p| matches!(p, WeightProblem::Shape { name, .. } if name == "fusion.head.weight")));
    assert!(found.iter().any(|p| matches!(p, WeightProblem::Unexpected { name, .. } if name.starts_with("text_encoder.encoder.layer.1."))));
}

#[test]
fn broken_files_are_told_before_missing_tensors() {
    let folder = Folder::new();
    let (a, b) = (folder.put("a", b"junk"), folder.put("b", b"more junk that is longer"));
    let (_, wanted) = model("default");
    let sources = [Source::of(Part::Backbone, &a), Source::whole(golden("default")), Source::of(Part::Fusion, &b)];
    let error = load(&wanted, &sources).map(drop).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}, {}: 2 problem(s)", a.display(), b.display())), "{error}");
    assert!(matches!(load(&wanted, &[Source::whole(folder.path("c"))]), Err(escnet::Error::Io { .. })));
}

#[test]
fn halves_are_widened() {
    let folder = Folder::new();
    let half = |x: f32| f16::from_f32(x).to_le_bytes();
    let brain = |x: f32| bf16::from_f32(x).to_le_bytes();
    let made = [
        ("bn1.weight", "F16", vec![3], [0.1, -65504.0, 6e-8].into_iter().flat_map(half).collect()),
        ("bn1.bias", "BF16", vec![3], [0.1, -3e38, 1e-40].into_iter().flat_map(brain).collect()),
        ("fc.weight", "I64", vec![1], vec![0; 8]),
    ];
    let path = folder.put("x.safetensors", file(&made));
    let loaded = load(&wanted(&[("backbone.bn1.weight", &[3]), ("backbone.bn1.bias", &[3])]), &[Source::of(Part::Backbone, path)]).unwrap();
    let expected: Vec<f32> = [0.1, -65504.0, 6e-8].map(|x| f16::from_f32(x).to_f32()).to_vec();
    assert_eq!(loaded.tensor("backbone.bn1.weight").unwrap().as_f32(), Some(&expected[..]));
    let expected: Vec<f32> = [0.1, -3e38, 1e-40].map(|x| bf16::from_f32(x).to_f32()).to_vec();
    assert_eq!(loaded.tensor("backbone.bn1.bias").unwrap().as_f32(), Some(&expected[..]));
    assert!(loaded.notes()[0].ends_with("ImageNet's classifier is not used: fc.weight"), "{:?}", loaded.notes());
}

/// The captioner's embedding and its output layer.
const EMBEDDING: &str = "text_decoder.bert.embeddings.word_embeddings.weight";
const OUTPUT: &str = "text_decoder.cls.predictions.decoder.weight";

fn captioner(tensors: &[(&str, &str, Vec<usize>, Vec<u8>)]) -> Result<escnet::weights::Loaded, escnet::Error> {
    let folder = Folder::new();
    let path = folder.put("x.safetensors", file(tensors));
    load(&wanted(&[(&format!("captioner.{EMBEDDING}"), &[2, 2])]), &[Source::of(Part::Captioner, path)])
}

#[test]
fn the_tied_output_layer_must_equal_the_embedding() {
    let x = |last| bytes(&[1.0, 2.0, 3.0, last]);
    let same = captioner(&[(EMBEDDING, "F32", vec![2, 2], x(4.0)), (OUTPUT, "F32", vec![2, 2], x(4.0))]).unwrap();
    assert!(same.notes()[0].contains("equals the tensor it is tied to"));
    let halves = [1.0, 2.0, 3.0, 4.0].map(|x| f16::from_f32(x).to_le_bytes()).concat();
    captioner(&[(EMBEDDING, "F32", vec![2, 2], x(4.0)), (OUTPUT, "F16", vec![2, 2], halves)]).unwrap();

    let other = problems(captioner(&[(EMBEDDING, "F32", vec![2, 2], x(4.0)), (OUTPUT, "F32", vec![2, 2], x(5.0))]));
    assert_eq!(other, [WeightProblem::Tied { name: OUTPUT.into(), original: EMBEDDING.into(), index: 3 }]);
    let other = problems(captioner(&[(EMBEDDING, "F32", vec![2, 2], x(4.0)), (OUTPUT, "F32", vec![4], x(4.0))]));
    assert!(matches!(&other[..], [WeightProblem::Shape { name, .. }] if name == OUTPUT));
}

#[test]
fn the_tied_output_layer_stands_in_for_the_embedding() {
    let loaded = captioner(&[(OUTPUT, "F32", vec![2, 2], bytes(&[1.0, 2.0, 3.0, 4.0]))]).unwrap();
    assert_eq!(loaded.tensor(&format!("captioner.{EMBEDDING}")).unwrap().as_f32(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
    assert!(loaded.notes()[0].contains("stands in"));
}

#[test]
fn names_without_prefix_may_share_a_file() {
    let folder = Folder::new();
    let path = folder.put(
        "x.safetensors",
        file(&[
            ("bn1.bias", "F32", vec![1], bytes(&[1.0])),
            ("bert.embeddings.LayerNorm.beta", "F32", vec![1], bytes(&[2.0])),
            ("vision_model.post_layernorm.bias", "F32", vec![1], bytes(&[3.0])),
            ("head.bias", "F32", vec![1], bytes(&[4.0])),
            ("cls.predictions.bias", "F32", vec![1], bytes(&[5.0])),
        ]),
    );
    let names = ["backbone.bn1.bias", "text_encoder.embeddings.LayerNorm.bias", "captioner.vision_model.post_layernorm.bias", "fusion.head.bias"];
    let loaded = load(&wanted(&names.map(|n| (n, &[1][..]))), &[Source::whole(path)]).unwrap();
    assert_eq!(names.map(|n| loaded.tensor(n).unwrap().as_f32().unwrap()[0]), [1.0, 2.0, 3.0, 4.0]);
}
