//! Whole runs: they repeat to the bit, go on to the bit after any break, skip what is not finite and refuse what leaks.

use crate::common::Folder;
use crate::tiny::{data, settings};
use escnet::Error;
use escnet::train::checkpoint::{Checkpoints, read_progress};
use escnet::train::config::RunConfig;
use escnet::train::judge::Judged;
use escnet::train::record::{Kind, Row};
use escnet::train::trainer::Ended;
use escnet::train::watch::{Now, Unwatched, Watch};
use escnet::train::{train_captioner, train_classifier};
use escnet::weights::WeightFile;
use std::collections::BTreeMap;
use std::path::Path;

/// Stops a run after so many steps.
struct StopAfter(u64);

impl Watch for StopAfter {
    fn begin(&mut self, _: &str, _: u64, _: u64) {}
    fn step(&mut self, _: &Now) {
        self.0 = self.0.saturating_sub(1);
    }
    fn judged(&mut self, _: f64, _: &Judged, _: bool) {}
    fn note(&mut self, _: &str) {}
    fn stop(&self) -> bool {
        self.0 == 0
    }
}

/// Every tensor of a model folder, bit by bit.
fn weights(model: &Path) -> BTreeMap<String, Vec<u32>> {
    let file = WeightFile::open(model.join("model.safetensors")).unwrap();
    let bits = |name: &str| file.tensor(name).unwrap().to_f32().unwrap().to_f32().iter().map(|x| x.to_bits()).collect();
    file.names().map(|name| (name.to_owned(), bits(name))).collect()
}

/// Runs until it is finished, stopping after each of these numbers of steps.
fn in_pieces(mut train: impl FnMut(bool, &mut dyn Watch) -> escnet::Result<Ended>, pieces: &[u64]) {
    for (i, &steps) in pieces.iter().enumerate() {
        assert_eq!(train(i > 0, &mut StopAfter(steps)).unwrap(), Ended::Stopped);
    }
    assert_eq!(train(true, &mut Unwatched).unwrap(), Ended::Finished);
}

/// The rows of a run's metrics.
fn read(path: impl AsRef<Path>) -> Vec<Row> {
    escnet::data::jsonl::read(path).unwrap()
}

/// The settings of a run in its own folder.
fn run(folder: &Folder, name: &str, changes: &[&str]) -> RunConfig {
    let out = |stage: &str| format!("{stage}.out={:?}", folder.join(name).join(stage).display().to_string());
    let mut all = vec![out("captioner"), out("classifier")];
    all.extend(changes.iter().map(|c| (*c).to_owned()));
    settings(&data(folder), &all)
}

#[test]
fn a_captioner_resumed_anywhere_ends_with_the_same_bits() {
    let folder = Folder::new();
    let whole = run(&folder, "whole", &["captioner.stage.ema=0.9", "captioner.stage.augment.crop=[0.6, 1.0]"]);
    assert_eq!(train_captioner(&whole, false, &mut Unwatched).unwrap(), Ended::Finished);
    let again = run(&folder, "again", &["captioner.stage.ema=0.9", "captioner.stage.augment.crop=[0.6, 1.0]", "threads=1", "data.workers=3"]);
    in_pieces(|resume, watch| train_captioner(&again, resume, watch), &[1, 3, 12, 16, 8, 8, 4]);
    for part in ["captioner", "captioner/fold0", "captioner/fold1"] {
        let model = |name: &str| weights(&folder.join(name).join(part).join("model"));
        assert!(model("whole") == model("again"), "{part}");
    }
    let rows = |name: &str| read(folder.join(name).join("captioner/metrics.jsonl"));
    let val = |name: &str| rows(name).into_iter().filter(|r| r.kind == Kind::Val).map(|r| (r.step, r.loss)).collect::<Vec<_>>();
    assert_eq!(val("whole"), val("again"));
    let curves = |name: &str| crate::events::curves(&folder.join(name).join("captioner"));
    assert_eq!(curves("whole").iter().filter(|(tag, _)| tag == "val/loss").count(), val("whole").len());
    assert_eq!(curves("whole"), curves("again"), "no value is lost, and none is there twice");
    assert!(folder.join("again/captioner/curves.svg").is_file());
}

#[test]
fn a_classifier_resumed_across_its_phases_ends_with_the_same_bits() {
    let folder = Folder::new();
    let changes =
        ["classifier.captions=\"none\"", "classifier.head_epochs=1.0", "classifier.stage.accumulate=2", "classifier.stage.sampling=\"balanced\""];
    let whole = run(&folder, "whole", &changes);
    train_classifier(&whole, false, &mut Unwatched).unwrap();
    let again = run(&folder, "again", &changes);
    in_pieces(|resume, watch| train_classifier(&again, resume, watch), &[1, 9, 7, 3]);
    let model = |name: &str| weights(&folder.join(name).join("classifier/model"));
    assert!(model("whole") == model("again"));
}

