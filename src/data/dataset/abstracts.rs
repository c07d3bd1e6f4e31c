//! Abstract: `ABSTRACT_groundTruth.csv`, whose columns are the picture's name in quotes and the votes for each of the eight emotions, in the
//! order of its heading. The label is what most voted for; pictures with a tie have none and are left out: 228 of 280 stay.

use super::listing::{Listing, rows, text};
use crate::data::emotions;
use crate::error::Result;

/// The file of the votes.
pub const VOTES: &str = "ABSTRACT_groundTruth.csv";

/// Where the pictures may be, if not beside that file.
const PICTURES: &str = "testImages_abstract";

/// The order of the votes where there is no heading.
const USUAL: [usize; 8] = [0, 4, 1, 2, 5, 3, 6, 7];

pub fn list(listing: &mut Listing) -> Result<()> {
    listing.classes = emotions::EIGHT.map(str::to_owned).to_vec();
    let file = listing.root.join(VOTES);
    let folder = if listing.root.join(PICTURES).is_dir() { PICTURES } else { "" };
    let mut order = USUAL;
    for (row, (record, line)) in rows(&text(&file)?).enumerate() {
        // Quotes are single or double; no name holds a comma.
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches(['\'', '"']).trim()).collect();
        let Some((name, votes)) = cells.split_first().filter(|(_, votes)| votes.len() == emotions::EIGHT.len()) else {
            listing.problem(&file, record, "a name and eight counts of votes", format!("`{line}`"));
            continue;
        };
        if row == 0 && votes.iter().any(|cell| cell.parse::<f64>().is_err()) {
            let heading: Option<Vec<usize>> = votes.iter().map(|emotion| emotions::of_eight(emotion)).collect();
            match heading.and_then(|order| order.try_into().ok()).filter(complete) {
                Some(read) => order = read,
                None => listing.problem(&file, record, "a heading that names each of the eight emotions once", format!("`{line}`")),
            }
            continue;
        }
        let counts: Option<Vec<f64>> = votes.iter().map(|votes| votes.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0)).collect();
        let Some(counts) = counts else {
            listing.problem(&file, record, "counts of votes", format!("`{line}`"));
            continue;
        };
        let most = counts.iter().copied().fold(0.0, f64::max);
        let mut winners = order.iter().zip(&counts).filter(|(_, votes)| **votes == most).map(|(&emotion, _)| emotion);
        match (winners.next(), winners.next()) {
            (Some(label), None) => {
                if let Some(image) = listing.inside(folder, name, (&file, &record)) {
                    listing.push(*name, image, label, None);
                }
            }
            _ => listing.undecided += 1,
        }
    }
    Ok(())
}

fn complete(order: &[usize; 8]) -> bool {
    (0..order.len()).all(|emotion| order.contains(&emotion))
}
