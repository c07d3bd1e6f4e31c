//! Alterations of pictures: each as in Pillow and torchvision, each as often and as strong as it is asked for.

use crate::folder::golden;
use escnet::data::augment::{Address, Augment};
use escnet::data::colour::Colour;
use escnet::data::preprocess::Preprocess;
use escnet::{Error, Image};
use safetensors::SafeTensors;

/// The golden file, and its picture.
fn with_golden(work: impl FnOnce(&SafeTensors, &Image)) {
    let bytes = std::fs::read(golden("augment/augment.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let picture = file.tensor("picture").unwrap();
    let image = Image::from_rgb(picture.shape()[1], picture.shape()[0], picture.data().to_vec()).unwrap();
    work(&file, &image);
}

#[track_caller]
fn equal(got: &[u8], want: &[u8], what: &str) {
    let off = got.iter().zip(want).filter(|(a, b)| a != b).count();
    let most = got.iter().zip(want).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(got.len() == want.len() && off == 0, "{what}: {off} of {} differ, by at most {most:?}", want.len());
}

#[test]
fn parts_are_resized_as_in_pillow() {
    with_golden(|file, picture| {
        let mut seen = 0;
        for name in file.names().into_iter().filter(|name| name.starts_with("box/")) {
            let parts: Vec<&str> = name.split('/').collect();
            let size = parts[1].parse().unwrap();
            let prepare = if parts[2] == "bilinear" { Preprocess::classify(size) } else { Preprocess::caption(size) }.unwrap();
            let part: Vec<f64> = parts[3].split('_').map(|v| v.parse().unwrap()).collect();
            let got = prepare.square_of(picture, part.try_into().unwrap()).unwrap();
            equal(&got, file.tensor(name).unwrap().data(), name);
            seen += 1;
        }
        assert_eq!(seen, 32);
        let prepare = Preprocess::classify(8).unwrap();
        for part in [[0.0, 0.0, 62.0, 45.0], [-1.0, 0.0, 5.0, 5.0], [5.0, 5.0, 5.0, 9.0], [0.0, 9.0, 5.0, 5.0], [f64::NAN, 0.0, 5.0, 5.0]] {
            assert!(matches!(prepare.square_of(picture, part), Err(Error::Argument { name: "part", .. })), "{part:?}");
        }
    });
}

#[test]
fn colours_change_as_in_torchvision() {
    with_golden(|file, picture| {
        let mut seen = 0;
        for name in file.names() {
            let Some((op, factor)) = name.split_once('/').filter(|(op, _)| *op != "box") else { continue };
            let factor: f64 = factor.parse().unwrap();
            let colour = match op {
                "brightness" => Colour::Brightness(factor as f32),
                "contrast" => Colour::Contrast(factor as f32),
                "saturation" => Colour::Saturation(factor as f32),
                _ => Colour::Hue(factor),
            };
            let mut got = picture.rgb().to_vec();
            colour.apply(&mut got);
            equal(&got, file.tensor(name).unwrap().data(), name);
            seen += 1;
        }
        assert_eq!(seen, 17);
    });
}

fn address(index: u32) -> Address {
    Address { seed: 7, epoch: 3, index, repeat: 0 }
}

/// A mean lies within five of its standard errors.
#[track_caller]
fn mean_is(values: impl Iterator<Item = f64>, mean: f64, deviation: f64) {
    let values: Vec<f64> = values.collect();
    let got = values.iter().sum::<f64>() / values.len() as f64;
    assert!((got - mean).abs() < 5.0 * deviation / (values.len() as f64).sqrt(), "{got}, not {mean}");
}

/// The deviation of a uniform number.
fn uniform(low: f64, high: f64) -> f64 {
    (high - low) / 12f64.sqrt()
}

#[test]
fn alterations_are_as_frequent_and_strong_as_asked_for() {
    let all = Augment { crop: Some([0.3, 0.9]), flip: 0.3, shift: 4, brightness: 0.4, contrast: 1.5, saturation: 0.2, hue: 0.1, ramp: 0.0 };
    all.check().unwrap();
    let (w, h) = (300.0, 250.0);
    let drawn: Vec<_> = (0..20_000).map(|i| all.draw(300, 250, address(i))).collect();
    mean_is(drawn.iter().map(|d| f64::from(u8::from(d.flip))), 0.3, 0.3f64.mul_add(0.7, 0.0).sqrt());
    for axis in [0, 1] {
        let shifts = drawn.iter().map(|d| d.shift[axis]);
        assert_eq!((shifts.clone().min(), shifts.clone().max()), (Some(-4), Some(4)));
        mean_is(shifts.map(|s| (s * s) as f64), 60.0 / 9.0, 6.0);
    }
    let mut areas = Vec::new();
    for d in &drawn {
        let [left, top, right, bottom] = d.part.unwrap();
        assert!(left >= 0.0 && top >= 0.0 && right <= w && bottom <= h);
        assert!([left, top, right, bottom].iter().all(|v| v.fract() == 0.0));
        let (pw, ph) = (right - left, bottom - top);
        assert!((0.74..1.35).contains(&(pw / ph)), "{pw} x {ph}");
        areas.push(pw * ph / (w * h));
    }
    assert!(areas.iter().all(|a| (0.295..0.905).contains(a)));
    // Parts that reach out are drawn again, which are the large ones; the small ones are drawn evenly.
    let small: Vec<f64> = areas.iter().copied().filter(|a| *a < 0.6).collect();
    mean_is(small.into_iter(), 0.45, uniform(0.3, 0.6) + 0.01);
    // Everywhere: the middle of all parts is the picture's.
    mean_is(drawn.iter().map(|d| d.part.unwrap()).map(|[l, _, r, _]| (l + r) / 2.0), 150.0, 60.0);

    let mut firsts = [0; 4];
    let mut factors: [Vec<f64>; 4] = Default::default();
    for d in &drawn {
        assert_eq!(d.colours.len(), 4);
        for (at, colour) in d.colours.iter().enumerate() {
            let (kind, factor) = match *colour {
                Colour::Brightness(f) => (0, f.into()),
                Colour::Contrast(f) => (1, f.into()),
                Colour::Saturation(f) => (2, f.into()),
                Colour::Hue(f) => (3, f),
            };
            firsts[kind] += usize::from(at == 0);
            factors[kind].push(factor);
        }
    }
    assert!(firsts.iter().all(|n| n.abs_diff(5000) < 310), "{firsts:?}");
    for (factors, (low, high)) in factors.into_iter().zip([(0.6, 1.4), (0.0, 2.5), (0.8, 1.2), (-0.1, 0.1)]) {
        assert!(factors.iter().all(|f| (low - 1e-6..high + 1e-6).contains(f)));
        mean_is(factors.into_iter(), (low + high) / 2.0, uniform(low, high));
    }
}

#[test]
fn every_part_of_the_address_counts_and_no_alteration_disturbs_another() {
    let all = Augment { crop: Some([0.3, 0.9]), flip: 0.5, shift: 9, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, ramp: 0.0 };
    let base = all.draw(300, 250, address(5));
    for other in [
        Address { seed: 8, ..address(5) },
        Address { seed: 7 + (1 << 32), ..address(5) },
        Address { epoch: 4, ..address(5) },
        Address { epoch: 3 + (1 << 32), ..address(5) },
        Address { repeat: 1, ..address(5) },
        address(6),
    ] {
        let drawn = all.draw(300, 250, other);
        assert!(drawn.part != base.part && drawn.colours != base.colours, "{other:?}");
    }
    let only = |augment: Augment| augment.draw(300, 250, address(5));
    assert_eq!(only(Augment { crop: all.crop, ..Augment::default() }).part, base.part);
    assert_eq!(only(Augment { shift: 9, ..Augment::default() }).shift, base.shift);
    let hue = only(Augment { hue: 0.1, ..Augment::default() }).colours;
    assert!(hue.len() == 1 && base.colours.contains(&hue[0]));
}

#[test]
fn thin_pictures_are_cut_in_the_middle() {
    let whole = Augment { crop: Some([1.0, 1.0]), ..Augment::default() };
    // No part of all the area has proportions of 3/4 to 4/3.
    assert_eq!(whole.draw(900, 30, address(0)).part, Some([430.0, 0.0, 470.0, 30.0]));
    assert_eq!(whole.draw(30, 900, address(0)).part, Some([0.0, 430.0, 30.0, 470.0]));
    for (w, h) in [(65_535, 1), (1, 65_535), (1, 1)] {
        let picture = Image::from_rgb(w, h, vec![9; w * h * 3]).unwrap();
        for i in 0..20 {
            let drawn = Augment { crop: Some([0.01, 1.0]), ..Augment::default() }.draw(w, h, address(i));
            let square = drawn.apply(&picture, &Preprocess::classify(4).unwrap()).unwrap();
            assert!(square.iter().all(|&v| v == 9));
        }
    }
}

#[test]
fn flips_and_shifts_move_pixels_and_repeat_edges() {
    let size = 8;
    let bytes: Vec<u8> = (0..size * size * 3).map(|i| i as u8).collect();
    let picture = Image::from_rgb(size, size, bytes.clone()).unwrap();
    // Of its own size a picture stays as it is.
    let prepare = Preprocess::caption(size).unwrap();
    let moving = Augment { flip: 0.5, shift: 7, ..Augment::default() };
    let mut flips = 0;
    for i in 0..200 {
        let drawn = moving.draw(size, size, address(i));
        let got = drawn.apply(&picture, &prepare).unwrap();
        for (y, x) in (0..size * size).map(|i| (i / size, i % size)) {
            let from = |to: usize, by: i64| (to as i64 - by).clamp(0, size as i64 - 1) as usize;
            let (fy, fx) = (from(y, drawn.shift[1]), from(x, drawn.shift[0]));
            let fx = if drawn.flip { size - 1 - fx } else { fx };
            assert_eq!(got[(y * size + x) * 3..][..3], bytes[(fy * size + fx) * 3..][..3], "{drawn:?} at {x}, {y}");
        }
        flips += usize::from(drawn.flip);
    }
    assert!((60..140).contains(&flips));
}

#[test]
fn nothing_is_altered_unless_asked_for() {
    with_golden(|_, picture| {
        for prepare in [Preprocess::classify(20).unwrap(), Preprocess::caption(20).unwrap()] {
            let drawn = Augment::default().draw(picture.width(), picture.height(), address(0));
            assert_eq!(drawn.apply(picture, &prepare).unwrap(), prepare.square(picture));
        }
    });
}

#[test]
fn values_out_of_range_are_named() {
    let off = Augment::default;
    let wrong = [
        (Augment { crop: Some([0.0, 1.0]), ..off() }, "augment.crop"),
        (Augment { crop: Some([0.5, 0.4]), ..off() }, "augment.crop"),
        (Augment { crop: Some([0.5, 1.1]), ..off() }, "augment.crop"),
        (Augment { crop: Some([f64::NAN, 1.0]), ..off() }, "augment.crop"),
        (Augment { flip: 1.5, ..off() }, "augment.flip"),
        (Augment { flip: f64::NAN, ..off() }, "augment.flip"),
        (Augment { brightness: -0.1, ..off() }, "augment.brightness"),
        (Augment { contrast: f64::INFINITY, ..off() }, "augment.contrast"),
        (Augment { saturation: f64::NAN, ..off() }, "augment.saturation"),
        (Augment { hue: 0.6, ..off() }, "augment.hue"),
    ];
    for (augment, field) in wrong {
        assert!(matches!(augment.check(), Err(Error::Argument { name, .. }) if name == field), "{augment:?}");
    }
    let read: Augment = toml::from_str("crop = [0.5, 1.0]\nflip = 0.5").unwrap();
    assert_eq!(read, Augment { crop: Some([0.5, 1.0]), flip: 0.5, ..off() });
    assert_eq!(toml::from_str::<Augment>("").unwrap(), off());
    assert!(toml::from_str::<Augment>("flop = 0.5").is_err());
}

#[test]
fn alterations_grow_over_their_ramp() {
    let full = Augment { crop: Some([0.5, 1.0]), shift: 8, hue: 0.5, brightness: 0.4, ..Augment::default() };
    let ramped = Augment { ramp: 10.0, ..full.clone() };
    let drawn = |a: &Augment, epoch, index| a.draw(64, 64, Address { seed: 1, epoch, index, repeat: 0 });
    let farthest = |epoch| (0..200).flat_map(|i| drawn(&ramped, epoch, i).shift).map(i64::abs).max().unwrap();
    let smallest = |epoch| (0..200).filter_map(|i| drawn(&ramped, epoch, i).part).map(|[l, t, r, b]| (r - l) * (b - t) / 4096.0).fold(1.0, f64::min);
    assert_eq!([0, 1, 5, 10, 50].map(farthest), [0, 1, 4, 8, 8]);
    assert!(smallest(0) > 0.99 && (0.7..0.85).contains(&smallest(5)) && smallest(10) < 0.6);
    assert!((0..50).all(|i| drawn(&ramped, 10, i) == drawn(&full, 10, i) && drawn(&ramped, 0, i).colours.is_empty()));
}
