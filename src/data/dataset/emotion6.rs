//! Emotion6: `images/<emotion>/<n>.jpg`, and `ground_truth.txt`, whose tab-separated columns are the file, valence, arousal and the share of
//! votes for each of Ekman's six emotions and for neutral.
//!
//! The label is the emotion with the largest share, neutral left out; of equal ones the emotion whose folder the picture is in, which its
//! makers had searched for, else the first. (That search word alone is what others take for the label.)

use super::listing::{Listing, rows, text};
use crate::data::emotions;
use crate::error::Result;

/// The file of the votes.
pub const TRUTH: &str = "ground_truth.txt";

/// The first column of the shares, after file, valence and arousal.
const SHARES: usize = 3;

pub fn list(listing: &mut Listing) -> Result<()> {
    listing.classes = emotions::SIX.map(str::to_owned).to_vec();
    let file = listing.root.join(TRUTH);
    for (row, (record, line)) in rows(&text(&file)?).enumerate() {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let (Some(path), Some(shares)) = (cells.first(), shares(&cells)) else {
            // The first row may be a heading.
            if row > 0 || cells.get(1).is_some_and(|valence| valence.parse::<f64>().is_ok()) {
                listing.problem(
                    &file,
                    record,
                    "file, valence, arousal, six or seven shares from 0 to 1, not all 0, tabs between",
                    format!("`{line}`"),
                );
            }
            continue;
        };
        let searched = path.split(['/', '\\']).next().and_then(|folder| emotions::position(&emotions::SIX, folder));
        let largest = shares.iter().copied().fold(0.0, f64::max);
        let mut tied = (0..emotions::SIX.len()).filter(|&e| shares[e] == largest);
        let label = searched.filter(|&e| shares[e] == largest).or_else(|| tied.next());
        if let (Some(image), Some(label)) = (listing.inside("images", path, (&file, &record)), label) {
            listing.push(path.replace('\\', "/"), image, label, None);
        }
    }
    Ok(())
}

/// The shares of the six.
fn shares(cells: &[&str]) -> Option<[f64; 6]> {
    let numbers: Option<Vec<f64>> = cells.get(SHARES..)?.iter().map(|cell| cell.parse().ok().filter(|share| (0.0..=1.0).contains(share))).collect();
    let numbers = numbers.filter(|numbers| matches!(numbers.len(), 6 | 7))?;
    numbers.first_chunk().copied().filter(|six| six.iter().any(|&share| share > 0.0))
}
