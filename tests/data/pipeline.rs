//! Batches: the same whoever makes them, whole where pictures are broken, and nobody left waiting.

use crate::folder::Folder;
use escnet::data::augment::Augment;
use escnet::data::jsonl;
use escnet::data::pipeline::{Batch, ErrorsLog, Pipeline, PipelineOptions};
use escnet::data::preprocess::Preprocess;
use escnet::{Error, Image};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: usize = 12;
const PICTURES: u32 = 17;

/// Pictures of several sizes that all differ.
fn pictures(folder: &Folder) -> Arc<[PathBuf]> {
    let draw = |i: u32| {
        let colour = |x: u32, y: u32| [(x * 7 + i * 31) as u8, (y * 11 + i * 13) as u8, (x * y + i) as u8];
        folder.plotted(&format!("{i}.png"), [20 + i, 40 - i], colour)
    };
    (0..PICTURES).map(draw).collect()
}

fn everything() -> Augment {
    Augment { crop: Some([0.4, 1.0]), flip: 0.5, shift: 2, brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.1, ramp: 0.0 }
}

fn pipeline(pictures: &Arc<[PathBuf]>, augment: Augment, options: PipelineOptions) -> Pipeline {
    Pipeline::new(pictures.clone(), Preprocess::classify(SIZE).unwrap(), augment, options).unwrap()
}

/// Prepared by the one who asks, nothing kept.
const PLAIN: PipelineOptions = PipelineOptions { workers: 0, prefetch: 1, seed: 7, cache_bytes: 0 };

/// Some pictures, some of them twice.
fn order() -> Arc<[u32]> {
    (0..PICTURES).map(|i| i * 5 % PICTURES).chain([3, 3, 8]).collect()
}

fn epoch(pipeline: &Pipeline, epoch: u64, first: usize) -> Vec<Batch> {
    pipeline.epoch(epoch, order(), 6, first).collect::<Result<_, _>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_who_makes_them() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    let plain = pipeline(&pictures, everything(), PLAIN);
    let want = [epoch(&plain, 0, 0), epoch(&plain, 1, 0)];
    assert_eq!(want[0].iter().map(|b| b.indices.len()).collect::<Vec<_>>(), [6, 6, 6, 2]);
    assert_eq!(want[0].iter().flat_map(|b| &b.indices).map(|&i| i as u32).collect::<Vec<_>>(), *order());
    assert!(want[0][0].pixels != want[1][0].pixels, "epochs differ");
    for (workers, prefetch) in [(0, 0), (1, 0), (1, 1), (3, 1), (3, 2), (2, 9), (9, 2)] {
        for cache_bytes in [0, 9000, 1 << 20] {
            let options = PipelineOptions { workers, prefetch, cache_bytes, ..PLAIN };
            let pipeline = pipeline(&pictures, everything(), options);
            for e in [0, 1, 0] {
                assert!(epoch(&pipeline, e, 0) == want[e as usize], "{options:?}, epoch {e}");
            }
            for first in 0..=5 {
                assert!(epoch(&pipeline, 1, first) == want[1].get(first..).unwrap_or_default(), "{options:?} from batch {first}");
            }
        }
    }
    let other = pipeline(&pictures, everything(), PipelineOptions { seed: 8, ..PLAIN });
    assert!(epoch(&other, 0, 0)[0].pixels != want[0][0].pixels, "seeds differ");
}

#[test]
fn a_picture_that_comes_twice_is_altered_in_two_ways() {
    let folder = Folder::new();
    let pipeline = pipeline(&pictures(&folder), everything(), PLAIN);
    let batch = pipeline.epoch(0, [3, 3, 4].into(), 3, 0).next().unwrap().unwrap();
    let rows: Vec<&[f32]> = batch.pixels.as_f32().unwrap().chunks(SIZE * SIZE * 3).collect();
    assert!(rows[0] != rows[1]);
    // Whether an epoch takes it early or late makes no difference.
    let late = pipeline.epoch(0, [4, 3].into(), 2, 0).next().unwrap().unwrap();
    assert!(late.pixels.as_f32().unwrap() == [rows[2], rows[0]].concat());
}

