//! `ablate`

use crate::program::{Folder, run};
use serde_json::Value;

const RUN: &str = r#"
threads = 1
data = { path = "DATA", limit = 16 }

[model.config]
image_size = 32
backbone = { layers = [1, 1, 1, 1], width = 4 }
captioner.vision_config = { image_size = 32, patch_size = 16, hidden_size = 8, intermediate_size = 8, num_hidden_layers = 1, num_attention_heads = 1 }
captioner.text_config = { hidden_size = 8, intermediate_size = 8, num_hidden_layers = 1, num_attention_heads = 1, max_position_embeddings = 40 }
text_encoder = { hidden_size = 8, intermediate_size = 8, num_hidden_layers = 1, num_attention_heads = 1, max_position_embeddings = 40 }
fusion = { hidden_size = 8, num_attention_heads = 1, mlp_ratio = 1, depth = 1 }

[classifier.stage]
epochs = 1.0
batch = 8
"#;

/// A data set, a run and an `ablate.toml` that says this beside.
fn folder(ablate: &str) -> Folder {
    let folder = Folder::new();
    let data = folder.join("data");
    run(&["data", "demo", &data, "--count", "64", "--size", "32"]).ends(0);
    folder.write("run.toml", RUN.replace("DATA", &data).as_bytes());
    folder.write("ablate.toml", format!("base = {:?}\nout = {:?}\n{ablate}", folder.join("run.toml"), folder.join("out")).as_bytes());
    folder
}

fn ablate(folder: &Folder, arguments: &[&str]) -> crate::program::Run {
    run(&[&["ablate", "--config", &folder.join("ablate.toml")], arguments].concat())
}

#[test]
fn a_dry_run_lists_what_would_be_trained() {
    let folder = folder("seeds = [3, 4]\ngrid = \"one-at-a-time\"\nhighlight = [\"learned\"]\n");
    let plan = ablate(&folder, &["--dry-run"]).ok();
    assert!(plan.contains("4 captioners and 16 classifiers") && plan.contains("20 are left to do"), "{plan}");
    let lines: Vec<&str> = plan.lines().collect();
    assert!(lines[2].contains("captioner-generic") && lines[3].contains("captioner-affective"), "{plan}");
    assert!(lines[4].contains("affective-learned-both-variable_weight") && lines[4].contains("to do"), "{plan}");
    assert!(!std::path::Path::new(&folder.join("out")).exists(), "nothing is written");
    assert!(ablate(&folder, &["--dry-run", "--seeds", "7"]).ok().contains("2 captioners and 8 classifiers"));
    ablate(&folder, &["--dry-run", "--seeds", "7,7"]).ends(3);
    ablate(&folder, &["--dry-run", "--set", "classifier.stage.epoch=1"]).ends(3);
    assert!(run(&["ablate", "--config", &folder.join("none.toml"), "--dry-run"]).ends(3).err.contains("none.toml"));
}

#[test]
fn the_table_comes_in_four_forms_and_only_the_first_trains() {
    let folder = folder("captions = [\"none\"]\nhighlight = [\"none\"]\nfusion = [\"concat\"]\nloss = [\"focal\"]\nseeds = [1, 2]\n");
    assert!(ablate(&folder, &["--device", "abacus"]).ends(4).err.contains("abacus"));
    let csv = ablate(&folder, &[]).ends(0);
    let lines: Vec<&str> = csv.out.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("captions,highlight,fusion,loss,seeds,accuracy,accuracy_sd"), "{csv:?}");
    assert!(lines[1].starts_with("none,none,concat,focal,2,0."), "{csv:?}");
    assert!(csv.err.contains("run 2 of 2: seed 2"), "{csv:?}");
    let json = ablate(&folder, &["--format", "json"]).ends(0);
    assert!(json.err.contains("2 of 2 runs are finished already") && !json.err.contains("step"), "{json:?}");
    let rows: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&rows[0]["fusion"], &rows[0]["seeds"], &rows[0]["center"]), (&"concat".into(), &2.into(), &false.into()));
    assert_eq!(rows[0]["difference"], Value::Null, "the center is not among them");
    let accuracy: f64 = lines[1].split(',').nth(5).unwrap().parse().unwrap();
    assert_eq!(rows[0]["accuracy"]["mean"], accuracy);
    let markdown = ablate(&folder, &["--format", "md"]).ok();
    assert!(markdown.starts_with("| captions |") && markdown == std::fs::read_to_string(folder.join("out/table.md")).unwrap());
    assert!(ablate(&folder, &["--format", "table"]).ok().contains("On the test split"));
    assert!(ablate(&folder, &["--dry-run"]).ok().contains("0 are left to do"));
}
