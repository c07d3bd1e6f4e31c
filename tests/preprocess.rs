//! Pictures: every file that Pillow read, read alike; every preparation; every fault refused with a reason.
#![cfg(feature = "decode")]

use escnet::data::preprocess::{CLIP, IMAGENET, Preprocess};
use escnet::{Error, Image};
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)
}

fn bytes(folder: &str, name: &str) -> Vec<u8> {
    std::fs::read(golden(folder).join(name)).unwrap()
}

fn open(folder: &str, name: &str) -> Image {
    Image::open(golden(folder).join(name)).unwrap()
}

/// Why these bytes are refused.
fn refusal(bytes: &[u8]) -> String {
    match Image::decode(bytes, "the/picture") {
        Err(e @ Error::Image { .. }) => {
            assert!(e.to_string().starts_with("the/picture: "), "{e}");
            e.to_string()
        }
        other => panic!("{other:?}"),
    }
}

/// How far the picture is from Pillow's: mean and largest difference of a sample.
fn distance(picture: &Image, file: &SafeTensors, name: &str) -> (f64, u8) {
    let want = file.tensor(&format!("{name}/rgb")).unwrap();
    assert_eq!([picture.height(), picture.width(), 3], want.shape(), "{name}");
    let differences = || picture.rgb().iter().zip(want.data()).map(|(a, b)| a.abs_diff(*b));
    let mean = differences().map(f64::from).sum::<f64>() / picture.rgb().len() as f64;
    (mean, differences().max().unwrap())
}

fn is_lossless(name: &str) -> bool {
    !name.ends_with(".jpg") && !name.starts_with("lossy")
}

