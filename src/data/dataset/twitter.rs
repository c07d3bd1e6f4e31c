//! Twitter I: `Agg_AMT_Candidates/*.jpg`, and lists of those on which three, four or five of five people agreed, with lines `<file> <0|1>`.
//! 1 is positive. Other releases call the lists `twitter_three_agrees.txt` and have the pictures beside them.

use super::layout::Agreement;
use super::listing::{Listing, rows, text};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The folder of the pictures, where there is one.
const PICTURES: &str = "Agg_AMT_Candidates";

const POSITIVE: usize = 0;
const NEGATIVE: usize = 1;

/// Whether any of the lists is there.
pub fn any_list(root: &Path) -> bool {
    [Agreement::Three, Agreement::Four, Agreement::Five].into_iter().any(|agreement| find(root, agreement).is_some())
}

fn find(root: &Path, agreement: Agreement) -> Option<PathBuf> {
    let number = word(agreement);
    let names = [format!("{number}_agree.txt"), format!("twitter_{number}_agrees.txt"), format!("twitter_{number}_agree.txt")];
    names.into_iter().map(|name| root.join(name)).find(|file| file.is_file())
}

const fn word(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Three => "three",
        Agreement::Four => "four",
        Agreement::Five => "five",
    }
}

pub fn list(listing: &mut Listing, agreement: Agreement) -> Result<()> {
    listing.classes = ["positive", "negative"].map(str::to_owned).to_vec();
    let missing = || Error::io(listing.root.join(format!("{}_agree.txt", word(agreement))), std::io::ErrorKind::NotFound.into());
    let file = find(&listing.root, agreement).ok_or_else(missing)?;
    let folder = if listing.root.join(PICTURES).is_dir() { PICTURES } else { "" };
    for (record, line) in rows(&text(&file)?) {
        let said = line.rsplit_once(char::is_whitespace).and_then(|(name, said)| match said {
            "1" => Some((name.trim(), POSITIVE)),
            "0" => Some((name.trim(), NEGATIVE)),
            _ => None,
        });
        let Some((name, label)) = said else {
            listing.problem(&file, record, "<file> and 0 or 1", format!("`{line}`"));
            continue;
        };
        if let Some(image) = listing.inside(folder, name, (&file, &record)) {
            listing.push(name, image, label, None);
        }
    }
    Ok(())
}
