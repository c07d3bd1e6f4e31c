//! The file of captions: torn at any byte it is gone on with, broken in any other way it is refused by line.

use crate::folder::Folder;
use escnet::Error;
use escnet::data::captions_file::{self, Row};
use escnet::data::dataset::Split;

fn row(id: &str) -> Row {
    Row {
        id: id.to_owned(),
        image: id.to_owned(),
        split: Some(Split::Train),
        caption: "\"ah\"\n—".to_owned(),
        score: -0.123,
        ids: vec![95, 7, 3],
        model: "f0".to_owned(),
        search: "beam 3".to_owned(),
        seen: id == "a",
    }
}

#[test]
fn torn_at_any_byte_it_is_gone_on_with() {
    let (folder, rows) = (Folder::new(), ["a", "ç"].map(row));
    let path = folder.join("captions.jsonl");
    captions_file::append(&path).unwrap().0.append(&rows).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(captions_file::read(&path).unwrap().rows(), rows);
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let before = captions_file::read(&path).unwrap();
        let (mut file, captions) = captions_file::append(&path).unwrap();
        let ends = whole[..length].iter().filter(|&&b| b == b'\n').count();
        assert!(captions == before && captions.rows() == &rows[..ends], "{length}");
        file.append(&rows[ends..]).unwrap();
        assert!(std::fs::read(&path).unwrap() == whole, "{length}");
    }
}

#[test]
fn rows_are_found_by_id() {
    let folder = Folder::new();
    let path = folder.join("captions.jsonl");
    captions_file::append(&path).unwrap().0.append(&["a", "b"].map(row)).unwrap();
    let captions = captions_file::read(&path).unwrap();
    assert_eq!(captions.get("b"), Some(&row("b")));
    assert_eq!(captions.get("c"), None);
    assert_eq!(captions.path(), path);
    // What was written by hand need not have more than what it is for.
    folder.write("captions.jsonl", "{\"id\": \"x\", \"caption\": \"a cat\"}\n");
    let told = captions_file::read(&path).unwrap();
    assert!(told.get("x").is_some_and(|row| row.caption == "a cat" && row.model.is_empty() && !row.seen && row.split.is_none()));
}

#[test]
fn what_is_no_row_is_named_by_its_line() {
    let folder = Folder::new();
    let good = "{\"id\": \"x\", \"caption\": \"a cat\"}\n";
    let path = folder.join("captions.jsonl");
    for (second, field) in [
        ("{\"id\": \"y\"}\n", "line 2"),
        ("\n", "line 2"),
        ("{\"id\": \"y\", \"caption\": \"\", \"split\": \"dev\"}\n", "line 2"),
        ("\u{fffd}\n", "line 2"),
        (good, "line 2: id"),
    ] {
        folder.write("captions.jsonl", format!("{good}{second}{{"));
        for result in [captions_file::read(&path), captions_file::append(&path).map(|(_, captions)| captions)] {
            match result {
                Err(Error::Config { path: p, field: f, .. }) => assert!(p == path && f == field, "{f}"),
                other => panic!("{second:?}: {other:?}"),
            }
        }
        assert_eq!(std::fs::read(&path).unwrap().ends_with(b"{"), field == "line 2", "what cannot be read is left as it is");
    }
    assert!(matches!(captions_file::read(folder.join("none")), Err(Error::Io { .. })));
}
