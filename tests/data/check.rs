//! What a check of a data set finds, and that it finds nothing where nothing is.

use crate::folder::Folder;
use escnet::data::dataset::check::{MANY, Member, Report, check};
use escnet::data::dataset::{Listing, OpenOptions, Split};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Checks a CSV of these rows: id, picture, label, split.
fn report(folder: &Folder, rows: &[&str]) -> Report {
    folder.write("list.csv", format!("id,image,label,split\n{}\n", rows.join("\n")));
    let listing = Listing::read(folder.join("list.csv"), &OpenOptions::default()).unwrap();
    let seen = AtomicUsize::new(0);
    let count = || {
        seen.fetch_add(1, Ordering::Relaxed);
    };
    let report = check(&listing, &count);
    assert_eq!(seen.into_inner(), listing.entries.len());
    report
}

fn ids(members: &[Member]) -> Vec<&str> {
    members.iter().map(|m| m.id.as_str()).collect()
}

fn gradient(steps: u32, tint: u8) -> image::RgbImage {
    image::RgbImage::from_fn(64, 64, |x, y| {
        image::Rgb([(x * steps % 200) as u8 + tint, (y * 3 % 200) as u8 + tint, ((x + y) * steps % 200) as u8 + tint])
    })
}

#[test]
fn a_clean_set_has_no_findings() {
    let folder = Folder::new();
    folder.picture("1.png", 1).picture("2.png", 2).picture("3.png", 3);
    let report = report(&folder, &["a,1.png,x,train", "b,2.png,y,train", "c,3.png,x,test"]);
    assert_eq!(report.findings(), 0, "{report:?}");
    assert!(report.near_duplicates.is_empty());
    let counts: Vec<_> = report.classes.iter().map(|c| (c.name.as_str(), c.train, c.val, c.test)).collect();
    assert_eq!(counts, [("x", 1, 0, 1), ("y", 1, 0, 0)]);
    assert_eq!((report.samples, report.layout, report.attributes["caption"]), (3, "csv", 0));
}

#[test]
fn broken_and_missing_pictures_are_named() {
    let folder = Folder::new();
    folder.picture("1.png", 1).write("2.png", "no picture").write("sub/x", "");
    let report = report(&folder, &["a,1.png,x,train", "b,2.png,x,train", "c,3.png,x,train", "d,sub,x,train", "e,../1.png,x,train"]);
    assert_eq!(ids(&report.missing), ["c"]);
    let reasons: Vec<(&str, bool)> = report.unreadable.iter().map(|u| (u.member.id.as_str(), u.reason.is_empty())).collect();
    assert_eq!(reasons, [("b", false), ("d", false)]);
    assert_eq!(report.malformed.len(), 1);
    assert_eq!(report.findings(), 4);
}

#[test]
fn the_same_is_told_from_the_alike() {
    let folder = Folder::new();
    folder
        .drawn("a.png", &gradient(5, 0))
        .drawn("same.png", &gradient(5, 0))
        .drawn("alike.png", &gradient(5, 9))
        .drawn("other.png", &gradient(11, 0));
    let report = report(&folder, &["a,a.png,x,train", "b,same.png,y,train", "c,alike.png,x,test", "d,other.png,x,train"]);
    assert_eq!(report.duplicates.iter().map(|group| ids(group)).collect::<Vec<_>>(), [["a", "b"]]);
    assert_eq!(report.near_duplicates.iter().map(|group| ids(group)).collect::<Vec<_>>(), [["a", "b", "c"]]);
    assert_eq!(report.findings(), 1, "to be alike is no finding, and no leak");
    assert_eq!(report.duplicates[0][1], Member { id: "b".into(), image: "same.png".into(), class: "y".into(), split: Some(Split::Train) });
}

#[test]
fn leaks_are_pictures_and_ids_in_two_splits() {
    let folder = Folder::new();
    folder.picture("1.png", 1).picture("2.png", 2).picture("3.png", 3).picture("copy.png", 1);
    let report = report(&folder, &["a,1.png,x,train", "b,copy.png,x,test", "c,2.png,x,train", "c,3.png,x,val", "d,3.png,x,val", "d,3.png,x,val"]);
    let leaks: Vec<_> = report.leaks.iter().map(|leak| (leak.shared, ids(&leak.members))).collect();
    assert_eq!(leaks, [("picture", vec!["a", "b"]), ("id", vec!["c", "c"])]);
    assert_eq!(report.repeated_ids.len(), 2);
    assert_eq!(report.duplicates.iter().map(|group| ids(group)).collect::<Vec<_>>(), [vec!["a", "b"], vec!["c", "d", "d"]]);
}

#[test]
fn placeholders_are_flat_or_everywhere() {
    let folder = Folder::new();
    let nearly = image::RgbImage::from_fn(16, 16, |x, _| image::Rgb([200 + (x % 8) as u8, 10, 90]));
    let faint = image::RgbImage::from_fn(16, 16, |x, _| image::Rgb([200 + (x % 16) as u8, 10, 90]));
    folder.drawn("flat.png", &nearly).drawn("faint.png", &faint);
    let mut rows = vec!["f,flat.png,x,train".to_owned(), "g,faint.png,x,train".to_owned()];
    for i in 0..MANY {
        folder.picture(&format!("{i}.png"), 1).picture(&format!("few{i}.png"), 2);
        rows.push(format!("m{i},{i}.png,x,train"));
        if i + 1 < MANY {
            rows.push(format!("n{i},few{i}.png,x,train"));
        }
    }
    let report = report(&folder, &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let found: Vec<_> = report.placeholders.iter().map(|p| (p.why, p.members.len())).collect();
    assert_eq!(found, [("one colour", 1), ("one file many times", MANY)]);
    assert_eq!(report.duplicates.iter().map(Vec::len).collect::<Vec<_>>(), [MANY - 1]);
}

#[test]
fn attributes_are_counted() {
    let folder = Folder::new();
    folder.picture("image/1.png", 1).picture("image/2.png", 2);
    folder.write("train.json", r#"[["awe","a","image/1.png","1.json"],["awe","b","image/2.png",null]]"#);
    folder.write("1.json", r#"{"scene": "beach", "object": ["Dog"], "brightness": 0.5}"#);
    let report = check(&Listing::read(folder.path(), &OpenOptions::default()).unwrap(), &|| {});
    let labelled: Vec<_> = report.attributes.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (*name, *count)).collect();
    assert_eq!(labelled, [("brightness", 1), ("object", 1), ("scene", 1)]);
    assert_eq!(report.findings(), 0);
}
