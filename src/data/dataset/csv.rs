//! A CSV file with a heading: the columns `image` and `label`, and, where they are there, `caption`, `id` and `split`, in any order.
//!
//! Images are paths below the file's folder. Without `id` a picture's path is its id. A split is said of every row or of none.

use super::Split;
use super::listing::{Listing, text};
use crate::data::emotions;
use crate::error::{Error, RecordProblem, Result};
use ::csv::{ReaderBuilder, StringRecord, Trim};

pub fn list(listing: &mut Listing) -> Result<()> {
    let file = listing.source.clone();
    let text = text(&file)?;
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let whole = |record: &str, expected: &str, got: String| {
        let problem = RecordProblem { file: file.clone(), record: record.into(), expected: expected.into(), got };
        Error::Dataset { path: file.clone(), problems: vec![problem] }
    };
    let heading = reader.headers().map_err(|e| whole("row 1", "a heading", e.to_string()))?.clone();
    let column = |name: &str| heading.iter().position(|title| title.eq_ignore_ascii_case(name));
    let (Some(image), Some(label)) = (column("image"), column("label")) else {
        return Err(whole("row 1", "a heading with `image` and `label`", format!("`{}`", heading.iter().collect::<Vec<_>>().join(","))));
    };
    let (caption, id, split) = (column("caption"), column("id"), column("split"));

    let mut records: Vec<(String, StringRecord)> = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(|e| whole("(file)", "comma-separated values", e.to_string()))?;
        let row = format!("row {}", record.position().map_or(0, |p| p.line()));
        let full = record.get(label).is_some_and(|label| !label.is_empty()) && record.get(image).is_some_and(|image| !image.is_empty());
        if full && record.len() <= heading.len() {
            records.push((row, record));
        } else {
            let got = record.iter().collect::<Vec<_>>().join(",");
            listing.problem(&file, row, format!("an image, a label and {} values in all", heading.len()), format!("`{got}`"));
        }
    }
    let (classes, number) = emotions::classes(&records.iter().filter_map(|(_, record)| record.get(label)).collect::<Vec<_>>());
    listing.classes = classes;
    for (row, record) in &records {
        let said = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|cell| !cell.is_empty());
        let part = match split {
            None => None,
            Some(_) => match said(split).and_then(Split::of) {
                Some(part) => Some(part),
                None => {
                    listing.problem(&file, row, "train, val or test as `split`", format!("`{}`", said(split).unwrap_or_default()));
                    continue;
                }
            },
        };
        let (Some(path), Some(label)) = (said(Some(image)), said(Some(label)).and_then(&number)) else { continue };
        if let Some(image) = listing.inside("", path, (&file, row)) {
            listing.push(said(id).unwrap_or(path), image, label, part).caption = said(caption).map(str::to_owned);
        }
    }
    Ok(())
}
