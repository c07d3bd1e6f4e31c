//! A small model learns the demo's pictures well above chance, in a moment.

use crate::common::Folder;
use escnet::data::dataset::{Dataset, OpenOptions, Split};
use escnet::data::demo;
use escnet::train::config::RunConfig;
use escnet::train::evaluate::{Options, evaluate};
use escnet::train::watch::Unwatched;
use escnet::train::{train_captioner, train_classifier};
use escnet::{Engine, EngineOptions};
use std::path::Path;

#[test]
fn a_small_model_learns_well_above_chance() {
    let folder = Folder::new();
    let data = folder.join("data");
    demo::generate(&demo::Spec { count: 1920, seed: 11, size: 32, label_noise: 0.0 }, &data, || Ok::<(), escnet::Error>(())).unwrap();
    let text = |path: &Path| format!("{:?}", path.display().to_string());
    let changes = [
        format!("data.path={}", text(&data)),
        format!("captioner.out={}", text(&folder.join("captioner"))),
        format!("classifier.out={}", text(&folder.join("classifier"))),
        "captioner.fitting=\"in-sample\"".to_owned(),
        "captioner.style={emotion_phrase=false, wordings=1}".to_owned(),
        "captioner.stage.epochs=4.0".to_owned(),
        "captioner.stage.rate=4e-3".to_owned(),
        "model.config.captioner.vision_config.patch_size=8".to_owned(),
        "model.config.captioner.vision_config.hidden_size=32".to_owned(),
        "model.config.captioner.text_config.hidden_size=32".to_owned(),
        "classifier.captions=\"none\"".to_owned(),
        "classifier.stage.epochs=10.0".to_owned(),
        "classifier.stage.batch=16".to_owned(),
        "classifier.stage.rate=4e-3".to_owned(),
        "model.config.backbone.width=16".to_owned(),
    ];
    let run = RunConfig::parse(include_str!("tiny.toml"), Path::new("run.toml"), &changes).unwrap();
    train_captioner(&run, false, &mut Unwatched).unwrap();
    train_classifier(&run, false, &mut Unwatched).unwrap();

    let set = Dataset::open(&data, &OpenOptions::default()).unwrap();
    let judge = |model: &Path| {
        let options = EngineOptions { batch: 16, ..EngineOptions::default() };
        let mut engine = Engine::load(&model.join("model"), options).unwrap();
        let options =
            Options { classes: &set.classes, captions: None, references: (run.captioner.style, run.seed), skip_broken: false, batch: 16, workers: 1 };
        evaluate(&mut engine, set.split(Split::Test), &options, &mut |_| true).unwrap().unwrap()
    };
    // Chance is one in eight: on 288 pictures 25% is six standard deviations above it.
    let classified = judge(&folder.join("classifier"));
    assert!(classified.accuracy.unwrap() > 0.25, "{:?}", classified.accuracy);
    // By chance the scene would be right once in eight times, the brightness once in three.
    let captions = judge(&folder.join("captioner")).captions.unwrap();
    let said = |group: &str| captions.attribute_recall.get(group).copied().flatten().unwrap_or_default();
    assert!(said("brightness") > 0.8 && said("scene") > 0.3, "{captions:?}");
}
