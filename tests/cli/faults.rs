//! What happens when something is wrong.

use crate::program::{Folder, model, picture, program, run, with_input, with_model};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

/// A folder of a good picture, one that is none, one cut short, and another good one.
fn mixed() -> Folder {
    let folder = Folder::of(&[("a.png", "rgb_tiny.png"), ("d.png", "gray.png")]);
    folder.write("b.jpg", b"no picture");
    folder.write("c.jpg", &std::fs::read(picture("gray.jpg")).unwrap()[..900]);
    folder
}

#[test]
fn broken_pictures_are_told_and_passed_over() {
    let folder = mixed();
    for batch in ["1", "2", "8"] {
        let run = with_model(&["classify", &folder.join(""), "--batch", batch]).ends(5);
        let lines = run.jsonl();
        let errors: Vec<bool> = lines.iter().map(|line| line["error"].is_string()).collect();
        assert_eq!(errors, [false, true, true, false], "in their places");
        for name in ["b.jpg", "c.jpg"] {
            assert!(run.err.contains(name), "{}", run.err);
        }
    }
    let quiet = with_model(&["caption", &folder.join(""), "-q", "--format", "csv"]).ends(5);
    assert_eq!(quiet.err.lines().count(), 2, "{}", quiet.err);
    let mut table = csv::Reader::from_reader(quiet.out.as_bytes());
    let errors: Vec<bool> = table.records().map(|row| row.unwrap().iter().next_back().is_some_and(|error| !error.is_empty())).collect();
    assert_eq!(errors, [false, true, true, false]);
    let json: serde_json::Value = serde_json::from_str(&with_model(&["caption", &folder.join(""), "--format", "json"]).ends(5).out).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 4);
}

#[test]
fn strict_does_nothing_where_a_picture_is_broken() {
    let (folder, figures) = (mixed(), Folder::new());
    let run = with_model(&["classify", &folder.join(""), "--strict", "--explain", &figures.join("new")]).ends(3);
    assert_eq!(run.out, "");
    assert!(run.err.contains("b.jpg") && run.err.contains("c.jpg"), "{}", run.err);
    assert_eq!(figures.names(), [""; 0]);
    assert_eq!(with_model(&["classify", &folder.join("a.png"), &folder.join("d.png"), "--strict"]).ends(0).jsonl().len(), 2);
}

#[test]
fn nothing_to_look_at_is_bad_input() {
    let empty = Folder::new();
    assert!(with_model(&["classify", &empty.join("")]).ends(3).err.contains("no pictures"));
    with_input(&["caption", "-"], b"\n").ends(3);
    // One of several is passed over like a broken picture, and so is a path that leads nowhere.
    let run = with_model(&["caption", &empty.join(""), &picture("rgb_tiny.png"), &empty.join("nowhere.png")]).ends(5);
    assert_eq!(run.jsonl().iter().filter(|line| line["error"].is_string()).count(), 2);
}

#[test]
fn wrong_usage() {
    let one = picture("rgb_tiny.png");
    run::<&str>(&[]).ends(2);
    run(&["sing"]).ends(2);
    let wrong: [&[&str]; 8] = [
        &["--bogus"],
        &["--batch", "0"],
        &["--top", "0"],
        &["--format", "xml"],
        &["--dtype", "i32"],
        &["-q", "-v"],
        &["--min-len", "9", "--max-len", "8"],
        &["--max-len", "3", "--prompt", "two dogs smile"],
    ];
    for arguments in wrong {
        let run = with_model(&[&["classify", &one], arguments].concat()).ends(2);
        assert!(run.out.is_empty() && run.err.starts_with("error: "), "{run:?}");
    }
    for arguments in [["--temperature", "0"], ["--top-p", "1.5"], ["--top-p", "nan"]] {
        with_model(&[&["caption", &one], &arguments[..]].concat()).ends(2);
    }
    assert!(with_model(&["caption", &one, "--beam", "2", "--seed", "1"]).ends(2).err.contains("--beam 2"));
}

#[test]
fn bad_models() {
    let (one, folder) = (picture("rgb_tiny.png"), Folder::new());
    let classify = |model: &str| run(&["classify", &one, "--model", model]).ends(3).err;
    assert!(classify(&folder.join("nowhere")).contains("does not exist"));
    assert!(classify(&one).contains("is not a folder"));
    let missing = classify(&folder.join(""));
    assert!(missing.contains("config.json") && missing.contains("escnet convert"), "{missing}");
    for file in ["config.json", "model.safetensors", "vocab.txt"] {
        std::fs::copy(format!("{}/{file}", model()), folder.join(file)).unwrap();
    }
    with_model(&["inspect", &folder.join("")]).ends(2);
    run(&["caption", &one, "--model", &folder.join("")]).ends(0);
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    folder.write("model.safetensors", &weights[..weights.len() / 2]);
    assert!(classify(&folder.join("")).contains("model.safetensors"));
    folder.write("model.safetensors", &weights);
    folder.write("vocab.txt", b"\xff\n");
    assert!(classify(&folder.join("")).contains("vocab.txt"));
    folder.write("config.json", b"{}");
    assert!(classify(&folder.join("")).contains("config.json"));
}

#[test]
fn unknown_devices() {
    assert!(with_model(&["classify", &picture("rgb_tiny.png"), "--device", "abacus"]).ends(4).err.contains("abacus"));
}

#[test]
fn a_reader_who_has_read_enough_ends_it_quietly() {
    for (verb, format) in [("classify", "jsonl"), ("caption", "json"), ("classify", "table")] {
        let mut child = program()
            .args([verb, &picture("rgb_tiny.png"), &picture("gray.png"), "--model", &model(), "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_is_done() {
    let mut child = program()
        .args(["classify", "-", "--model", &model(), "--device", "reference", "--format", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", picture("rgb_portrait.png")).repeat(5000).as_bytes()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.lines().count() < 4999);
    for line in std::iter::once(first.as_str()).chain(rest.lines()) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}