#[test]
fn pictures_decode_as_in_pillow() {
    let mut seen = 0;
    for (folder, file) in [("preprocess", "preprocess.safetensors"), ("pictures", "pictures.safetensors")] {
        let data = bytes(folder, file);
        let data = SafeTensors::deserialize(&data).unwrap();
        for name in data.names().into_iter().filter_map(|n| n.strip_suffix("/rgb")) {
            let (mean, max) = distance(&open(folder, name), &data, name);
            println!("{name}: mean {mean:.4}, max {max}");
            if is_lossless(name) {
                assert_eq!(max, 0, "{name}")
            } else {
                assert!(mean <= 1.0 && max <= 4, "{name}: mean {mean}, max {max}")
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 11 + 20);
}

#[test]
fn preparations_equal_torchvision() {
    let data = bytes("preprocess", "preprocess.safetensors");
    let data = SafeTensors::deserialize(&data).unwrap();
    let mut seen = 0;
    for key in data.names() {
        let (name, what) = key.split_once('/').unwrap();
        let Some((mode, size)) = what.split_once('.') else { continue };
        let size: usize = size.parse().unwrap();
        let (prepare, (_, std)) = if mode == "classify" { (Preprocess::classify(size), IMAGENET) } else { (Preprocess::caption(size), CLIP) };
        let got = prepare.unwrap().apply(&open("preprocess", name)).unwrap();
        assert_eq!(&got.shape()[..], &[size, size, 3]);
        let want = data.tensor(key).unwrap();
        let want: Vec<f32> = want.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        // In steps of 1/255 before normalising; Pillow's planes are apart, ours are interleaved.
        let steps: Vec<f32> =
            got.as_f32().unwrap().iter().enumerate().map(|(i, v)| (v - want[i % 3 * size * size + i / 3]).abs() * std[i % 3] * 255.0).collect();
        let (max, mean) = (steps.iter().fold(0f32, |m, &s| m.max(s)), steps.iter().sum::<f32>() / steps.len() as f32);
        let off = steps.iter().filter(|&&s| s > 0.01).count() as f32 / steps.len() as f32;
        println!("{key}: max {max:.3} steps, mean {mean:.5}, {:.3}% off", 100.0 * off);
        if is_lossless(name) {
            assert!(max < 0.01, "{key}: max {max}, {off} off");
        } else {
            assert!(max <= 4.01 && mean <= 1.0, "{key}: max {max}, mean {mean}");
        }
        seen += 1;
    }
    assert_eq!(seen, 11 * 4);
}

#[test]
fn a_batch_is_its_pictures() {
    let pictures = ["rgb_landscape.png", "rgb_tiny.png", "gray.jpg"].map(|n| open("preprocess", n));
    for prepare in [Preprocess::classify(64).unwrap(), Preprocess::caption(40).unwrap()] {
        let batch = prepare.batch(&pictures).unwrap();
        let one: Vec<f32> = pictures.iter().flat_map(|p| prepare.apply(p).unwrap().to_f32()).collect();
        assert_eq!(&batch.shape()[..], &[3, prepare.size(), prepare.size(), 3]);
        assert_eq!(batch.as_f32().unwrap(), one);
    }
    assert_eq!(&Preprocess::caption(8).unwrap().batch(&[]).unwrap().shape()[..], &[0, 8, 8, 3]);
}

#[test]
fn the_crop_leads_back_to_the_picture() {
    let picture = Image::from_rgb(400, 200, vec![0; 400 * 200 * 3]).unwrap();
    let crop = Preprocess::classify(224).unwrap().crop(&picture);
    // Resized to 512 x 256, cut at (144, 16): a step of the square is 400 / 512 of a pixel.
    assert_eq!(crop.visible(), [112.5, 12.5, 287.5, 187.5]);
    assert_eq!(crop.to_picture([112.0, 112.0]), [200.0, 100.0]);
    assert_eq!(crop.to_square([200.0, 100.0]), [112.0, 112.0]);
    let whole = Preprocess::caption(384).unwrap().crop(&picture);
    assert_eq!(whole.visible(), [0.0, 0.0, 400.0, 200.0]);
}

#[test]
fn thin_pictures_stay_cheap() {
    for (w, h) in [(65_535, 1), (1, 65_535), (1, 1)] {
        let picture = Image::from_rgb(w, h, vec![9; w * h * 3]).unwrap();
        for prepare in [Preprocess::classify(64).unwrap(), Preprocess::caption(64).unwrap()] {
            let (mean, std) = if prepare.mode() == escnet::data::preprocess::Mode::Classify { IMAGENET } else { CLIP };
            let red = (9.0 / 255.0 - mean[0]) / std[0];
            assert!(prepare.apply(&picture).unwrap().as_f32().unwrap().iter().step_by(3).all(|&v| v == red));
        }
    }
}

#[test]
fn settings_are_read_and_their_faults_named() {
    let read = |json: &str| Preprocess::classify(64).unwrap().with_json(json, "preprocessor.json");
    assert_eq!(read("{}").unwrap(), Preprocess::classify(64).unwrap());
    assert_eq!(read(r#"{"caption": {"mean": [0, 0, 0]}}"#).unwrap(), Preprocess::classify(64).unwrap());
    let plain = read(r#"{"classify": {"mean": [0, 0, 0], "std": [1, 1, 1]}}"#).unwrap();
    let white = plain.apply(&Image::from_rgb(2, 2, vec![255; 12]).unwrap()).unwrap();
    assert!(white.as_f32().unwrap().iter().all(|&v| v == 1.0));
    for (json, field) in [
        ("[]", "(file)"),
        ("{", "(file)"),
        (r#"{"clasify": {}}"#, "clasify"),
        (r#"{"classify": 1}"#, "classify"),
        (r#"{"classify": {"size": 3}}"#, "classify.size"),
        (r#"{"classify": {"mean": [0, 0]}}"#, "classify.mean"),
        (r#"{"classify": {"mean": [0, 0, "x"]}}"#, "classify.mean"),
        (r#"{"caption": {"std": [1, 0, 1]}}"#, "caption.std"),
        (r#"{"caption": {"std": [1, 1e99, 1]}}"#, "caption.std"),
    ] {
        assert!(matches!(read(json), Err(Error::Config { field: f, .. }) if f == field), "{json}");
    }
    assert_eq!(plain.with_file(golden("preprocess").join("none.json")).unwrap(), plain);
    assert!(matches!(plain.with_file(golden("preprocess")), Err(Error::Io { .. })));
    assert!(Preprocess::classify(0).is_err() && Preprocess::caption(1 << 20).is_err());
}

#[test]
fn rgb_bytes_must_fill_the_picture() {
    assert!(Image::from_rgb(2, 3, vec![0; 18]).is_ok());
    for (w, h, n) in [(2, 3, 17), (2, 3, 19), (0, 3, 0), (usize::MAX, 2, 6), (65_536, 1, 65_536 * 3), (8000, 4001, 0)] {
        assert!(matches!(Image::from_rgb(w, h, vec![0; n]), Err(Error::Argument { .. })), "{w} x {h}");
    }
}

/// The eight orientations of EXIF: from which pixel (x, y) of a stored w x h picture the upright one takes its pixel.
fn source(orientation: u8, x: usize, y: usize, w: usize, h: usize) -> (usize, usize) {
    match orientation {
        2 => (w - 1 - x, y),
        3 => (w - 1 - x, h - 1 - y),
        4 => (x, h - 1 - y),
        5 => (y, x),
        6 => (y, h - 1 - x),
        7 => (w - 1 - y, h - 1 - x),
        8 => (w - 1 - y, x),
        _ => (x, y),
    }
}

#[test]
fn every_exif_orientation_is_turned_upright() {
    let file = bytes("preprocess", "photo_exif6.jpg");
    let tag = file.windows(8).position(|w| w == [1, 0x12, 0, 3, 0, 0, 0, 1]).expect("the orientation tag") + 8;
    let with = |orientation: u8| {
        let mut file = file.clone();
        assert_eq!(&file[tag..tag + 2], &[0, 6]);
        file[tag + 1] = orientation;
        Image::decode(&file, "turned").unwrap()
    };
    let stored = with(1);
    let (w, h) = (stored.width(), stored.height());
    // 0 and 9 are no orientations: as stored.
    for orientation in 0..=9 {
        let upright = with(orientation);
        let turned = (5..=8).contains(&orientation);
        assert_eq!((upright.width(), upright.height()), if turned { (h, w) } else { (w, h) }, "{orientation}");
        for (i, pixel) in upright.rgb().chunks_exact(3).enumerate() {
            let (x, y) = source(orientation, i % upright.width(), i / upright.width(), w, h);
            assert_eq!(pixel, &stored.rgb()[(y * w + x) * 3..][..3], "{orientation}");
        }
    }
}

#[test]
fn the_flattest_honest_pictures_open() {
    for name in ["flat.jpg", "flat_progressive.jpg", "flat.png", "flat.webp"] {
        let picture = open("pictures", name);
        assert_eq!((picture.width(), picture.height()), (3000, 2000), "{name}");
        assert!(picture.rgb().iter().all(|&v| v >= 254), "{name}");
    }
}

/// The file with its claimed size replaced.
fn claiming(mut file: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    if file.starts_with(b"\x89PNG") {
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
    } else if file.starts_with(b"RIFF") {
        assert_eq!(&file[12..16], b"VP8 ");
        file[26..28].copy_from_slice(&(width as u16).to_le_bytes());
        file[28..30].copy_from_slice(&(height as u16).to_le_bytes());
    } else {
        let at = file.windows(2).position(|w| w[0] == 0xFF && matches!(w[1], 0xC0 | 0xC2)).unwrap();
        file[at + 5..at + 7].copy_from_slice(&(height as u16).to_be_bytes());
        file[at + 7..at + 9].copy_from_slice(&(width as u16).to_be_bytes());
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 }))
}

#[test]
fn bombs_are_refused_before_they_take_memory() {
    for (folder, name) in [
        ("preprocess", "gray.jpg"),
        ("preprocess", "progressive.jpg"),
        ("pictures", "cmyk.jpg"),
        ("preprocess", "rgb_tiny.png"),
        ("pictures", "lossy.webp"),
    ] {
        let file = bytes(folder, name);
        for (w, h) in [(12_543, 12_543), (16_383, 16_383), (8001, 4000)] {
            assert!(refusal(&claiming(file.clone(), w, h)).contains("at most 32000000 pixels"), "{name}");
        }
        assert!(refusal(&claiming(file.clone(), 5600, 5600)).contains("more than its"), "{name}");
        assert!(refusal(&claiming(file, 0, 10)).contains("0 x 10 pixels"), "{name}");
    }
    let png = bytes("preprocess", "rgb_tiny.png");
    assert!(refusal(&claiming(png.clone(), u32::MAX, u32::MAX)).contains("pixels"));
    assert!(refusal(&claiming(png, 70_000, 1)).contains("65535 a side"));
}

#[test]
fn a_picture_cut_anywhere_is_refused() {
    for (folder, name, all) in [
        ("pictures", "tiny.jpg", true),
        ("pictures", "restarts.jpg", true),
        ("pictures", "cmyk.jpg", true),
        ("preprocess", "progressive.jpg", true),
        ("preprocess", "rgb_tiny.png", false),
        ("pictures", "la.png", false),
    ] {
        let file = bytes(folder, name);
        let whole = Image::decode(&file, name).unwrap();
        let mut opened = 0;
        for length in 0..file.len() {
            match Image::decode(&file[..length], name) {
                Ok(picture) => {
                    opened += 1;
                    assert_eq!(picture.rgb(), whole.rgb(), "{name}, {length} bytes");
                }
                Err(e) => assert!(matches!(e, Error::Image { .. })),
            }
        }
        // A PNG is whole once its samples are: the checksum and the end chunk add nothing.
        assert!(if all { opened == 0 } else { opened <= 24 }, "{name}: {opened} prefixes of {} opened", file.len());
    }
}

#[test]
fn a_webp_cut_anywhere_is_refused() {
    for name in ["lossy.webp", "lossless_exif8.webp", "animated.webp", "lossy_alpha.webp"] {
        let file = bytes("pictures", name);
        let whole = Image::decode(&file, name).unwrap();
        let opened: Vec<usize> = (0..file.len()).filter(|&n| Image::decode(&file[..n], name).is_ok_and(|p| p != whole)).collect();
        assert!(opened.is_empty(), "{name}: {opened:?} of {}", file.len());
    }
}

#[test]
fn files_that_are_no_pictures_are_refused_by_path() {
    let folder = std::env::temp_dir().join(format!("escnet-pictures-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        folder.join(name)
    };
    let png = bytes("preprocess", "rgb_tiny.png");
    assert_eq!(Image::open(write("png_called.jpg", &png)).unwrap(), open("preprocess", "rgb_tiny.png"));
    for (path, reason) in [
        (write("empty.png", b""), "empty"),
        (write("text.jpg", b"no picture at all"), "not a JPEG, PNG or WebP"),
        (write("gif.png", b"GIF89a\x01\0\x01\0\0\0\0;"), "not a JPEG, PNG or WebP"),
        (folder.clone(), "folder"),
    ] {
        match Image::open(&path) {
            Err(Error::Image { path: p, reason: r }) => assert!(p == path && r.contains(reason), "{r}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(Image::open(folder.join("absent.png")), Err(Error::Io { .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn damaged_pictures_never_panic() {
    for (folder, name) in [("pictures", "tiny.jpg"), ("preprocess", "rgb_tiny.png"), ("pictures", "lossy.webp"), ("pictures", "animated.webp")] {
        let file = bytes(folder, name);
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut damaged = file.clone();
                damaged[at] ^= flip;
                if let Err(e) = Image::decode(&damaged, name) {
                    assert!(!e.to_string().contains("the decoder failed"), "{name}: byte {at} ^ {flip:#x} makes the decoder panic");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_picture_or_an_error(magic in 0..4usize, tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let magic: &[u8] = [&b""[..], b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF\x40\0\0\0WEBPVP8 "][magic];
        let _ = Image::decode(&[magic, &tail].concat(), "noise");
    }
}
