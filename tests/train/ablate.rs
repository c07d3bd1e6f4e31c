//! Ablations: which settings they take, what these make of a run, and that they go on from wherever they were interrupted.

use crate::common::Folder;
use crate::tiny::{data, settings};
use escnet::model::config::{Cross, EscnetConfig, Highlight, LossKind, Reading};
use escnet::train::ablate::{AblateConfig, Ablation, Fusion, Grid, Row, Scores, Setting, Spread, State, Told, markdown, summaries_csv, summarize};
use escnet::train::config::{CaptionSource, RunConfig};
use escnet::train::judge::Judged;
use escnet::train::train_classifier;
use escnet::train::trainer::Ended;
use escnet::train::watch::{Now, Unwatched, Watch};
use std::path::Path;

/// Stops after so many steps and batches of pictures, and counts what is begun.
struct Halt {
    after: u64,
    begun: Vec<String>,
}

impl Watch for Halt {
    fn begin(&mut self, what: &str, _: u64, _: u64) {
        self.begun.push(what.to_owned());
    }
    fn step(&mut self, _: &Now) {
        self.after = self.after.saturating_sub(1);
    }
    fn counted(&mut self, _: usize) {
        self.after = self.after.saturating_sub(1);
    }
    fn judged(&mut self, _: f64, _: &Judged, _: bool) {}
    fn note(&mut self, _: &str) {}
    fn stop(&self) -> bool {
        self.after == 0
    }
}

fn halt(after: u64) -> Halt {
    Halt { after, begun: Vec::new() }
}

/// Each axis left once, from a center that is the whole model; a few steps each.
fn each_axis(folder: &Folder, out: &str, more: &str) -> AblateConfig {
    let base = folder.join("run.toml");
    if !base.exists() {
        let changes = ["data.limit=32", "captioner.fitting=\"in-sample\"", "captioner.stage.epochs=1.0", "classifier.stage.epochs=1.0"];
        let run = settings(&data(folder), &changes.map(str::to_owned));
        std::fs::write(&base, run.to_toml().unwrap()).unwrap();
    }
    let text = format!(
        "base = {:?}\nout = {:?}\nseeds = [5]\ngrid = \"one-at-a-time\"\ncaptions = [\"none\"]\nhighlight = [\"lexicon\"]\nfusion = [\"concat\"]\nloss = [\"focal\"]\n{more}",
        base.display().to_string(),
        folder.join(out).display().to_string()
    );
    AblateConfig::parse(&text, Path::new("ablate.toml")).unwrap()
}

/// The rows, without the seconds.
fn results(folder: &Folder, out: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(out).join("results.csv")).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[test]
fn the_full_grid_is_the_product_of_the_axes() {
    let all = AblateConfig::default().settings();
    assert_eq!(all.len(), 3 * 3 * 4 * 3);
    let names: std::collections::BTreeSet<String> = all.iter().map(Setting::name).collect();
    assert_eq!(names.len(), all.len());
    assert_eq!(all[0].name(), "none-none-concat-cross_entropy");
    assert_eq!(all[1].name(), "none-none-concat-focal");
    assert_eq!(all[3].name(), "none-none-cross-cross_entropy");
    assert_eq!(all[6].name(), "none-none-self-cross_entropy");
    assert_eq!(all[12].name(), "none-lexicon-concat-cross_entropy");
    assert_eq!(all[36].name(), "generic-none-concat-cross_entropy");
    assert_eq!(all[107].name(), "affective-learned-both-variable_weight");
}

#[test]
fn one_at_a_time_goes_along_each_axis_from_the_center() {
    let names = |text: &str| AblateConfig::parse(text, Path::new("x")).unwrap().settings().iter().map(Setting::name).collect::<Vec<_>>();
    let all = names("grid = \"one-at-a-time\"");
    assert_eq!(all.len(), 1 + 2 + 2 + 3 + 2);
    assert_eq!(
        all[..4],
        [
            "affective-learned-both-variable_weight",
            "none-learned-both-variable_weight",
            "generic-learned-both-variable_weight",
            "affective-none-both-variable_weight"
        ]
    );
    assert_eq!(all[9], "affective-learned-both-focal");
    let other = names("grid = \"one-at-a-time\"\ncenter = { captions = \"generic\", fusion = \"self\" }\nloss = [\"focal\"]");
    assert_eq!(other[0], "generic-learned-self-variable_weight");
    assert_eq!(other.last().unwrap(), "generic-learned-self-focal");
    assert_eq!(other.len(), 1 + 2 + 2 + 3 + 1);
}

