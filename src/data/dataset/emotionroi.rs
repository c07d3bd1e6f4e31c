//! EmotionROI: `images/<emotion>/<n>.jpg`, and `training_testing_split/{training,testing}.txt` with lines `<emotion>/<n>.jpg`. It
//! publishes no validation split. The maps of stimuli in `ground_truth/` are not read.

use super::Split;
use super::listing::{Listing, rows, text};
use crate::data::emotions;
use crate::error::Result;

/// The folder of the lists.
pub const SPLIT: &str = "training_testing_split";

pub fn list(listing: &mut Listing) -> Result<()> {
    listing.classes = emotions::SIX.map(str::to_owned).to_vec();
    for (name, split) in [("training.txt", Split::Train), ("testing.txt", Split::Test)] {
        let file = listing.root.join(SPLIT).join(name);
        for (record, line) in rows(&text(&file)?) {
            let emotion = line.split(['/', '\\']).next().unwrap_or_default();
            let Some(label) = emotions::position(&emotions::SIX, emotion) else {
                listing.problem(&file, record, format!("<emotion>/<file>, one of {}", emotions::SIX.join(", ")), format!("`{line}`"));
                continue;
            };
            if let Some(image) = listing.inside("images", line, (&file, &record)) {
                listing.push(line.replace('\\', "/"), image, label, Some(split));
            }
        }
    }
    Ok(())
}
