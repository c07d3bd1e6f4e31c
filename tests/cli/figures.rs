//! `--explain`

use crate::program::{Folder, golden, picture, run, text, with_model};
use escnet::Image;
use escnet::infer::explain::WIDTH;
use std::collections::HashSet;

#[test]
fn every_picture_has_a_figure_of_its_own() {
    let folder = Folder::of(&[("a/x.png", "rgb_tiny.png"), ("b/x.jpg", "gray.jpg"), ("b/X.png", "rgb_landscape.png"), ("c.png", "rgb_portrait.png")]);
    folder.write("b/broken.png", b"no picture");
    let figures = Folder::new();
    with_model(&["classify", &folder.join(""), "--explain", &figures.join("new/folder")]).ends(5);
    let at = |name: &str| Image::open(figures.join("new/folder").clone() + "/" + name).unwrap();
    for name in ["x.png", "X-2.png", "x-3.png", "c.png"] {
        let figure = at(name);
        assert_eq!(figure.width(), WIDTH, "{name}");
        assert!(figure.height() > 600 && figure.height() < 2000, "{name}: {figure:?}");
        let colours: HashSet<&[u8]> = figure.rgb().chunks_exact(3).collect();
        assert!(colours.len() > 500, "{name}: {} colours", colours.len());
    }
    assert_eq!(std::fs::read_dir(figures.join("new/folder")).unwrap().count(), 4);
}

#[test]
fn pictures_are_never_written_over() {
    let folder = Folder::of(&[("x.png", "rgb_tiny.png"), ("x.jpg", "gray.jpg"), ("y.jpg", "gray.jpg")]);
    let before: Vec<Vec<u8>> = folder.names().iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect();
    let names = folder.names();
    with_model(&["classify", &folder.join(""), "--explain", &folder.join(".")]).ends(0);
    for (name, bytes) in names.iter().zip(before) {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(folder.names(), ["x-2.png", "x-3.png", "x.jpg", "x.png", "y.jpg", "y.png"]);
}

#[cfg(unix)]
#[test]
fn nor_are_links_to_them() {
    let folder = Folder::of(&[("far/real.png", "rgb_tiny.png")]);
    let link = folder.path().join("link.png");
    std::os::unix::fs::symlink(folder.path().join("far/real.png"), &link).unwrap();
    with_model(&["classify", &text(&link), "--explain", &folder.join("")]).ends(0);
    assert!(link.is_symlink());
    assert_eq!(std::fs::read(&link).unwrap(), std::fs::read(picture("rgb_tiny.png")).unwrap());
    assert!(folder.names().contains(&"link-2.png".to_owned()));
}

#[test]
fn figures_are_the_same_each_time_and_results_too() {
    let (first, second) = (Folder::new(), Folder::new());
    let explain = |to: &Folder, threads| with_model(&["classify", &picture("progressive.jpg"), "--explain", &to.join(""), "--threads", threads]).ok();
    let plain = with_model(&["classify", &picture("progressive.jpg")]).ok();
    assert_eq!(explain(&first, "1"), plain);
    assert_eq!(explain(&second, "2"), plain);
    assert_eq!(std::fs::read(first.join("progressive.png")).unwrap(), std::fs::read(second.join("progressive.png")).unwrap());
}

#[test]
fn a_model_without_a_highlight_has_figures_too() {
    let folder = Folder::new();
    let lines = run(&["classify", &picture("rgb_tiny.png"), "--model", &text(&golden("self_none")), "--explain", &folder.join("")]).ends(0).jsonl();
    assert_eq!(lines[0]["words"], serde_json::json!([]));
    Image::open(folder.join("rgb_tiny.png")).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_ends_it_before_anything_is_done() {
    let folder = Folder::of(&[("x.png", "rgb_tiny.png")]);
    let run = with_model(&["classify", &folder.join("x.png"), "--explain", &folder.join("x.png/figures")]).ends(3);
    assert_eq!(run.out, "");
}