#[test]
fn a_file_that_makes_no_sense_is_refused_by_the_field() {
    let refused = |text: &str| AblateConfig::parse(text, Path::new("ablate.toml")).unwrap_err().to_string();
    for (text, field) in [
        ("sedes = [1]", "sedes"),
        ("seeds = []", "seeds"),
        ("seeds = [1, 1]", "seeds"),
        ("fusion = [\"sum\"]", "fusion"),
        ("loss = [\"focal\", \"focal\"]", "loss"),
        ("grid = \"half\"", "grid"),
        ("center = { caption = \"none\" }", "center"),
    ] {
        let error = refused(text);
        assert!(error.contains("ablate.toml") && error.contains(field), "{text}: {error}");
    }
}

#[test]
fn every_run_is_of_its_setting_and_an_interrupted_ablation_ends_with_the_same_results() {
    let folder = Folder::new();
    let whole = Ablation::new(each_axis(&folder, "whole", "")).unwrap();
    let states = |ablation: &Ablation| ablation.parts().unwrap().iter().map(|part| (part.what, part.state)).collect::<Vec<_>>();
    assert_eq!(states(&whole)[..2], [("captioner", State::Open), ("classifier", State::Open)]);
    assert!(!folder.join("whole").exists());
    assert_eq!(whole.run(&mut Unwatched).unwrap(), Ended::Finished);
    assert_eq!(states(&whole), [[("captioner", State::Done)].as_slice(), &[("classifier", State::Done); 5]].concat());

    // What each axis changes, and nothing else.
    let made = |name: &str| EscnetConfig::open(folder.join("whole/seed5").join(name).join("model")).unwrap();
    let center = made("affective-learned-both-variable_weight");
    assert_eq!((center.fusion.cross, center.fusion.self_attention, center.fusion.highlight), (Cross::Both, true, Highlight::Learned));
    assert_eq!((center.loss.kind, center.reading, center.fusion.hidden_size), (LossKind::VariableWeight, Reading::WithoutEmotion, 16));
    let concat = made("affective-learned-concat-variable_weight");
    assert_eq!((concat.fusion.cross, concat.fusion.self_attention), (Cross::None, false));
    let mut like = concat.clone();
    like.fusion = center.fusion.clone();
    assert_eq!(like, center);
    assert_eq!(made("affective-lexicon-both-variable_weight").fusion.highlight, Highlight::Lexicon);
    assert!(
        std::fs::read_to_string(folder.join("whole/seed5/affective-lexicon-both-variable_weight/model/lexicon.tsv"))
            .unwrap()
            .contains("smiling\t1\n")
    );
    assert_eq!(made("affective-learned-both-focal").loss.kind, LossKind::Focal);
    assert_eq!(made("none-learned-both-variable_weight").reading, Reading::Nothing);

    let table = whole.table().unwrap();
    assert_eq!(table.iter().map(|row| row.center).collect::<Vec<_>>(), [true, false, false, false, false]);
    assert!(table.iter().all(|row| row.seeds == 1 && row.accuracy.is_some() && row.val_loss.is_some_and(|v| v.mean > 0.0)), "{table:?}");
    assert!(std::fs::read_to_string(folder.join("whole/table.md")).unwrap().contains("| affective | learned | concat | variable_weight |"));
    let rows = results(&folder, "whole");
    assert_eq!(rows.len(), 6);
    let distinct: std::collections::BTreeSet<&str> = rows[1..].iter().map(|row| row.rsplit_once(',').unwrap().1).collect();
    assert_eq!(distinct.len(), 5, "every setting has a validation loss of its own: {rows:?}");

    // Within the captioner, the captions, a classifier, and while judging.
    let again = Ablation::new(each_axis(&folder, "again", "")).unwrap();
    for after in [2, 4, 5, 16, 3, 7, 12] {
        assert_eq!(again.run(&mut halt(after)).unwrap(), Ended::Stopped, "{after}");
    }
    assert!(states(&again).contains(&("classifier", State::Begun)), "{:?}", states(&again));
    assert!(results(&folder, "again").len() < rows.len());
    assert_eq!(again.run(&mut Unwatched).unwrap(), Ended::Finished);
    assert_eq!(results(&folder, "again"), rows);

    // Nothing is left to do, and runs of other settings are not taken for these.
    let mut idle = halt(1);
    assert_eq!(again.run(&mut idle).unwrap(), Ended::Finished);
    assert!(idle.begun.is_empty(), "{:?}", idle.begun);
    for change in ["classifier.stage.rate=0.5", "captioner.stage.rate=0.5"] {
        let other = Ablation::new(each_axis(&folder, "again", &format!("changes = [\"{change}\"]"))).unwrap();
        let error = other.run(&mut Unwatched).unwrap_err().to_string();
        assert!(error.contains("identity") && error.contains("result.json"), "{error}");
    }
}

