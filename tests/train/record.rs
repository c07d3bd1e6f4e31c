//! `metrics.jsonl`: rows, resuming, torn lines.

use crate::common::Folder;
use escnet::Result;
use escnet::data::jsonl;
use escnet::train::record::{Kind, MetricsLog, Row};
use std::path::Path;

fn read(path: &Path) -> Result<Vec<Row>> {
    jsonl::read(path)
}

fn row(step: u64) -> Row {
    Row { step, loss: Some(1.5), rate: vec![0.001], ..Row::default() }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn rows_come_back() {
    let folder = Folder::new();
    let path = folder.join("metrics.jsonl");
    let val = Row { kind: Kind::Val, step: 4, epoch: Some(1.5), accuracy: Some(0.5), ..Row::default() };
    let mut log = MetricsLog::open(&path).unwrap();
    log.append(&row(2)).unwrap();
    assert_eq!(read(&path).unwrap(), [row(2)], "at once");
    log.append(&val).unwrap();
    drop(log);
    MetricsLog::open(&path).unwrap().append(&Row { grad_norm: Some(f64::NAN), ..row(6) }).unwrap();
    assert_eq!(read(&path).unwrap(), [row(2), val, row(6)], "what is not finite is not there");
    assert!(text(&path).starts_with("{\"kind\":\"train\",\"step\":2,\"loss\":1.5,\"rate\":[0.001]}\n{\"kind\":\"val\""));
}

#[test]
fn what_is_not_known_is_passed_over_and_what_is_wrong_is_told() {
    let folder = Folder::new();
    let path = folder.join("metrics.jsonl");
    std::fs::write(&path, "{\"kind\":\"probe\",\"step\":3,\"heat\":[1]}\n{\"kind\":\"val\",\"step\":4}\n{\"kind\":\"val\",\"st").unwrap();
    let rows = read(&path).unwrap();
    assert_eq!(rows.iter().map(|row| (row.kind, row.step)).collect::<Vec<_>>(), [(Kind::Other, 3), (Kind::Val, 4)]);
    std::fs::write(&path, "{\"kind\":\"val\",\"step\":4}\n{\"kind\":\"val\"}\n").unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl") && error.contains("line 2") && error.contains("step"), "{error}");
    assert!(MetricsLog::open(&path).unwrap_err().to_string().contains("line 2"));
}

#[test]
fn resuming_drops_later_rows_and_the_torn_line() {
    let folder = Folder::new();
    let path = folder.join("metrics.jsonl");
    // A row of another version is kept as it is.
    let old = "{\"kind\":\"train\",  \"step\":1, \"new\": true}\n";
    std::fs::write(&path, old).unwrap();
    let mut log = MetricsLog::open(&path).unwrap();
    (2..=6).for_each(|step| log.append(&row(step)).unwrap());
    drop(log);
    let torn = text(&path) + "{\"kind\":\"train\",\"step\":3";
    std::fs::write(&path, torn).unwrap();
    let mut log = MetricsLog::open(&path).unwrap();
    log.truncate_after(4).unwrap();
    assert!(text(&path).starts_with(old));
    assert_eq!(read(&path).unwrap().iter().map(|row| row.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    log.append(&row(5)).unwrap();
    log.truncate_after(9).unwrap();
    log.append(&row(6)).unwrap();
    assert_eq!(read(&path).unwrap().iter().map(|row| row.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_torn_line_does_not_join_the_next() {
    let folder = Folder::new();
    let path = folder.join("metrics.jsonl");
    std::fs::write(&path, "{\"kind\":\"train\",\"step\":1}\n{\"kind\":\"tr").unwrap();
    MetricsLog::open(&path).unwrap().append(&row(2)).unwrap();
    assert_eq!(read(&path).unwrap().iter().map(|row| row.step).collect::<Vec<_>>(), [1, 2]);
}
