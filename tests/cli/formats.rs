//! What results look like.

use crate::program::{Folder, golden, model, picture, program, run, text, with_input, with_model};
use serde_json::Value;

/// The golden pictures, sorted.
fn pictures() -> Vec<String> {
    let entries = std::fs::read_dir(golden("preprocess")).unwrap();
    let mut names: Vec<String> = entries.map(|e| text(&e.unwrap().path())).filter(|p| !p.ends_with(".safetensors")).collect();
    names.sort();
    names
}

#[test]
fn a_folder_gives_a_line_for_each_picture_in_order() {
    let lines = with_model(&["classify", &text(&golden("preprocess"))]).ends(0).jsonl();
    let images: Vec<&str> = lines.iter().map(|line| line["image"].as_str().unwrap()).collect();
    assert_eq!(images, pictures());
    for line in &lines {
        let predictions = line["predictions"].as_array().unwrap();
        let chances: Vec<f64> = predictions.iter().map(|p| p["probability"].as_f64().unwrap()).collect();
        assert_eq!(chances.len(), 8);
        assert!(chances.is_sorted_by(|a, b| a >= b) && (chances.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{chances:?}");
        let words = line["words"].as_array().unwrap();
        assert!(!words.is_empty() && words.iter().all(|w| (0.0..=1.0).contains(&w["gate"].as_f64().unwrap())), "{words:?}");
        assert!(!line["caption"].as_str().unwrap().is_empty());
        assert!(line["score"].as_f64().unwrap() < 0.0);
    }
}

#[test]
fn all_formats_say_the_same() {
    let pair = [picture("gray.png"), picture("rgba.png")];
    let arguments = |format| with_model(&["classify", &pair[0], &pair[1], "--top", "2", "--format", format]).ok();
    let lines: Vec<Value> = arguments("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let array: Value = serde_json::from_str(&arguments("json")).unwrap();
    assert_eq!(array, Value::Array(lines.clone()));

    let table = arguments("csv");
    let mut table = csv::Reader::from_reader(table.as_bytes());
    let head = table.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        let cell = |name: &str| &row[head.iter().position(|h| h == name).unwrap()];
        let predictions = line["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 2);
        assert_eq!(cell("image"), line["image"]);
        assert_eq!(cell("emotion"), predictions[0]["class"]);
        for p in predictions {
            let column = cell(&format!("p_{}", p["class"].as_str().unwrap()));
            assert!((column.parse::<f64>().unwrap() - p["probability"].as_f64().unwrap()).abs() < 1e-6);
        }
        assert_eq!(head.iter().zip(row).filter(|(h, c)| h.starts_with("p_") && !c.is_empty()).count(), 2);
        assert_eq!(cell("caption"), line["caption"]);
        assert_eq!(cell("words").split(' ').count(), line["words"].as_array().unwrap().len());
        assert_eq!(cell("error"), "");
    }

    let table = arguments("table");
    for line in &lines {
        assert!(table.contains(line["predictions"][1]["class"].as_str().unwrap()), "{table}");
    }
    assert!(!table.contains('\u{1b}'), "colours where there is no terminal");
}

#[test]
fn the_result_depends_neither_on_threads_nor_on_the_batch() {
    let folder = text(&golden("preprocess"));
    let with = |threads: &str, batch: &str| with_model(&["classify", &folder, "--threads", threads, "--batch", batch]).ok();
    let once = with("1", "1");
    assert_eq!(once, with("2", "1"));
    assert_eq!(once, with("1", "3"));
    assert_eq!(once, with("2", "3"));
}

#[test]
fn a_list_on_standard_input() {
    let folder = Folder::of(&[("a b.png", "rgb_tiny.png"), ("c/d.png", "gray.png"), ("c/.hidden.png", "gray.png"), ("c/notes.txt", "gray.png")]);
    let list = format!("{}\r\n\n{}\n", folder.join("a b.png"), folder.join("c"));
    let lines = with_input(&["caption", "-", "--max-len", "6"], list.as_bytes()).ends(0).jsonl();
    let images: Vec<&str> = lines.iter().map(|line| line["image"].as_str().unwrap()).collect();
    assert_eq!(images, [folder.join("a b.png"), folder.join("c/d.png")]);
    let list = format!("{}\0{}\0", folder.join("a b.png"), folder.join("c/notes.txt"));
    assert_eq!(with_input(&["caption", "-", "--max-len", "6"], list.as_bytes()).ends(0).jsonl().len(), 2);
}

#[test]
fn captions_follow_their_options() {
    let one = picture("rgba.png");
    let caption = |more: &[&str]| with_model(&[&["caption", &one], more].concat()).ends(0).jsonl().remove(0);
    let ids = |line: &Value| line["ids"].as_array().unwrap().len();
    assert!(ids(&caption(&["--max-len", "4"])) <= 4);
    assert!(ids(&caption(&["--min-len", "12", "--max-len", "20"])) >= 12);
    assert!(caption(&["--prompt", "two dogs"])["caption"].as_str().unwrap().starts_with("two dogs"));
    assert_eq!(caption(&["--beam", "1"]), caption(&["--top-k", "1", "--seed", "9"]));
    let drawn = |seed: &str| caption(&["--temperature", "3", "--seed", seed]);
    assert_eq!(drawn("1"), drawn("1"));
    assert!((2..6).any(|seed| drawn(&seed.to_string()) != drawn("1")));
}

#[test]
fn the_model_may_be_named_by_the_environment() {
    let output = program().args(["caption", &picture("rgb_tiny.png")]).env("ESCNET_MODEL", model()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let loud = program().args(["caption", &picture("rgb_tiny.png"), "-v"]).env("ESCNET_MODEL", model()).output().unwrap();
    assert_eq!(loud.stdout, output.stdout, "talk is no data");
    assert!(output.stderr.is_empty() && !loud.stderr.is_empty());
}

#[test]
fn help_is_data_and_completions_are_scripts() {
    for verb in ["classify", "caption", "verify", "convert", "inspect"] {
        assert!(run(&[verb, "--help"]).ok().contains("Usage: escnet"));
    }
    assert!(run(&["completions", "zsh"]).ok().starts_with("#compdef escnet"));
}
