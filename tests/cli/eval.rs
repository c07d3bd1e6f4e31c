//! `eval`

use crate::program::{Folder, golden, model, picture, run, text, with_model};
use escnet::Image;
use escnet::weights::fingerprint::fingerprint;
use serde_json::Value;
use std::collections::HashSet;

/// Pictures of three of the model's classes.
const PICTURES: [(&str, &str); 6] = [
    ("test/sadness/a.png", "rgb_tiny.png"),
    ("test/sadness/b.jpg", "photo_exif6.jpg"),
    ("test/fear/c.png", "gray.png"),
    ("test/fear/d.jpg", "gray.jpg"),
    ("test/awe/e.png", "rgb_landscape.png"),
    ("test/awe/f.webp", "lossless.webp"),
];

fn set() -> Folder {
    Folder::of(&PICTURES)
}

/// Runs `eval` over a folder and reads the report.
#[track_caller]
fn judged(folder: &Folder, more: &[&str], code: i32) -> Value {
    let root = folder.join("");
    serde_json::from_str(&with_model(&[&["eval", &root], more].concat()).ends(code).out).unwrap()
}

fn close(value: &Value, wanted: f64) {
    assert!((value.as_f64().unwrap() - wanted).abs() < 1e-5, "{value} instead of {wanted}");
}

/// What `classify` says of each picture alone: whether it is right, p(truth), the winner's probability.
fn one_by_one() -> Vec<(bool, f64, f64)> {
    let of = |(name, from): &(&str, &str)| {
        let said = &with_model(&["classify", &picture(from)]).ends(0).jsonl()[0];
        let truth = name.split('/').nth(1).unwrap();
        let p = |i: usize| (said["predictions"][i]["class"].as_str().unwrap().to_owned(), said["predictions"][i]["probability"].as_f64().unwrap());
        let of_truth = (0..8).map(p).find(|(class, _)| class == truth).unwrap().1;
        (p(0).0 == truth, of_truth, p(0).1)
    };
    PICTURES.iter().map(of).collect()
}

