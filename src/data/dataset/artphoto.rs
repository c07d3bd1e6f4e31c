//! ArtPhoto: `testImages_artphoto/<emotion>_<...>.jpg`, one of the eight emotions before the first underscore.

use super::listing::{Listing, pictures};
use crate::data::emotions;
use crate::error::Result;

/// The folder of the pictures.
pub const PICTURES: &str = "testImages_artphoto";

pub fn list(listing: &mut Listing) -> Result<()> {
    listing.classes = emotions::EIGHT.map(str::to_owned).to_vec();
    let within = listing.root.join(PICTURES);
    // The folder itself may have been named.
    let folder = if within.is_dir() { within } else { listing.root.clone() };
    for (name, path) in pictures(&folder)? {
        match name.split_once('_').and_then(|(emotion, _)| emotions::of_eight(emotion)) {
            Some(label) => drop(listing.push(&*name, path, label, None)),
            None => listing.problem(&folder, "(name)", format!("<emotion>_<...>, one of {}", emotions::EIGHT.join(", ")), format!("`{name}`")),
        }
    }
    Ok(())
}