#[test]
fn unaltered_batches_are_what_an_evaluation_sees() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    for prepare in [Preprocess::classify(SIZE).unwrap(), Preprocess::caption(SIZE).unwrap()] {
        let pipeline = Pipeline::new(pictures.clone(), prepare, Augment::default(), PipelineOptions::default()).unwrap();
        let images: Vec<Image> = order().iter().map(|&i| Image::open(&pictures[i as usize]).unwrap()).collect();
        for (batch, images) in pipeline.epoch(0, order(), 6, 0).zip(images.chunks(6)) {
            assert_eq!(batch.unwrap().pixels, prepare.batch(images).unwrap());
        }
    }
}

#[test]
fn decoded_pictures_are_kept_as_far_as_there_is_room() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    for (cache_bytes, survives) in [(0, false), (1 << 20, true)] {
        folder.plotted("0.png", [20, 40], |x, y| [x as u8, y as u8, 0]);
        let pipeline = pipeline(&pictures, everything(), PipelineOptions { cache_bytes, ..PLAIN });
        assert_eq!(epoch(&pipeline, 0, 0).iter().map(|b| b.broken.len()).sum::<usize>(), 0);
        std::fs::remove_file(&pictures[0]).unwrap();
        let broken: usize = epoch(&pipeline, 1, 0).iter().map(|b| b.broken.len()).sum();
        assert_eq!(broken == 0, survives, "{broken}");
    }
}

#[test]
fn broken_pictures_are_replaced_and_listed() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    let good = epoch(&pipeline(&pictures, everything(), PLAIN), 0, 0);
    folder.write("3.png", b"no picture");
    std::fs::remove_file(&pictures[5]).unwrap();
    let want = epoch(&pipeline(&pictures, everything(), PLAIN), 0, 0);
    for options in [PipelineOptions { workers: 3, cache_bytes: 1 << 20, ..PLAIN }, PipelineOptions { workers: 1, prefetch: 9, ..PLAIN }] {
        assert!(epoch(&pipeline(&pictures, everything(), options), 0, 0) == want);
    }
    let row = SIZE * SIZE * 3;
    for (got, good) in want.iter().zip(&good) {
        let rows = got.pixels.as_f32().unwrap().chunks(row).zip(good.pixels.as_f32().unwrap().chunks(row));
        for ((&got, &asked), (pixels, before)) in got.indices.iter().zip(&good.indices).zip(rows) {
            assert!(![3, 5].contains(&got));
            assert_eq!(got == asked, ![3, 5].contains(&asked));
            assert_eq!(pixels == before, got == asked, "only broken pictures' rows change");
        }
    }
    let broken: Vec<_> = want.iter().flat_map(|b| b.broken.clone()).collect();
    assert!(broken.len() >= 4, "3 comes three times, 5 once");
    assert!(broken.iter().all(|b| b.path == pictures[b.index] && [3, 5].contains(&b.index)));
    assert!(broken.iter().any(|b| b.reason.contains("not a JPEG, PNG or WebP")));

    let log = folder.join("errors.jsonl");
    assert_eq!(ErrorsLog::open(&log).unwrap().note(&broken).unwrap(), 2);
    let written = std::fs::read(&log).unwrap();
    // The run dies in the middle of a line, and goes on.
    std::fs::write(&log, &written[..written.len() - 3]).unwrap();
    let mut again = ErrorsLog::open(&log).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((again.note(&broken).unwrap(), again.note(&broken).unwrap()), (1, 0));
    assert_eq!(std::fs::read(&log).unwrap(), written);
    let rows: Vec<serde_json::Value> = jsonl::read(&log).unwrap();
    assert!(rows.iter().all(|r| r["image"].is_string() && r["reason"].is_string()));
    folder.write("errors.jsonl", b"{\"image\": \"a\", \"reason\": \"b\"}\n{}\n");
    assert!(matches!(ErrorsLog::open(&log), Err(Error::Config { field, .. }) if field == "line 2"));
}

