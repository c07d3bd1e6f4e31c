//! `escnet caption --dataset`: a file of captions that is the same whether it was made in one go or in several.

use crate::program::{Folder, Run, model, program, run};
use escnet::data::captions_file::{self, Row};
use escnet::data::dataset::Split;
use escnet::weights::fingerprint::fingerprint;
use std::path::Path;

/// A picture with a pattern of its own, as a PNG.
fn picture(number: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| image::Rgb([(x * (number % 5 + 2) * 5) as u8, (y * (number % 3 + 1) * 7) as u8, (number * 40) as u8]);
    let mut bytes = Vec::new();
    image::RgbImage::from_fn(40, 36, pixel).write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes
}

/// A folder for each class, split as published: five pictures to learn from, one of them in colour beside the rest, one and two others.
fn set() -> Folder {
    let folder = Folder::new();
    let places = ["train/joy/a", "train/joy/b", "train/joy/c", "train/sad/a", "train/sad/b", "val/sad/x", "test/joy/y", "test/sad/z"];
    for (number, place) in places.iter().enumerate() {
        folder.write(&format!("set/{place}.png"), &picture(number as u32));
    }
    folder
}

fn caption(folder: &Folder, arguments: &[&str]) -> Run {
    let (set, output) = (folder.join("set"), folder.join("captions.jsonl"));
    run(&[&["caption", "--dataset", &set, "-o", &output, "--batch", "2"], arguments].concat())
}

fn with_model(folder: &Folder, arguments: &[&str]) -> Run {
    caption(folder, &[&["--model", &model()], arguments].concat())
}

fn bytes(folder: &Folder) -> Vec<u8> {
    std::fs::read(folder.join("captions.jsonl")).unwrap()
}

fn rows(folder: &Folder) -> Vec<Row> {
    captions_file::read(folder.join("captions.jsonl")).unwrap().rows().to_vec()
}

#[test]
fn every_picture_has_a_row_in_the_order_of_the_set() {
    let folder = set();
    let told = with_model(&folder, &[]).ends(0);
    assert_eq!(told.out, "", "standard output is left alone");
    let rows = rows(&folder);
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert!(ids.len() == 8 && ids[0].contains("train/joy/a") && ids[4].contains("train/sad/b") && ids[7].contains("test/sad/z"), "{ids:?}");
    let splits: Vec<Split> = rows.iter().filter_map(|row| row.split).collect();
    assert_eq!(splits, [[Split::Train; 5].as_slice(), &[Split::Val, Split::Test, Split::Test]].concat());
    assert!(rows.iter().all(|row| row.model == fingerprint(Path::new(&model()), "captioner.").unwrap() && !row.seen));
    for row in &rows {
        let alone = run(&["caption", &folder.join(&format!("set/{}", row.image)), "--model", &model()]).ends(0).jsonl();
        assert_eq!((alone[0]["caption"].as_str(), alone[0]["ids"].as_array().map(Vec::len)), (Some(row.caption.as_str()), Some(row.ids.len())));
    }
}

#[test]
fn it_goes_on_after_any_end() {
    let folder = set();
    with_model(&folder, &[]).ends(0);
    let whole = bytes(&folder);
    let ends: Vec<usize> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
    // Nothing, within the first row, before and after an end, within a batch, within the last row.
    for length in [0, 1, ends[0], ends[0] + 1, ends[2] + 40, ends[4] + 1, ends[7] - 1, ends[7]] {
        std::fs::write(folder.join("captions.jsonl"), &whole[..length]).unwrap();
        let told = with_model(&folder, &[]).ends(0);
        assert!(bytes(&folder) == whole, "cut to {length}: {}", told.err);
    }
    // Split by split, in another order, the rows are the same.
    std::fs::remove_file(folder.join("captions.jsonl")).unwrap();
    for split in ["test", "train", "val"] {
        with_model(&folder, &["--split", split]).ends(0);
    }
    let mut lines: Vec<Vec<u8>> = bytes(&folder).split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
    assert!(lines[0].windows(4).any(|w| w == b"test"));
    lines.rotate_left(2);
    assert_eq!(lines.len(), 8);
    // Nothing is left to do: the model is not even loaded.
    assert!(with_model(&folder, &["-v"]).ends(0).err.contains("8 of 8"));
}

