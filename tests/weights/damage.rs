//! Damaged files: every truncation and every flipped bit is a typed error, or reads as the safetensors crate reads it. Never a panic.

use crate::common::{Folder, bytes, file, golden, raw};
use escnet::Error;
use escnet::weights::{Part, Source, Wanted, WeightFile, load};
use proptest::prelude::*;

fn tiny() -> Vec<u8> {
    file(&[
        ("bn1.weight", "F32", vec![2], bytes(&[1.0, 2.0])),
        ("bn1.bias", "F16", vec![2], vec![0, 60, 0, 0]),
        ("bn1.num_batches_tracked", "I64", vec![], vec![9, 0, 0, 0, 0, 0, 0, 0]),
    ])
}

/// What the model asks of [`tiny`].
fn wanted() -> Vec<Wanted> {
    ["weight", "bias"].map(|leaf| Wanted { name: format!("backbone.bn1.{leaf}"), shape: [2].into(), part: Part::Backbone }).to_vec()
}

/// Opens and reads everything. Whatever is accepted, the crate accepts too, and reads alike.
fn survives(made: &[u8]) -> bool {
    match WeightFile::from_bytes("memory", made.to_vec()) {
        Err(Error::Weights { problems, .. }) => {
            assert!(!problems.is_empty());
            false
        }
        Err(other) => panic!("{other}"),
        Ok(file) => {
            let theirs = safetensors::SafeTensors::deserialize(made).unwrap();
            assert_eq!(theirs.len(), file.len());
            for name in file.names() {
                let (ours, theirs) = (file.tensor(name).unwrap(), theirs.tensor(name).unwrap());
                assert_eq!((ours.shape, ours.bytes), (theirs.shape(), theirs.data()));
                let _ = (ours.read(), ours.to_f32(), ours.first_not_finite());
            }
            true
        }
    }
}

#[test]
fn truncation() {
    let made = tiny();
    assert!(survives(&made));
    for length in 0..made.len() {
        assert!(!survives(&made[..length]), "cut to {length}");
    }
}

#[test]
fn truncation_on_disk() {
    let folder = Folder::new();
    let made = std::fs::read(golden("t2i_ce/model.safetensors")).unwrap();
    for length in (0..40_000).step_by(64).chain([made.len() / 2, made.len() - 1]) {
        let path = folder.put("cut.safetensors", &made[..length]);
        assert!(matches!(WeightFile::open(path), Err(Error::Weights { .. })), "cut to {length}");
    }
}

#[test]
fn a_flipped_bit() {
    let folder = Folder::new();
    let sound = tiny();
    for bit in 0..8 * sound.len() {
        let mut made = sound.clone();
        made[bit / 8] ^= 1 << (bit % 8);
        survives(&made);
        let path = folder.put("flipped.safetensors", &made);
        match load(&wanted(), &[Source::of(Part::Backbone, path)]) {
            Ok(loaded) => assert_eq!(&loaded.tensor("backbone.bn1.weight").unwrap().shape()[..], [2]),
            Err(Error::Weights { .. }) => {}
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(made in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&made);
    }

    #[test]
    fn any_header(header in "[ -~]{0,80}", data in proptest::collection::vec(any::<u8>(), 0..16)) {
        survives(&raw(&format!("{{{header}}}"), &data));
    }

    /// Entries that are nearly right.
    #[test]
    fn any_numbers(
        entries in proptest::collection::vec((0..3u8, 0..4usize, proptest::collection::vec(0..3u64, 0..3), 0..9u64, 0..17u64), 0..4),
        length in 0..17usize,
    ) {
        let text = entries.iter().map(|(name, dtype, shape, from, to)| {
            format!("\"t{name}\":{{\"dtype\":\"{}\",\"shape\":{shape:?},\"data_offsets\":[{from},{to}]}}", ["F32", "U8", "F16", "I64"][*dtype])
        });
        survives(&raw(&format!("{{{}}}", text.collect::<Vec<_>>().join(",")), &vec![0; length]));
    }

    #[test]
    fn any_bytes_changed(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut made = tiny();
        for (at, byte) in changes {
            let at = at.index(made.len());
            made[at] = byte;
        }
        survives(&made);
    }
}