#[test]
fn a_report_says_what_classify_says_one_by_one() {
    let alone = one_by_one();
    let right = alone.iter().filter(|(right, ..)| *right).count();
    assert!(right > 0 && right < PICTURES.len(), "the set tells nothing: {alone:?}");
    let report = judged(&set(), &[], 0);
    close(&report["accuracy"], right as f64 / PICTURES.len() as f64);
    close(&report["nll"], alone.iter().map(|(_, p, _)| -p.ln()).sum::<f64>() / alone.len() as f64);
    let in_bin = |bin: usize| alone.iter().filter(move |(_, _, sure)| (sure * 15.0) as usize == bin);
    let apart = |bin| in_bin(bin).map(|(right, _, sure)| f64::from(u8::from(*right)) - sure).sum::<f64>().abs();
    close(&report["ece"], (0..15).map(apart).sum::<f64>() / alone.len() as f64);
    assert_eq!((&report["pictures"], &report["broken"], &report["split"]), (&6.into(), &0.into(), &"test".into()));
    assert_eq!(report["captions"], Value::Null, "there is nothing to compare them with");
    let classes = report["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 8);
    assert_eq!((&classes[7]["class"], &classes[7]["support"]), (&"sadness".into(), &2.into()), "in the model's order");
    assert_eq!((&classes[0]["recall"], &classes[0]["support"]), (&Value::Null, &0.into()));
    let trace: u64 = (0..8).map(|i| report["confusion"]["counts"][i][i].as_u64().unwrap()).sum();
    assert_eq!(trace, right as u64);
    for more in [&["--batch", "4", "--threads", "2"][..], &["--split", "testing"]] {
        assert_eq!(judged(&set(), more, 0)["confusion"], report["confusion"], "{more:?}");
    }
}

#[test]
fn broken_pictures_are_wrong_unless_they_are_left_out() {
    let folder = set();
    folder.write("test/awe/zz.jpg", b"no picture");
    let out = Folder::new();
    let right = one_by_one().iter().filter(|(right, ..)| *right).count() as f64;
    let run = with_model(&["eval", &folder.join(""), "-o", &out.join("report")]).ends(5);
    assert!(run.err.contains("zz.jpg"), "{}", run.err);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&report["pictures"], &report["broken"], &report["broken_skipped"]), (&7.into(), &1.into(), &false.into()));
    close(&report["accuracy"], right / 7.0);
    assert_eq!(report["classes"][1]["support"], 3);
    let skipped = judged(&folder, &["--skip-broken"], 5);
    assert_eq!((&skipped["pictures"], &skipped["broken"], &skipped["broken_skipped"]), (&6.into(), &1.into(), &true.into()));
    close(&skipped["accuracy"], right / 6.0);

    assert_eq!(Folder::names(&out), ["report"]);
    let of = |name: &str| std::fs::read(out.join("report") + "/" + name).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&of("report.json")).unwrap(), report);
    let csv = of("confusion.csv");
    let mut table = csv::Reader::from_reader(csv.as_slice());
    assert_eq!(table.headers().unwrap().iter().next_back(), Some("broken"));
    for (i, row) in table.records().enumerate() {
        let row = row.unwrap();
        assert_eq!(&row[0], report["classes"][i]["class"].as_str().unwrap());
        let all: u64 = row.iter().skip(1).map(|count| count.parse::<u64>().unwrap()).sum();
        assert_eq!(all, report["classes"][i]["support"], "{row:?}");
        assert_eq!(&row[9], if i == 1 { "1" } else { "0" });
    }
    let figure = Image::open(out.join("report/confusion.png")).unwrap();
    let colours: HashSet<&[u8]> = figure.rgb().chunks_exact(3).collect();
    assert!(figure.width() > 700 && figure.height() > 400 && colours.len() > 50, "{figure:?}, {} colours", colours.len());
}

/// A set in EmoSet's layout whose attributes are what the model says, and one that it does not.
#[test]
fn captions_are_compared_with_what_attributes_say() {
    let folder = Folder::of(&[("image/sadness/a.jpg", "photo_exif6.jpg"), ("image/fear/b.jpg", "gray.jpg")]);
    let caption = |from: &str| with_model(&["caption", &picture(from)]).ends(0).jsonl()[0]["caption"].as_str().unwrap().to_owned();
    let said = ["photo_exif6.jpg", "gray.jpg"].map(caption);
    let word = |text: &str| text.split_whitespace().max_by_key(|word| word.len()).unwrap().to_owned();
    let annotation = |object: &str, emotion: &str, id: &str| {
        let whole = serde_json::json!({ "image_id": id, "emotion": emotion, "brightness": 0.9, "object": [object, "Zebra"] });
        folder.write(&format!("annotation/{emotion}/{id}.json"), whole.to_string().as_bytes());
    };
    annotation(&word(&said[0]), "sadness", "a");
    annotation(&word(&said[1]), "fear", "b");
    let rows = r#"[["sadness", "image/sadness/a.jpg", "annotation/sadness/a.json"], ["fear", "image/fear/b.jpg", "annotation/fear/b.json"]]"#;
    for (file, rows) in [("train.json", "[]"), ("val.json", "[]"), ("test.json", rows)] {
        folder.write(file, rows.as_bytes());
    }
    folder.write("info.json", b"{}");
    let captions = &judged(&folder, &[], 0)["captions"];
    assert_eq!(captions["pictures"], 2);
    close(&captions["attribute_recall"]["object"], 0.5);
    assert_eq!(captions["attribute_recall"]["scene"], Value::Null);
    assert!(captions["attribute_recall"]["all"].as_f64().unwrap() >= 1.0 / 3.0 - 1e-9);
    // The references end in the emotion's name, which these captions lack.
    close(&captions["affect_word_recall"], 0.0);
    let table = with_model(&["eval", &folder.join(""), "--format", "table"]).ok();
    for wanted in ["sadness", "recall", "BLEU-4", "CIDEr", "object", "50.0%"] {
        assert!(table.contains(wanted), "{table}");
    }
}

