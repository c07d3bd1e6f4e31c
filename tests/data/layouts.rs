//! Each layout as it lies on disk: what is read, what is refused, and who lands in which split.

use crate::folder::Folder;
use escnet::Error;
use escnet::data::attributes::Attributes;
use escnet::data::dataset::split::Assignment;
use escnet::data::dataset::{Agreement, Dataset, Layout, Listing, OpenOptions, Sample, Split};
use escnet::data::emotions::{EIGHT, SIX};
use escnet::error::RecordProblem;
use std::path::Path;

fn open(folder: &Folder) -> Dataset {
    Dataset::open(folder.path(), &OpenOptions::default()).unwrap()
}

fn all(set: &Dataset) -> Vec<&Sample> {
    let mut all: Vec<&Sample> = set.splits.iter().flatten().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// Ids with the names of their classes, sorted.
fn labels(set: &Dataset) -> Vec<(&str, &str)> {
    all(set).into_iter().map(|s| (s.id.as_str(), set.classes[s.label].as_str())).collect()
}

#[track_caller]
fn problems(path: &Path, options: &OpenOptions) -> Vec<RecordProblem> {
    match Dataset::open(path, options) {
        Err(Error::Dataset { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

/// The records complained of.
#[track_caller]
fn refused(folder: &Folder) -> Vec<String> {
    problems(folder.path(), &OpenOptions::default()).into_iter().map(|p| p.record).collect()
}

#[test]
fn emoset_in_both_row_forms() {
    let folder = Folder::new();
    folder.write(
        "train.json",
        r#"[["amusement","amusement_1","image/amusement/1.jpg","annotation/amusement/1.json"], ["sadness","image/sadness/s_2.jpg","annotation/sadness/2.json"],
            ["anger","a3","image/anger/3.jpg",null], ["awe","image/awe/4.jpg",""], [7,"n5","image/5.jpg",""]]"#,
    );
    folder.write("test.json", r#"[["Fear","f1","image\\fear\\1.jpg",null]]"#);
    folder.write("info.json", r#"{"dataset": "EmoSet"}"#);
    let full = r#"{"image_id": "1", "brightness": 0.9, "colorfulness": "0.3", "scene": "beach", "object": ["Balloon", "Dog"],
                   "facial_expression": "happy", "human_action": "riding_a_bike", "emotion": "amusement"}"#;
    folder.write("annotation/amusement/1.json", full).write("annotation/sadness/2.json", r#"{"scene": null, "object": "Tree"}"#);

    let set = open(&folder);
    assert_eq!(set.classes, EIGHT);
    assert_eq!(set.splits.each_ref().map(Vec::len), [5, 0, 1]);
    let train = set.split(Split::Train);
    let ids: Vec<(&str, usize)> = train.iter().map(|s| (s.id.as_str(), s.label)).collect();
    assert_eq!(ids, [("amusement_1", 0), ("s_2", 7), ("a3", 4), ("4", 1), ("n5", 7)], "in the order of the rows");
    assert_eq!(train[0].image, folder.join("image/amusement/1.jpg"));
    let attributes = Attributes {
        brightness: Some(0.9),
        colorfulness: Some(0.3),
        scene: Some("beach".into()),
        object: vec!["Balloon".into(), "Dog".into()],
        facial_expression: Some("happy".into()),
        human_action: Some("riding_a_bike".into()),
    };
    assert_eq!(train[0].attributes, attributes);
    assert_eq!(train[1].attributes, Attributes { object: vec!["Tree".into()], ..Attributes::default() });
    assert_eq!(train[2].attributes, Attributes::default());
    assert_eq!(set.split(Split::Test)[0].image, folder.join("image/fear/1.jpg"));
    assert_eq!(set.relative(&train[0].image), "image/amusement/1.jpg");
}

#[test]
fn emoset_names_every_broken_row() {
    let folder = Folder::new();
    let rows = [
        r#"["amusement","ok","image/1.png",""]"#,
        r#"["joy","b","image/1.png",""]"#,
        r#"["awe"]"#,
        r#""awe""#,
        r#"["awe","c","../1.png",""]"#,
        r#"["awe","d","/etc/hostname",""]"#,
        r#"["awe","e","image/1.png","annotation/none.json"]"#,
        r#"["awe","f","image/1.png","annotation/bad.json"]"#,
        r#"["awe","g","image/1.png","annotation/range.json"]"#,
        r#"["awe","h","image/1.png","../secret.json"]"#,
        r#"[8,"i","image/1.png",""]"#,
        r#"["awe","","image/1.png",""]"#,
        r#"["awe","j","image/../../1.png",""]"#,
        r#"["awe","k","C:\\1.png",""]"#,
        r#"["awe","l","image/1.png","annotation/list.json"]"#,
    ];
    folder.write("train.json", format!("[{}]", rows.join(",")));
    folder
        .write("annotation/bad.json", "{")
        .write("annotation/range.json", r#"{"brightness": 7}"#)
        .write("annotation/list.json", r#"{"object": [1]}"#);
    let expected: Vec<String> = (2..=rows.len()).map(|row| format!("row {row}")).collect();
    assert_eq!(refused(&folder), expected);
    let problems = problems(folder.path(), &OpenOptions::default());
    assert!(problems.iter().all(|p| p.file == folder.join("train.json")));
    assert!(problems[0].got.contains("joy") && problems[0].expected.contains("contentment"));
    assert!(problems[5].got.contains("none.json"));
    assert!(problems[7].expected.contains("brightness"), "{}", problems[7]);
    // A listing keeps what is sound.
    assert_eq!(Listing::read(folder.path(), &OpenOptions::default()).unwrap().entries.len(), 1);
    folder.write("train.json", "{}");
    assert_eq!(refused(&folder), ["(file)"]);
}

#[test]
fn repeated_ids_are_refused_and_long_lists_cut() {
    let folder = Folder::new();
    let rows: Vec<String> = (0..60).map(|i| format!(r#"["awe","{}","image/{i}.png",""]"#, i % 30)).collect();
    folder.write("train.json", format!("[{}]", rows.join(",")));
    let error = Dataset::open(folder.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(error.contains("30 problem(s)") && error.contains("`0`") && error.contains("image/30.png") && error.contains("and 10 more"), "{error}");
    assert_eq!(error.lines().count(), 22);
}

#[test]
fn fi_by_any_of_its_names() {
    let folder = Folder::new();
    for (i, name) in ["amuse", "anger", "Awe", "content", "disgust", "excit", "FEAR", "sad"].into_iter().enumerate() {
        folder.picture(&format!("{name}/x.png"), i as u32).write(&format!("{name}/notes.txt"), "").write(&format!("{name}/.hidden.png"), "");
    }
    assert_eq!(Layout::detect(folder.path()).unwrap(), Layout::Fi);
    let set = open(&folder);
    assert_eq!(set.classes, EIGHT);
    let expected = [
        ("Awe/x.png", "awe"),
        ("FEAR/x.png", "fear"),
        ("amuse/x.png", "amusement"),
        ("anger/x.png", "anger"),
        ("content/x.png", "contentment"),
        ("disgust/x.png", "disgust"),
        ("excit/x.png", "excitement"),
        ("sad/x.png", "sadness"),
    ];
    assert_eq!(labels(&set), expected);
    folder.picture("boredom/x.png", 9);
    assert_eq!(Layout::detect(folder.path()).unwrap(), Layout::Folders);
    let fi = OpenOptions { layout: Some(Layout::Fi), ..OpenOptions::default() };
    assert!(problems(folder.path(), &fi)[0].got.contains("boredom"));
}

#[test]
fn folders_with_and_without_splits() {
    let folder = Folder::new();
    folder.picture("cats/b.JPG", 1).picture("cats/a.png", 2).picture("Dogs/a.webp", 3).write("readme.txt", "");
    let set = open(&folder);
    assert_eq!(set.classes, ["Dogs", "cats"]);
    assert_eq!(labels(&set), [("Dogs/a.webp", "Dogs"), ("cats/a.png", "cats"), ("cats/b.JPG", "cats")]);

    let split = Folder::new();
    split.picture("train/cat/a.png", 1).picture("valid/cat/a.png", 2).picture("test/dog/a.png", 3);
    let set = open(&split);
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(set.splits.each_ref().map(|s| s[0].id.clone()), ["train/cat/a.png", "valid/cat/a.png", "test/dog/a.png"]);

    let some = Folder::new();
    some.picture("sad/a.png", 1).picture("amuse/a.png", 2);
    assert_eq!(open(&some).classes, ["amusement", "sadness"], "emotions have one name and one order");
    assert!(matches!(Dataset::open(some.join("nowhere"), &OpenOptions::default()), Err(Error::Io { .. })));
    assert_eq!(refused(&Folder::new()), ["(all)"]);
}

#[test]
fn emotionroi_by_its_published_lists() {
    let folder = Folder::new();
    folder.write("training_testing_split/training.txt", "anger/1.jpg\r\nsurprise/2.jpg\n\njoy/10.jpg\n");
    folder.write("training_testing_split/testing.txt", "fear/3.jpg\n");
    let set = open(&folder);
    assert_eq!(set.classes, SIX);
    let expected = [("anger/1.jpg", "anger"), ("fear/3.jpg", "fear"), ("joy/10.jpg", "joy"), ("surprise/2.jpg", "surprise")];
    assert_eq!(labels(&set), expected);
    assert_eq!(set.splits.each_ref().map(Vec::len), [3, 0, 1]);
    assert_eq!(set.split(Split::Train)[0].image, folder.join("images/anger/1.jpg"));

    let rows: String = (0..40).map(|i| format!("anger/{i}.jpg\n")).collect();
    folder.write("training_testing_split/training.txt", rows);
    let carved = Dataset::open(folder.path(), &OpenOptions { validation: 0.1, ..OpenOptions::default() }).unwrap();
    assert_eq!(carved.splits.each_ref().map(Vec::len), [36, 4, 1]);
    let wrong = Dataset::open(folder.path(), &OpenOptions { validation: 1.0, ..OpenOptions::default() });
    assert!(matches!(wrong, Err(Error::Argument { name: "validation", .. })));

    folder.write("training_testing_split/training.txt", "anger/1.jpg\nawe/1.jpg\nanger/../../1.jpg\n");
    assert_eq!(refused(&folder), ["row 2", "row 3"]);
    std::fs::remove_file(folder.join("training_testing_split/testing.txt")).unwrap();
    assert!(matches!(Dataset::open(folder.path(), &OpenOptions::default()), Err(Error::Io { .. })));
}

#[test]
fn emotion6_by_the_most_votes() {
    let folder = Folder::new();
    folder.write(
        "ground_truth.txt",
        "[image_filename]\t[valence]\t[arousal]\t[prob. anger]\t[prob. disgust]\t[prob. fear]\t[prob. joy]\t[prob. sadness]\t[prob. surprise]\t[prob. neutral]\n\
         joy/1.jpg\t7.1\t5\t0\t0\t0.1\t0.5\t0\t0.2\t0.2\n\
         anger/2.jpg\t3\t5\t0.1\t0\t0.3\t0\t0\t0\t0.6\n\
         sadness/3.jpg\t3\t5\t0\t0\t0.4\t0\t0.4\t0\t0.2\n\
         joy/4.jpg\t3\t5\t0\t0.4\t0.4\t0\t0\t0\t0.2\n",
    );
    let set = open(&folder);
    assert_eq!(set.classes, SIX);
    let expected = [("anger/2.jpg", "fear"), ("joy/1.jpg", "joy"), ("joy/4.jpg", "disgust"), ("sadness/3.jpg", "sadness")];
    assert_eq!(labels(&set), expected);
    let row = |shares: &str| format!("joy/1.jpg\t5\t5\t{shares}\n");
    let bad = [row("0\t0\t0\t0\t0\t0\t1"), row("0\t0\t0\t1"), row("0\t0\t0\t2\t0\t0\t0"), row("a\t0\t0\t1\t0\t0\t0"), row("NaN\t0\t0\t1\t0\t0\t0")];
    folder.write("ground_truth.txt", bad.concat());
    assert_eq!(refused(&folder), ["row 1", "row 2", "row 3", "row 4", "row 5"]);
}

#[test]
fn twitter_by_agreement() {
    let folder = Folder::new();
    folder.write("three_agree.txt", "a b.jpg 1\nc.jpg\t0\nd.jpg 1\n").write("five_agree.txt", "c.jpg 0\n").picture("Agg_AMT_Candidates/c.jpg", 1);
    let set = open(&folder);
    assert_eq!(set.classes, ["positive", "negative"]);
    assert_eq!(labels(&set), [("a b.jpg", "positive"), ("c.jpg", "negative"), ("d.jpg", "positive")]);
    let with = |agreement| OpenOptions { agreement, ..OpenOptions::default() };
    let five = Dataset::open(folder.path(), &with(Agreement::Five)).unwrap();
    assert_eq!(all(&five)[0].image, folder.join("Agg_AMT_Candidates/c.jpg"));
    let missing = Dataset::open(folder.path(), &with(Agreement::Four)).unwrap_err();
    assert!(matches!(&missing, Error::Io { path, .. } if path.ends_with("four_agree.txt")), "{missing}");
    folder.write("three_agree.txt", "a.jpg 2\nb.jpg\n/x.jpg 1\nd.jpg 1\n");
    assert_eq!(refused(&folder), ["row 1", "row 2", "row 3"]);

    let other = Folder::new();
    other.write("twitter_three_agrees.txt", "1.jpg 1\n");
    assert_eq!(all(&open(&other))[0].image, other.join("1.jpg"));
}

#[test]
fn artphoto_by_its_names() {
    let folder = Folder::new();
    folder.picture("testImages_artphoto/sad_0001.jpg", 1).picture("testImages_artphoto/Amusement_a_b.jpg", 2);
    let set = open(&folder);
    assert_eq!(set.classes, EIGHT);
    assert_eq!(labels(&set), [("Amusement_a_b.jpg", "amusement"), ("sad_0001.jpg", "sadness")]);
    let itself = OpenOptions { layout: Some(Layout::ArtPhoto), ..OpenOptions::default() };
    assert_eq!(all(&Dataset::open(folder.join("testImages_artphoto"), &itself).unwrap()).len(), 2);
    folder.picture("testImages_artphoto/joy_1.jpg", 1).picture("testImages_artphoto/sad.jpg", 1);
    let refused: Vec<String> = problems(folder.path(), &OpenOptions::default()).into_iter().map(|p| p.got).collect();
    assert_eq!(refused, ["`joy_1.jpg`", "`sad.jpg`"]);
}

#[test]
fn abstract_by_votes_without_ties() {
    let folder = Folder::new();
    let heading = "'Image','Amusement','Anger','Awe','Content','Disgust','Excitement','Fear','Sad'\n";
    let rows = "'abstract_1.jpg',0,7,1,0,0,0,0,2\n'abstract_2.jpg',3,0,0,3,0,0,0,0\n\"abstract_3.jpg\", 0, 0, 0, 5, 0, 1, 0, 0\n";
    folder.write("ABSTRACT_groundTruth.csv", format!("{heading}{rows}"));
    let expected = [("abstract_1.jpg", "anger"), ("abstract_3.jpg", "contentment")];
    assert_eq!(labels(&open(&folder)), expected);
    assert_eq!(Listing::read(folder.path(), &OpenOptions::default()).unwrap().undecided, 1);
    folder.write("ABSTRACT_groundTruth.csv", rows);
    assert_eq!(labels(&open(&folder)), expected, "the usual order needs no heading");
    let turned = "'Image','Sad','Anger','Awe','Content','Disgust','Excitement','Fear','Amusement'\n";
    folder.write("ABSTRACT_groundTruth.csv", format!("{turned}'1.jpg',7,0,1,0,0,0,0,2\n"));
    assert_eq!(labels(&open(&folder)), [("1.jpg", "sadness")]);
    let bad = "'1.jpg',0,7,1,0,0,0,0\n'2.jpg',0,x,1,0,0,0,0,2\n'3.jpg',0,-7,1,0,0,0,0,2\n'../4.jpg',0,7,1,0,0,0,0,2\n";
    folder.write("ABSTRACT_groundTruth.csv", format!("{heading}{bad}"));
    assert_eq!(refused(&folder), ["row 2", "row 3", "row 4", "row 5"]);
    folder.write("ABSTRACT_groundTruth.csv", heading.replace("Fear", "Sad"));
    assert_eq!(refused(&folder), ["row 1"]);
}

#[test]
fn csv_with_any_columns() {
    let folder = Folder::new();
    let path = folder.join("list.csv");
    let open = |text: &str| {
        folder.write("list.csv", text);
        Dataset::open(&path, &OpenOptions::default())
    };
    let set = open("\u{feff}image,label\nb.png,cat\na.png,dog\n").unwrap();
    assert_eq!(set.root, folder.path());
    assert_eq!(labels(&set), [("a.png", "dog"), ("b.png", "cat")]);
    let set = open("Split,id,caption,label,image\ntrain,one,\"two dogs, playing\",sad,x/a.png\ntest,two,,Amuse,x/b.png\n").unwrap();
    assert_eq!(set.classes, ["amusement", "sadness"]);
    let first = &set.split(Split::Train)[0];
    assert_eq!((first.id.as_str(), first.caption.as_deref(), first.label), ("one", Some("two dogs, playing"), 1));
    assert_eq!(first.image, folder.join("x/a.png"));
    assert_eq!(set.split(Split::Test)[0].caption, None);
    assert_eq!(open("image,label\na.png,10\nb.png,9\n").unwrap().classes, ["9", "10"], "numbers are sorted as numbers");

    let rows = |text: &str| match open(text) {
        Err(Error::Dataset { problems, .. }) => problems.into_iter().map(|p| p.record).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(rows("picture,label\na.png,x\n"), ["row 1"]);
    assert_eq!(rows("image,label\na.png\n,x\nb.png,\nc.png,x,y\nd.png,x\n"), ["row 2", "row 3", "row 4", "row 5"]);
    assert_eq!(rows("image,label,split\na.png,x,train\nb.png,x,\nc.png,x,dev\n"), ["row 3", "row 4"]);
    assert_eq!(rows("image,label\n/a.png,x\n../b.png,x\nc.png,x\n"), ["row 2", "row 3"]);
    assert_eq!(rows("image,label\na.png,x\na.png,x\n"), ["`a.png`"]);
    folder.write("list.csv", b"image,label\n\xff.png,x\n");
    assert!(problems(&path, &OpenOptions::default())[0].record.contains("row 2"));
}

/// A CSV of so many samples of two classes, 3 to 1, its rows turned round or not.
fn listed(folder: &Folder, samples: usize, turned: bool) -> std::path::PathBuf {
    let mut rows: Vec<String> = (0..samples).map(|i| format!("{i}.png,{}\n", if i % 4 == 0 { "rare" } else { "common" })).collect();
    if turned {
        rows.reverse();
    }
    folder.write("list.csv", format!("image,label\n{}", rows.concat()));
    folder.join("list.csv")
}

#[test]
fn a_drawn_split_is_stratified_and_cares_for_seed_and_id_alone() {
    let folder = Folder::new();
    let options = |seed| OpenOptions { seed, ..OpenOptions::default() };
    let set = Dataset::open(listed(&folder, 400, false), &options(7)).unwrap();
    let counts = |set: &Dataset| Split::ALL.map(|split| [0, 1].map(|class| set.split(split).iter().filter(|s| s.label == class).count()));
    assert_eq!(counts(&set), [[240, 80], [15, 5], [45, 15]]);
    let ids = |set: &Dataset| {
        let Assignment { mut train, mut val, mut test } = Assignment::of(set);
        [&mut train, &mut val, &mut test].into_iter().for_each(|ids| ids.sort());
        [train, val, test]
    };
    let turned = Dataset::open(listed(&folder, 400, true), &options(7)).unwrap();
    assert_eq!(ids(&set), ids(&turned));
    let other = Dataset::open(folder.join("list.csv"), &options(8)).unwrap();
    assert_ne!(ids(&set), ids(&other));
    assert_eq!(counts(&set), counts(&other));
    // What was once drawn for a seed stays.
    assert_eq!(ids(&set)[1][..5], FIRST);
}

const FIRST: [&str; 5] = ["121.png", "125.png", "145.png", "173.png", "177.png"];

#[test]
fn a_split_file_is_obeyed_and_must_fit() {
    let folder = Folder::new();
    let list = listed(&folder, 40, false);
    let drawn = Dataset::open(&list, &OpenOptions { seed: 3, ..OpenOptions::default() }).unwrap();
    folder.write("split.json", Assignment::of(&drawn).to_json());
    let by_file = OpenOptions { split_file: Some(folder.join("split.json")), seed: 99, ..OpenOptions::default() };
    assert_eq!(Dataset::open(&list, &by_file).unwrap(), drawn);

    let mut other = Assignment::of(&drawn);
    let missing = other.train.pop().unwrap();
    other.val.extend(["stranger".to_owned(), other.test[0].clone()]);
    folder.write("split.json", other.to_json());
    let problems = problems(&list, &by_file);
    let got: Vec<(String, &str)> = problems.iter().map(|p| (p.record.clone(), p.got.as_str())).collect();
    assert!(got.contains(&(format!("`{missing}`"), "none")), "{got:?}");
    assert!(
        got.contains(&("`stranger`".into(), "an unknown one, in val")) && got.contains(&(format!("`{}`", other.test[0]), "val and test")),
        "{got:?}"
    );
    assert_eq!(got.len(), 3);
    for text in ["[]", r#"{"train": [1]}"#, r#"{"training": []}"#] {
        folder.write("split.json", text);
        assert!(matches!(Dataset::open(&list, &by_file), Err(Error::Dataset { .. })), "{text}");
    }
}

#[test]
fn layouts_have_names() {
    for layout in Layout::ALL {
        assert_eq!(layout.name().parse::<Layout>().unwrap(), layout);
    }
    assert!("imagenet".parse::<Layout>().unwrap_err().to_string().contains("emoset"));
}
