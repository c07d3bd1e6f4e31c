//! `escnet data check`, `captions` and `split`.

use crate::program::{Folder, golden, run};
use serde_json::Value;

/// EmoSet's layout, two pictures for training and one for testing.
fn set() -> Folder {
    let folder = Folder::new();
    for (i, name) in ["rgb_landscape.png", "rgb_portrait.png", "gray.png"].into_iter().enumerate() {
        folder.write(&format!("image/{i}.png"), &std::fs::read(golden("preprocess").join(name)).unwrap());
    }
    folder.write("annotation/0.json", br#"{"brightness": 0.9, "scene": "beach", "object": ["Balloon"], "facial_expression": "happy"}"#);
    folder.write("train.json", br#"[["amusement","a","image/0.png","annotation/0.json"],["sadness","b","image/1.png",""]]"#);
    folder.write("test.json", br#"[["awe","c","image/2.png",""]]"#);
    folder
}

#[test]
fn check_ends_well_or_with_findings() {
    let folder = set();
    let table = run(&["data", "check", &folder.join("")]).ends(0);
    assert!(table.out.contains("layout: emoset") && table.out.contains("together") && table.err.contains("nothing is wrong"), "{table:?}");
    let before = folder.names();
    folder.write("image/2.png", &std::fs::read(folder.path().join("image/0.png")).unwrap());
    let found = run(&["data", "check", &folder.join(""), "--format", "json"]).ends(1);
    let report: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!((report["clean"].as_bool(), report["findings"].as_u64()), (Some(false), Some(2)));
    assert_eq!(report["report"]["leaks"][0]["members"][1]["split"], "test");
    let table = run(&["data", "check", &folder.join("")]).ends(1);
    assert!(
        table.out.contains("leaks between splits: 1") && table.out.contains("image/0.png (amusement, train), image/2.png (awe, test)"),
        "{table:?}"
    );
    assert_eq!(folder.names(), before);
    run(&["data", "check", &folder.join("nowhere")]).ends(3);
    run(&["data", "check", &folder.join(""), "--layout", "imagenet"]).ends(2);
}

#[test]
fn captions_are_for_training_unless_asked() {
    let folder = set();
    let lines = run(&["data", "captions", &folder.join(""), "--wordings", "1"]).ends(0);
    assert!(!lines.err.contains("the label"), "{}", lines.err);
    let lines = lines.jsonl();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["caption"], "a bright beach with a balloon and a smiling face, full of amusement");
    assert_eq!((&lines[0]["id"], &lines[0]["image"], &lines[0]["split"]), (&"a".into(), &"image/0.png".into(), &"train".into()));
    assert_eq!(lines[0]["attributes_used"]["object"][0], "Balloon");
    assert_eq!(lines[0]["emotion_phrase"], true);

    let both = run(&["data", "captions", &folder.join(""), "--split", "test,train"]).ends(0);
    assert!(both.err.contains("the label"), "{}", both.err);
    assert_eq!(both.jsonl().iter().map(|line| line["split"].clone()).collect::<Vec<_>>(), ["train", "train", "test"]);
    let plain = run(&["data", "captions", &folder.join(""), "--split", "test", "--no-emotion-phrase", "--wordings", "1"]).ends(0);
    assert!(!plain.err.contains("the label"));
    assert_eq!((&plain.jsonl()[0]["caption"], &plain.jsonl()[0]["emotion_phrase"]), (&"a scene".into(), &false.into()));

    let (out, vocab) = (folder.join("captions.jsonl"), folder.join("vocab.txt"));
    let written = run(&["data", "captions", &folder.join(""), "--style", "generic", "--wordings", "1", "-o", &out, "--vocab", &vocab]).ends(0);
    assert_eq!(written.out, "");
    assert!(std::fs::read_to_string(out).unwrap().contains("a beach with a balloon\""));
    let vocab = std::fs::read_to_string(vocab).unwrap();
    assert!(vocab.starts_with("[PAD]\n[UNK]\n") && vocab.contains("\nballoon\n") && vocab.ends_with("[DEC]\n"), "{vocab}");
}

#[test]
fn a_split_is_written_and_read_back() {
    let folder = Folder::new();
    let rows: String = (0..40).map(|i| format!("{i}.png,x\n")).collect();
    folder.write("list.csv", format!("image,label\n{rows}").as_bytes());
    let (list, file) = (folder.join("list.csv"), folder.join("split.json"));
    let note = run(&["data", "split", &list, "--seed", "5", "-o", &file]).ends(0).err;
    assert!(note.contains("train 32, val 2, test 6"), "{note}");
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(run(&["data", "split", &list, "--split-file", &file]).ok(), written);
    assert_ne!(run(&["data", "split", &list, "--seed", "6"]).ok(), written);
    folder.write("list.csv", format!("image,label\n{rows}new.png,x\n").as_bytes());
    assert!(run(&["data", "split", &list, "--split-file", &file]).ends(3).err.contains("`new.png`"));
}