#[test]
fn what_replaces_a_picture_is_of_the_same_order() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    folder.write("3.png", b"no picture");
    let pipeline = pipeline(&pictures, everything(), PLAIN);
    let mut used = Vec::new();
    for e in 0..40 {
        let batch = pipeline.epoch(e, [3, 4, 9].into(), 3, 0).next().unwrap().unwrap();
        used.push(batch.indices[0]);
    }
    assert!(used.iter().all(|i| [4, 9].contains(i)) && used.contains(&4) && used.contains(&9), "{used:?}");
    // Where there is no other, that is an error, and the end.
    for workers in [0, 2] {
        let alone = self::pipeline(&pictures, everything(), PipelineOptions { workers, ..PLAIN });
        let mut batches = alone.epoch(0, [4, 9, 3, 3].into(), 2, 0);
        assert!(batches.next().unwrap().is_ok());
        let mut batches = alone.epoch(0, [3, 3, 3, 3].into(), 2, 0);
        match batches.next() {
            Some(Err(Error::Image { path, reason })) => assert!(path == pictures[3] && reason.contains("16 others"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(batches.next().is_none());
    }
}

#[test]
fn dropped_batches_stop_their_workers() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    let long: Arc<[u32]> = (0..100_000).map(|i| i % PICTURES).collect();
    let begun = Instant::now();
    for (workers, prefetch, taken) in [(1, 1, 0), (3, 2, 0), (3, 1, 1), (2, 4, 3), (1, 1, 2), (4, 50, 1)] {
        let pipeline = pipeline(&pictures, everything(), PipelineOptions { workers, prefetch, ..PLAIN });
        let mut batches = pipeline.epoch(0, long.clone(), 5, 7);
        assert_eq!(batches.by_ref().take(taken).filter(Result::is_ok).count(), taken);
        // With time for the workers to run into their limit, and without.
        if taken == 2 {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(pipeline);
        drop(batches);
    }
    assert_eq!(Arc::strong_count(&pictures), 1, "a worker is alive");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn workers_do_not_run_further_ahead_than_they_may() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    let pipeline = pipeline(&pictures, Augment::default(), PipelineOptions { workers: 3, prefetch: 2, ..PLAIN });
    let mut batches = pipeline.epoch(0, (0..PICTURES).collect(), 3, 0);
    assert!(batches.next().unwrap().unwrap().broken.is_empty());
    std::thread::sleep(Duration::from_millis(300));
    // Batches 1 and 2, pictures 3 to 8, are made by now; all later ones are not begun.
    (3..PICTURES as usize).for_each(|i| std::fs::write(&pictures[i], b"").unwrap());
    let broken: Vec<usize> = batches.map_while(|b| b.ok().map(|b| b.broken.len())).take(3).collect();
    assert_eq!(broken[..2], [0, 0], "they were ahead");
    assert!(broken.get(2).is_none_or(|&n| n >= 3), "{broken:?}");
}

#[test]
fn wrong_orders_and_settings_are_errors() {
    let folder = Folder::new();
    let pictures = pictures(&folder);
    for workers in [0, 2] {
        let pipeline = pipeline(&pictures, everything(), PipelineOptions { workers, ..PLAIN });
        for (order, batch, name) in [(vec![0, PICTURES], 2, "order"), (vec![0], 0, "batch"), (vec![u32::MAX; 4], 2, "order")] {
            let mut batches = pipeline.epoch(0, order.into(), batch, 0);
            assert!(matches!(batches.next(), Some(Err(Error::Argument { name: n, .. })) if n == name));
            assert!(batches.next().is_none());
        }
        assert_eq!(pipeline.epoch(0, [].into(), 2, 0).count(), 0);
        assert_eq!(pipeline.epoch(0, [1, 2].into(), 2, 1).count(), 0);
        assert_eq!(pipeline.epoch(0, [1, 2].into(), 2, usize::MAX).count(), 0);
    }
    let new = |pictures: Arc<[PathBuf]>, augment| Pipeline::new(pictures, Preprocess::classify(SIZE).unwrap(), augment, PLAIN).unwrap_err();
    let shift = Augment { shift: SIZE, ..Augment::default() };
    for (error, field) in [
        (new([].into(), Augment::default()), "pictures"),
        (new(pictures.clone(), shift), "augment.shift"),
        (new(pictures.clone(), Augment { flip: 2.0, ..Augment::default() }), "augment.flip"),
    ] {
        assert!(matches!(error, Error::Argument { name, .. } if name == field), "{error}");
    }
}