#[test]
fn broken_pictures_have_no_row_until_they_are_whole() {
    let folder = set();
    with_model(&folder, &[]).ends(0);
    let want = rows(&folder);
    folder.write("set/train/joy/c.png", b"no picture");
    let told = with_model(&folder, &["--overwrite"]).ends(5);
    assert!(told.err.contains("c.png") && told.err.contains("1 of 8"), "{}", told.err);
    assert_eq!(rows(&folder).len(), 7);
    folder.write("set/train/joy/c.png", &picture(2));
    with_model(&folder, &[]).ends(0);
    let got = rows(&folder);
    assert_eq!(got.len(), 8);
    assert_eq!(got[7], want[2]);
}

#[test]
fn captions_made_otherwise_are_refused() {
    let folder = set();
    with_model(&folder, &["--split", "val"]).ends(0);
    let before = bytes(&folder);
    let other = with_model(&folder, &["--beam", "1"]).ends(3).err;
    assert!(other.contains("line 1: search") && other.contains("--overwrite"), "{other}");
    let strange = String::from_utf8(before.clone()).unwrap().replace(&rows(&folder)[0].model, "0123456789abcdef");
    folder.write("captions.jsonl", strange.as_bytes());
    let other = with_model(&folder, &[]).ends(3).err;
    assert!(other.contains("line 1: model") && other.contains("0123456789abcdef"), "{other}");
    assert_eq!(bytes(&folder), strange.as_bytes());
    with_model(&folder, &["--split", "val", "--overwrite"]).ends(0);
    assert_eq!(bytes(&folder), before);
    folder.write("captions.jsonl", b"{}\n");
    assert!(with_model(&folder, &[]).ends(3).err.contains("line 1"));
}

/// A model folder like the golden one, but for what the captioner says, that learnt from these pictures.
fn fold(folder: &Folder, place: &str, changed: Option<&str>, trained_on: &[&str]) -> String {
    let mut weights = std::fs::read(format!("{}/model.safetensors", model())).unwrap();
    if let Some(name) = changed {
        let file = safetensors::SafeTensors::deserialize(&weights).unwrap();
        let values = file.tensor(name).unwrap().data();
        let (start, length) = (values.as_ptr() as usize - weights.as_ptr() as usize, values.len());
        // Signs are turned over.
        weights[start..start + length].iter_mut().skip(3).step_by(4).for_each(|b| *b ^= 0x80);
    }
    folder.write(&format!("{place}/model.safetensors"), &weights);
    for name in ["config.json", "vocab.txt"] {
        folder.write(&format!("{place}/{name}"), &std::fs::read(format!("{}/{name}", model())).unwrap());
    }
    let print = fingerprint(Path::new(&folder.join(place)), "captioner.").unwrap();
    let training = serde_json::json!({"stage": "captioner", "trained_on": trained_on, "fingerprint": print});
    folder.write(&format!("{place}/training.json"), training.to_string().as_bytes());
    print
}

