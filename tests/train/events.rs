//! Event files, taken apart again.

use crate::common::Folder;
use escnet::train::events::EventWriter;
use std::path::{Path, PathBuf};

/// CRC-32C bit by bit, from its polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), shift))
}

/// A record's bytes, its checksums having been found right.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut take = |n: usize| {
        let (front, rest) = bytes.split_at(n);
        bytes = rest;
        (front.to_vec(), rest.is_empty())
    };
    let right = |of: &[u8], sum: &[u8]| {
        let unmasked = u32::from_le_bytes(sum.try_into().unwrap()).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked, crc32c(of));
    };
    loop {
        let (length, _) = take(8);
        right(&length, &take(4).0);
        let (data, _) = take(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (sum, end) = take(4);
        right(&data, &sum);
        records.push(data);
        if end {
            return records;
        }
    }
}

/// The fields of a protobuf message: their numbers, and what they hold as bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        fields.push((key >> 3, value.to_vec()));
        bytes = rest;
    }
    fields
}

/// The curves of a folder as TensorBoard has them, each value's tag and step: a run that goes on makes it forget that step and those after.
pub fn curves(folder: &Path) -> Vec<(String, u64)> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().contains("tfevents")).collect();
    files.sort();
    let mut curves = Vec::new();
    for event in files.iter().flat_map(|file| records(&std::fs::read(file).unwrap())) {
        match &fields(&event)[..] {
            [_, (2, step), (7, _)] => curves.retain(|(_, before)| *before < number(step)),
            [_, (2, step), (5, summary)] => curves.push((String::from_utf8(fields(&fields(summary)[0].1)[0].1.clone()).unwrap(), number(step))),
            _ => (),
        }
    }
    curves.sort();
    curves
}

#[test]
fn scalars_come_back() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the polynomial's published check value");
    let folder = Folder::new();
    let mut events = EventWriter::create(&folder.join("events"), 1_700_000_000.25).unwrap();
    let long = "x".repeat(300);
    let written =
        [("train/loss", 1, 2.5f32, 1.5), ("val/accuracy", 127, 0.25, 2.5), ("rate", 300, 1e-4, 3.5), (&long, u64::from(u32::MAX) + 7, f32::NAN, 4.5)];
    for (tag, step, value, time) in written {
        events.scalar(tag, step, value, time).unwrap();
    }
    events.flush().unwrap();
    let name = events.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(name, "events.out.tfevents.1700000000.escnet.0");
    let records = records(&std::fs::read(events.path()).unwrap());
    let version = [(1, 1_700_000_000.25f64.to_le_bytes().to_vec()), (3, b"brain.Event:2".to_vec())];
    assert_eq!(fields(&records[0]), version);
    assert_eq!(records.len(), 1 + written.len());
    for (record, (tag, step, value, time)) in records[1..].iter().zip(written) {
        let event = fields(record);
        assert_eq!(event[..2], [(1, time.to_le_bytes().to_vec()), (2, step.to_le_bytes().to_vec())]);
        let summary = fields(&event[2].1);
        assert_eq!((event[2].0, event.len(), summary[0].0, summary.len()), (5, 3, 1, 1));
        assert_eq!(fields(&summary[0].1), [(1, tag.as_bytes().to_vec()), (2, value.to_le_bytes().to_vec())]);
    }
}

#[test]
fn a_resumed_run_writes_another_file() {
    let folder = Folder::new();
    let mut first = EventWriter::create(folder.path(), 50.0).unwrap();
    first.scalar("loss", 1, 1.0, 50.5).unwrap();
    first.flush().unwrap();
    let before = std::fs::read(first.path()).unwrap();
    let mut second = EventWriter::create(folder.path(), 50.9).unwrap();
    second.resumed(9, 51.0).unwrap();
    second.flush().unwrap();
    assert!(second.path() > first.path(), "TensorBoard reads by name");
    assert_eq!(std::fs::read(first.path()).unwrap(), before);
    let again = fields(&records(&std::fs::read(second.path()).unwrap())[1]);
    assert_eq!(again[1], (2, 9u64.to_le_bytes().to_vec()));
    assert_eq!((again[2].0, fields(&again[2].1)), (7, vec![(1, 1u64.to_le_bytes().to_vec())]));
}
