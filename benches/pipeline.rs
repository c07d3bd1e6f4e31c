//! How many pictures a second the input pipeline brings up: `cargo bench --bench pipeline -- [SECONDS]`.
//!
//! Drawn PNGs of 96 pixels to a network of 96, as in the demo, and a JPEG of 512 to a network of 224, cropped, mirrored and coloured at random;
//! by the thread that asks and by 1 and 2 workers; decoded anew each time, and decoded once and kept. What asks does nothing else meanwhile.

use escnet::data::augment::Augment;
use escnet::data::pipeline::{Pipeline, PipelineOptions};
use escnet::data::preprocess::Preprocess;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const BATCH: usize = 32;
const PICTURES: u32 = 64;

fn main() {
    let seconds: f64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1.0);
    let folder = std::env::temp_dir().join(format!("escnet-bench-pipeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let drawn: Arc<[PathBuf]> = (0..PICTURES).map(|i| draw(&folder, i)).collect();
    let photo: Arc<[PathBuf]> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pictures/512.jpg"); PICTURES as usize].into();
    let flipped = Augment { flip: 0.5, shift: 4, ..Augment::default() };
    let everything = Augment { crop: Some([0.5, 1.0]), brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.05, ..flipped.clone() };
    println!("{:<28} {:>7} {:>8} {:>12}", "pictures", "workers", "decoded", "pictures/s");
    for (name, pictures, size, augment) in [("96-px PNG, flip and shift", drawn, 96, flipped), ("512-px JPEG, everything", photo, 224, everything)] {
        for workers in [0, 1, 2] {
            for (decoded, cache_bytes) in [("each", 0), ("once", 256 << 20)] {
                let options = PipelineOptions { workers, prefetch: 4, seed: 7, cache_bytes };
                let preprocess = Preprocess::classify(size).expect("a size");
                let pipeline = Pipeline::new(pictures.clone(), preprocess, augment.clone(), options).expect("a pipeline");
                println!("{name:<28} {workers:>7} {decoded:>8} {:>12.0}", rate(&pipeline, seconds));
            }
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder");
}

/// A picture such as a demo set has: flat shapes on a slope of colour.
fn draw(folder: &Path, i: u32) -> PathBuf {
    let path = folder.join(format!("{i}.png"));
    let pixel = |x: u32, y: u32| {
        let inside = (x as i64 - 48).pow(2) + (y as i64 - 40).pow(2) < i64::from(i * 12 + 200);
        image::Rgb(if inside { [200, (i * 3) as u8, 60] } else { [(x * 2) as u8, (y + i) as u8, 120] })
    };
    image::RgbImage::from_fn(96, 96, pixel).save(&path).expect("a picture");
    path
}

/// Pictures a second, after a first epoch that does not count.
fn rate(pipeline: &Pipeline, seconds: f64) -> f64 {
    let order: Arc<[u32]> = (0..PICTURES * 64).map(|i| i % PICTURES).collect();
    let warm: Arc<[u32]> = (0..PICTURES).collect();
    assert!(pipeline.epoch(0, warm, BATCH, 0).all(|batch| batch.is_ok()));
    let (begun, mut pictures) = (Instant::now(), 0);
    for epoch in 1.. {
        for batch in pipeline.epoch(epoch, order.clone(), BATCH, 0) {
            pictures += batch.expect("a batch").indices.len();
            if begun.elapsed().as_secs_f64() >= seconds {
                return pictures as f64 / begun.elapsed().as_secs_f64();
            }
        }
    }
    0.0
}