#[test]
fn each_picture_is_captioned_by_a_fold_that_did_not_learn_from_it() {
    let folder = set();
    with_model(&folder, &[]).ends(0);
    let ids: Vec<String> = rows(&folder).into_iter().map(|row| row.id).collect();
    let train: Vec<&str> = ids[..5].iter().map(String::as_str).collect();
    let full = fold(&folder, "run/model", None, &train);
    let other = [Some("captioner.text_decoder.cls.predictions.bias"), Some("captioner.vision_model.post_layernorm.bias")];
    let fold0 = fold(&folder, "run/fold0/model", other[0], &[train[0], train[3]]);
    let run = folder.join("run");
    let go = |arguments: &[&str]| caption(&folder, &[&["--run", &run], arguments].concat());
    // One fold saw two of them, and the other is not there.
    let leak = go(&["--overwrite"]).ends(3).err;
    assert!(leak.contains("2 of them") && leak.contains(train[0]), "{leak}");
    let fold1 = fold(&folder, "run/fold1/model", other[1], &[train[1], train[2], train[4]]);
    assert!(full != fold0 && fold0 != fold1);
    go(&["--overwrite"]).ends(0);
    let got = rows(&folder);
    assert_eq!(got.iter().map(|row| &row.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    let by: Vec<&str> = got.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(by, [&*fold1, &fold0, &fold0, &fold1, &fold0, &full, &full, &full]);
    assert!(got.iter().all(|row| !row.seen));
    // The words are those of that fold, too.
    for row in &got {
        let place = if row.model == full {
            "run/model"
        } else if row.model == fold0 {
            "run/fold0/model"
        } else {
            "run/fold1/model"
        };
        let alone = self::run(&["caption", &folder.join(&format!("set/{}", row.image)), "--model", &folder.join(place)]).ends(0).jsonl();
        assert!((alone[0]["score"].as_f64().unwrap() - f64::from(row.score)).abs() < 1e-4, "{row:?}");
    }
    let whole = bytes(&folder);
    for length in [0, whole.len() / 3, whole.len() / 2, whole.len() - 2] {
        std::fs::write(folder.join("captions.jsonl"), &whole[..length]).unwrap();
        go(&[]).ends(0);
        assert!(bytes(&folder) == whole, "cut to {length}");
    }

    // Without folds the captioner that saw them all does it, and it is said.
    std::fs::remove_dir_all(folder.join("run/fold0")).unwrap();
    std::fs::remove_dir_all(folder.join("run/fold1")).unwrap();
    assert!(go(&[]).ends(3).err.contains("line 1: model"));
    go(&["--overwrite"]).ends(0);
    assert_eq!(rows(&folder).iter().map(|row| row.seen).collect::<Vec<_>>(), [true, true, true, true, true, false, false, false]);
    // A note of another training says nothing of these weights.
    folder.write("run/model/training.json", b"{\"stage\": \"captioner\", \"trained_on\": [], \"fingerprint\": \"0\"}");
    assert!(go(&[]).ends(3).err.contains("fingerprint"));
}

#[test]
fn options_that_do_not_go_together() {
    let folder = set();
    let one = folder.join("set/val/sad/x.png");
    for arguments in [
        &["--dataset", "set"][..],
        &["-o", "captions.jsonl", &one],
        &["--dataset", "set", "-o", "captions.jsonl", &one],
        &["--dataset", "set", "-o", "captions.jsonl", "--seed", "1"],
        &["--dataset", "set", "-o", "captions.jsonl", "--format", "csv"],
        &["--dataset", "set", "-o", "captions.jsonl", "--run", "run"],
        &["--overwrite", &one],
    ] {
        run(&[&["caption", "--model", &model()], arguments].concat()).ends(2);
    }
    run(&["caption", "--dataset", "set", "-o", "captions.jsonl"]).ends(2);
    assert!(caption(&folder, &["--run", &folder.join("nowhere")]).ends(3).err.contains("does not exist"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_rows_and_the_next_run_goes_on() {
    let folder = Folder::new();
    for number in 0..40 {
        folder.write(&format!("set/train/joy/{number:02}.png"), &picture(number));
    }
    let output = folder.join("captions.jsonl");
    let mut slow = program();
    slow.args(["caption", "--dataset", &folder.join("set"), "-o", &output, "--batch", "2", "--model", &model(), "--device", "reference"]);
    let mut child = slow.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while std::fs::metadata(&output).map_or(0, |m| m.len()) == 0 {
        assert!(begun.elapsed().as_secs() < 60, "no row in a minute");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let kept = bytes(&folder);
    assert!(kept.ends_with(b"\n") && (2..40).contains(&rows(&folder).len()));
    with_model(&folder, &[]).ends(0);
    assert!(bytes(&folder).starts_with(&kept) && rows(&folder).len() == 40);
}