#[test]
fn captions_of_the_set_itself_are_references() {
    let folder = Folder::of(&[("a.jpg", "photo_exif6.jpg"), ("b.jpg", "gray.jpg")]);
    let caption = |from: &str| with_model(&["caption", &picture(from)]).ends(0).jsonl()[0]["caption"].as_str().unwrap().to_owned();
    let (a, b) = (caption("photo_exif6.jpg"), caption("gray.jpg"));
    folder.write("set.csv", format!("image,label,caption,split\na.jpg,sadness,\"{a}\",test\nb.jpg,fear,\"{b}\",test\n").as_bytes());
    let plain = run(&["eval", &folder.join("set.csv"), "--model", &model()]).ends(0).out;
    let report: Value = serde_json::from_str(&plain).unwrap();
    let words = |text: &str| text.split_whitespace().count();
    assert!(report["captions"]["bleu4"].as_f64().unwrap() > 0.5 || words(&a).max(words(&b)) < 6, "{report} {a} / {b}");
    assert_eq!(report["captions"]["pictures"], 2);
}

/// Captions of before give the same report, if they are this model's captioner's.
#[test]
fn captions_from_a_file() {
    let folder = set();
    let own = fingerprint(&golden("trained"), "captioner.").unwrap();
    let rows = |model: &str| -> Vec<Value> {
        let row = |(name, from): &(&str, &str)| {
            let said = &with_model(&["caption", &picture(from)]).ends(0).jsonl()[0];
            serde_json::json!({ "id": name, "caption": said["caption"], "score": said["score"], "ids": said["ids"], "model": model })
        };
        PICTURES.iter().map(row).collect()
    };
    let write = |rows: &[Value]| folder.write("captions.jsonl", rows.iter().map(|row| format!("{row}\n")).collect::<String>().as_bytes());
    let (root, file) = (folder.join(""), folder.join("captions.jsonl"));
    let run_of = || with_model(&["eval", &root, "--captions", &file]);
    let mut good = rows(&own);
    // Of a picture of another split, by another captioner.
    good.push(serde_json::json!({ "id": "train/awe/x.png", "caption": "", "model": "0123" }));
    write(&good);
    let plain: Value = serde_json::from_str(&with_model(&["eval", &root]).ok()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&run_of().ok()).unwrap(), plain);
    write(&good[1..]);
    assert!(run_of().ends(2).err.contains("test/sadness/a.png"));
    write(&rows("0123"));
    assert!(run_of().ends(3).err.contains("0123"));
    // They are read, and not made again.
    good.iter_mut().for_each(|row| row["ids"] = serde_json::json!([2, 40, 41, 42, 43, 44, 45, 46, 3]));
    write(&good);
    assert_ne!(serde_json::from_str::<Value>(&run_of().ok()).unwrap()["nll"], plain["nll"]);
}

#[test]
fn what_cannot_be_judged_is_told() {
    let folder = Folder::of(&[("test/sadness/a.png", "rgb_tiny.png"), ("test/boredom/b.png", "gray.png")]);
    let root = folder.join("");
    let run_of = |more: &[&str]| with_model(&[&["eval", &root], more].concat());
    assert!(run_of(&[]).ends(2).err.contains("`boredom`"));
    assert!(run_of(&["--split", "val"]).ends(3).err.contains("the val split is empty"));
    run_of(&["--split", "most"]).ends(2);
    assert!(with_model(&["eval", &folder.join("nowhere")]).ends(3).err.contains("nowhere"));
    run(&["eval", &root, "--model", &text(&golden("nowhere"))]).ends(3);
}