#[test]
fn the_head_phase_leaves_the_encoders_as_they_were() {
    let folder = Folder::new();
    let config = run(
        &folder,
        "x",
        &["classifier.captions=\"none\"", "classifier.stage.epochs=1.0", "classifier.head_epochs=1.0", "classifier.stage.keep=\"last\""],
    );
    train_classifier(&config, false, &mut StopAfter(0)).unwrap();
    let model = folder.join("x/classifier/model");
    let before = weights(&model);
    train_classifier(&config, true, &mut Unwatched).unwrap();
    let after = weights(&model);
    let changed = |prefix: &str| before.iter().filter(|(n, v)| n.starts_with(prefix) && after[*n] != **v).count();
    assert_eq!((changed("backbone."), changed("text_encoder."), changed("captioner.")), (0, 0, 0));
    assert!(changed("fusion.") > 10);
}

#[test]
fn a_learning_rate_too_large_skips_then_stops_and_keeps_the_last_good_state() {
    let folder = Folder::new();
    let base =
        ["captioner.fitting=\"in-sample\"", "captioner.stage.clip_norm=0", "captioner.stage.checkpoint_steps=1", "captioner.stage.max_skipped=3"];
    let mut changes = base.to_vec();
    changes.extend(["captioner.stage.rate=1e3", "captioner.stage.optimizer.kind=\"sgd\"", "captioner.stage.epochs=20.0"]);
    let config = run(&folder, "x", &changes);
    let error = train_captioner(&config, false, &mut Unwatched).unwrap_err();
    assert!(matches!(error, Error::Diverged { skipped: 3, .. }), "{error}");
    let newest = Checkpoints::at(folder.join("x/captioner/checkpoint")).newest().unwrap().unwrap();
    let progress = read_progress(&newest).unwrap();
    assert_eq!(progress.skipped_in_a_row, 0, "{progress:?}");
    let state = WeightFile::open(newest.join("state.safetensors")).unwrap();
    for name in state.names().filter(|n| n.starts_with("captioner.")) {
        assert!(state.tensor(name).unwrap().to_f32().unwrap().to_f32().iter().all(|x| x.is_finite()), "{name}");
    }
}

#[test]
fn early_stopping_ends_a_run_that_grows_no_better() {
    let folder = Folder::new();
    let config = run(
        &folder,
        "x",
        &["captioner.fitting=\"in-sample\"", "captioner.stage.rate=0.0", "captioner.stage.epochs=50.0", "captioner.stage.patience=2"],
    );
    train_captioner(&config, false, &mut Unwatched).unwrap();
    let rows = read(folder.join("x/captioner/metrics.jsonl"));
    assert_eq!(rows.iter().filter(|r| r.kind == Kind::Val).count(), 3);
}

#[test]
fn a_run_goes_on_only_with_its_own_settings_and_only_when_asked() {
    let folder = Folder::new();
    let config = run(&folder, "x", &["captioner.fitting=\"in-sample\""]);
    train_captioner(&config, false, &mut StopAfter(2)).unwrap();
    let error = train_captioner(&config, false, &mut Unwatched).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    let other = run(&folder, "x", &["captioner.fitting=\"in-sample\"", "captioner.stage.rate=0.5"]);
    let error = train_captioner(&other, true, &mut Unwatched).unwrap_err().to_string();
    assert!(error.contains("identity") && error.contains("settings"), "{error}");
}

#[test]
fn a_broken_picture_is_listed_and_passed_over() {
    let folder = Folder::new();
    let config = run(&folder, "x", &["captioner.fitting=\"in-sample\"", "captioner.stage.epochs=1.0"]);
    let train = std::fs::read_to_string(config.data.path.join("train.json")).unwrap();
    let rows: Vec<(String, String, String, String)> = serde_json::from_str(&train).unwrap();
    std::fs::write(config.data.path.join(&rows[3].2), b"no picture").unwrap();
    train_captioner(&config, false, &mut Unwatched).unwrap();
    let errors = std::fs::read_to_string(folder.join("x/captioner/errors.jsonl")).unwrap();
    assert_eq!(errors.lines().count(), 1);
    assert!(errors.contains(&rows[3].1), "{errors}");
}

#[test]
fn bf16_and_f16_steps_train_too_and_weights_stay_f32() {
    for dtype in ["bf16", "f16"] {
        let folder = Folder::new();
        let dtype = format!("captioner.stage.dtype={dtype:?}");
        let config = run(&folder, "x", &["captioner.fitting=\"in-sample\"", "captioner.stage.epochs=8.0", &dtype]);
        train_captioner(&config, false, &mut Unwatched).unwrap();
        let rows = read(folder.join("x/captioner/metrics.jsonl"));
        let losses: Vec<f64> = rows.iter().filter(|r| r.kind == Kind::Val).filter_map(|r| r.loss).collect();
        assert!(losses.last().unwrap() < &(0.8 * losses[0]), "{dtype}: {losses:?}");
    }
}
