//! A folder for each class; FI is one, with the eight emotions.
//!
//! Where the folder holds nothing but `train/`, `val/` and `test/`, or some of them, each of those holds the folders of the classes, and
//! the split is published. An id is the picture's path below the root.

use super::listing::{Listing, entries, pictures};
use super::{Layout, Split};
use crate::data::emotions;
use crate::error::Result;
use std::path::{Path, PathBuf};

/// Whether the folder has one for each of the eight emotions, and no other.
pub fn is_fi(root: &Path) -> Result<bool> {
    let classes = folders(root)?;
    let mut found: Vec<_> = classes.iter().map(|(_, name, _)| emotions::of_eight(name)).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found.len() == emotions::EIGHT.len() && found.iter().all(Option::is_some))
}

pub fn list(listing: &mut Listing) -> Result<()> {
    let found = folders(&listing.root)?;
    let (mut classes, number) = emotions::classes(&found.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>());
    let eight = listing.layout == Layout::Fi;
    if eight {
        classes = emotions::EIGHT.map(str::to_owned).to_vec();
    }
    listing.classes = classes;
    for (split, name, folder) in found {
        let label = if eight { emotions::of_eight(&name) } else { number(&name) };
        let Some(label) = label else {
            listing.problem(&folder, "(folder)", format!("the name of one of {}", emotions::EIGHT.join(", ")), format!("`{name}`"));
            continue;
        };
        for (_, path) in pictures(&folder)? {
            listing.push(listing.relative(&path), path, label, split);
        }
    }
    Ok(())
}

/// The folders of the classes: split, name, path.
fn folders(root: &Path) -> Result<Vec<(Option<Split>, String, PathBuf)>> {
    let within = |folder: &Path| -> Result<Vec<(String, PathBuf)>> { Ok(entries(folder)?.into_iter().filter(|(_, path)| path.is_dir()).collect()) };
    let top = within(root)?;
    if top.is_empty() || top.iter().any(|(name, _)| Split::of(name).is_none()) {
        return Ok(top.into_iter().map(|(name, path)| (None, name, path)).collect());
    }
    let mut found = Vec::new();
    for (part, folder) in top {
        found.extend(within(&folder)?.into_iter().map(|(name, path)| (Split::of(&part), name, path)));
    }
    Ok(found)
}