#[test]
fn a_given_model_is_ablated_too() {
    let folder = Folder::new();
    let first = settings(
        &data(&folder),
        &["classifier.captions=\"none\"".to_owned(), format!("classifier.out={:?}", folder.join("first").display().to_string())],
    );
    train_classifier(&first, false, &mut halt(1)).unwrap();
    let mut given = RunConfig { ..first };
    given.model = Default::default();
    given.model.from = Some(folder.join("first/model"));
    let base = folder.join("run.toml");
    std::fs::write(&base, given.to_toml().unwrap()).unwrap();
    let config = AblateConfig {
        base: base.clone(),
        out: folder.join("out"),
        seeds: vec![5],
        captions: vec![Told::None],
        highlight: vec![Highlight::None],
        fusion: vec![Fusion::Concat],
        loss: vec![LossKind::Focal],
        ..AblateConfig::default()
    };
    Ablation::new(config).unwrap().run(&mut halt(1)).unwrap();
    let dir = folder.join("out/seed5/none-none-concat-focal");
    let made = EscnetConfig::open(dir.join("model")).unwrap();
    assert_eq!((made.fusion.cross, made.fusion.highlight, made.loss.kind), (Cross::None, Highlight::None, LossKind::Focal));
    assert_eq!((made.fusion.hidden_size, made.fusion.depth), (16, 1), "what the axes do not speak of is the given model's");
    // What it was run with can be read again; other sections beside a given model cannot.
    assert_eq!(RunConfig::open(dir.join("run.toml"), &[]).unwrap().classifier.captions, CaptionSource::None);
    let error = RunConfig::open(&base, &["model.config.image_size=32".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("model.config") && error.contains("image_size"), "{error}");
}

#[test]
fn spread_and_difference_are_over_the_seeds_both_have() {
    let center = Setting::default();
    let other = Setting { loss: LossKind::Focal, ..center };
    let row = |setting, seed, accuracy| Row {
        setting,
        seed,
        scores: Scores { accuracy: Some(accuracy), macro_f1: Some(0.5), val_loss: None },
        seconds: 2.0,
    };
    let rows = [row(center, 0, 0.90), row(center, 1, 0.94), row(center, 2, 0.95), row(other, 0, 0.80), row(other, 1, 0.86)];
    let table = summarize(&rows, &[center, other, Setting { fusion: Fusion::Concat, ..center }], center);
    assert_eq!(table.len(), 2, "a setting without a run has no row");
    let close = |got: Option<Spread>, mean: f64, sd: f64| {
        let got = got.unwrap();
        assert!((got.mean - mean).abs() < 1e-12 && (got.sd.unwrap() - sd).abs() < 1e-12, "{got:?}");
    };
    close(table[0].accuracy, 0.93, 0.0007_f64.sqrt());
    close(table[1].accuracy, 0.83, 0.0018_f64.sqrt());
    // -0.10 and -0.08, the third seed of the center left aside.
    close(table[1].difference, -0.09, 0.0002_f64.sqrt());
    assert_eq!((table[0].difference, table[0].val_loss, table[0].seeds, table[1].seeds), (None, None, 3, 2));
    assert_eq!(Spread::of(&[0.5]).unwrap().sd, None);
    let text = markdown(&table, escnet::data::dataset::Split::Test);
    assert!(text.contains("| 93.00 ± 2.65 |") && text.contains("| -9.00 ± 1.41 | 2 |") && text.contains("| center | 3 |"), "{text}");
    assert!(summaries_csv(&table).unwrap().lines().nth(2).unwrap().starts_with("affective,learned,both,focal,2,0.83"));
    assert_eq!(AblateConfig::default().grid, Grid::Full);
}
