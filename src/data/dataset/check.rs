//! What is wrong with a data set, found by looking at every picture. Nothing is changed.
//!
//! Two pictures are *the same* where their files are, byte for byte. They are *alike* where their 64-bit difference hashes are equal: of the
//! picture at 9 x 8 pixels, whether each is darker than its neighbour to the right (Krawetz 2013). That says no more than that someone
//! should look. *Placeholders* are pictures of one colour, and files that occur [`MANY`] times or oftener, as the "image no longer
//! available" that Flickr served to those who collected FI. A *leak* is one picture, or one id, in two splits.

use super::{Entry, Listing, Split};
use crate::data::image::Image;
use crate::data::resize::{Filter, resize};
use crate::error::{Error, RecordProblem};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// A file that occurs so often shows nothing.
pub const MANY: usize = 5;

/// By how much the values of a channel may differ in a picture of one colour: what JPEG makes of a flat area.
const FLAT: u8 = 8;

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The layout's name.
    pub layout: &'static str,
    /// How many samples there are.
    pub samples: usize,
    /// The samples of each class.
    pub classes: Vec<Class>,
    /// How many samples each attribute is labelled on.
    pub attributes: BTreeMap<&'static str, usize>,
    /// Records without a single label, no part of the data set.
    pub undecided: usize,
    /// Records that cannot be used.
    pub malformed: Vec<RecordProblem>,
    /// Samples with another one's id.
    pub repeated_ids: Vec<RecordProblem>,
    /// Pictures that are not there.
    pub missing: Vec<Member>,
    /// Pictures that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Pictures that show nothing.
    pub placeholders: Vec<Placeholder>,
    /// Pictures that are the same, placeholders aside.
    pub duplicates: Vec<Vec<Member>>,
    /// Pictures that are alike but not all the same. No finding in itself.
    pub near_duplicates: Vec<Vec<Member>>,
    /// Pictures and ids that are in more than one split.
    pub leaks: Vec<Leak>,
}

/// How many samples of a class each split has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The splits.
pub struct Class {
    /// Its name.
    pub name: String,
    pub train: usize,
    pub val: usize,
    pub test: usize,
}

/// A sample in a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Its picture, below the root.
    pub image: String,
    /// The name of its class.
    pub class: String,
    /// Its split.
    pub split: Option<Split>,
}

/// A picture that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Whose it is.
    #[serde(flatten)]
    pub member: Member,
    /// What is wrong with it.
    pub reason: String,
}

/// A picture that shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placeholder {
    /// How that is known.
    pub why: &'static str,
    /// Whose it is.
    pub members: Vec<Member>,
}

/// One picture, or one id, in more than one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// What they share.
    pub shared: &'static str,
    /// Where it is.
    pub members: Vec<Member>,
}

impl Report {
    /// How many things should be mended before a result on the data set means anything. Pictures that are alike are not counted.
    pub fn findings(&self) -> usize {
        let rows = self.malformed.len() + self.repeated_ids.len();
        rows + self.missing.len() + self.unreadable.len() + self.placeholders.len() + self.duplicates.len() + self.leaks.len()
    }
}

/// Looks at every picture of a listing; `seen` is called after each, from several threads.
pub fn check(listing: &Listing, seen: &(dyn Fn() + Sync)) -> Report {
    let look = |entry: &Entry| {
        let found = Look::at(&entry.sample.image);
        seen();
        found
    };
    let looks: Vec<Look> = listing.entries.par_iter().map(look).collect();
    let member = |at: usize| {
        listing.entries.get(at).map(|entry| Member {
            id: entry.sample.id.clone(),
            image: listing.relative(&entry.sample.image),
            class: listing.classes.get(entry.sample.label).cloned().unwrap_or_default(),
            split: entry.split,
        })
    };
    let members = |group: &[usize]| -> Vec<Member> { group.iter().filter_map(|&at| member(at)).collect() };

    let mut report = tally(listing);
    let mut by_file: BTreeMap<(usize, u32), Vec<usize>> = BTreeMap::new();
    let mut by_hash: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, look) in looks.iter().enumerate() {
        match look {
            Look::Missing => report.missing.extend(member(at)),
            Look::Broken(reason) => report.unreadable.extend(member(at).map(|member| Unreadable { member, reason: reason.clone() })),
            Look::Seen(seen) => {
                by_file.entry(seen.file).or_default().push(at);
                match seen.hash {
                    Some(hash) => by_hash.entry(hash).or_default().push(at),
                    None => report.placeholders.push(Placeholder { why: "one colour", members: members(&[at]) }),
                }
            }
        }
    }
    let path = |at: &usize| listing.entries.get(*at).map(|entry| entry.sample.image.as_path());
    let mut groups: Vec<Vec<usize>> = by_file.into_values().flat_map(|group| same(group, path)).collect();
    groups.sort_unstable();
    for group in groups {
        let members = members(&group);
        // A row that is repeated is a repeated id, not another picture.
        if members.iter().map(|m| &m.id).collect::<BTreeSet<_>>().len() < 2 {
            continue;
        }
        if in_two_splits(&members) {
            report.leaks.push(Leak { shared: "picture", members: members.clone() });
        }
        if members.len() >= MANY {
            report.placeholders.push(Placeholder { why: "one file many times", members });
        } else {
            report.duplicates.push(members);
        }
    }
    for group in by_hash.into_values() {
        let files: BTreeSet<_> = group.iter().filter_map(|&at| looks.get(at).and_then(Look::file)).collect();
        if files.len() > 1 {
            report.near_duplicates.push(members(&group));
        }
    }
    report.near_duplicates.sort_by(|a, b| a.first().map(|m| &m.image).cmp(&b.first().map(|m| &m.image)));
    let mut by_id: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, entry) in listing.entries.iter().enumerate() {
        by_id.entry(&entry.sample.id).or_default().push(at);
    }
    let mut repeated: Vec<Vec<usize>> = by_id.into_values().filter(|group| group.len() > 1).collect();
    repeated.sort_unstable();
    let leaks = repeated.iter().map(|group| members(group)).filter(|members| in_two_splits(members));
    report.leaks.extend(leaks.map(|members| Leak { shared: "id", members }));
    report
}

/// What can be said without opening a picture.
fn tally(listing: &Listing) -> Report {
    let mut classes: Vec<Class> = listing.classes.iter().map(|name| Class { name: name.clone(), train: 0, val: 0, test: 0 }).collect();
    let mut attributes = BTreeMap::new();
    for Entry { sample, split } in &listing.entries {
        if let Some(class) = classes.get_mut(sample.label) {
            match split {
                Some(Split::Train) => class.train += 1,
                Some(Split::Val) => class.val += 1,
                Some(Split::Test) => class.test += 1,
                None => {}
            }
        }
        let given = &sample.attributes;
        for (name, given) in [
            ("brightness", given.brightness.is_some()),
            ("colorfulness", given.colorfulness.is_some()),
            ("scene", given.scene.is_some()),
            ("object", !given.object.is_empty()),
            ("facial_expression", given.facial_expression.is_some()),
            ("human_action", given.human_action.is_some()),
            ("caption", sample.caption.is_some()),
        ] {
            *attributes.entry(name).or_default() += usize::from(given);
        }
    }
    Report {
        layout: listing.layout.name(),
        samples: listing.entries.len(),
        classes,
        attributes,
        undecided: listing.undecided,
        malformed: listing.problems.clone(),
        repeated_ids: listing.repeated_ids(),
        missing: Vec::new(),
        unreadable: Vec::new(),
        placeholders: Vec::new(),
        duplicates: Vec::new(),
        near_duplicates: Vec::new(),
        leaks: Vec::new(),
    }
}

fn in_two_splits(members: &[Member]) -> bool {
    members.iter().any(|member| Some(member.split) != members.first().map(|first| first.split))
}

/// What a look at a picture file gives.
enum Look {
    Missing,
    Broken(String),
    Seen(Seen),
}

struct Seen {
    /// The file's length and checksum.
    file: (usize, u32),
    /// The difference hash; none where the picture is of one colour.
    hash: Option<u64>,
}

impl Look {
    fn at(path: &Path) -> Look {
        // Asked before it is opened: opening a named pipe would wait for a writer.
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Look::Missing,
            Ok(metadata) if !metadata.is_file() => return Look::Broken("is not a regular file".into()),
            _ => {}
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) => return Look::Broken(e.to_string()),
        };
        match Image::decode(&bytes, path) {
            Ok(picture) => Look::Seen(Seen { file: (bytes.len(), crc32c::crc32c(&bytes)), hash: (!is_flat(&picture)).then(|| hash(&picture)) }),
            Err(Error::Image { reason, .. }) => Look::Broken(reason),
            Err(other) => Look::Broken(other.to_string()),
        }
    }

    fn file(&self) -> Option<(usize, u32)> {
        match self {
            Look::Seen(seen) => Some(seen.file),
            _ => None,
        }
    }
}

/// Whether a picture is of one colour.
fn is_flat(picture: &Image) -> bool {
    let (mut least, mut most) = ([u8::MAX; 3], [0; 3]);
    for pixel in picture.rgb().chunks_exact(3) {
        for ((least, most), &value) in least.iter_mut().zip(&mut most).zip(pixel) {
            (*least, *most) = (value.min(*least), value.max(*most));
        }
    }
    least.iter().zip(most).all(|(least, most)| most - least <= FLAT)
}

/// The difference hash.
fn hash(picture: &Image) -> u64 {
    let whole = [0.0, 0.0, picture.width() as f64, picture.height() as f64];
    let small = resize(picture, Filter::Bilinear, whole, [9, 8], 0..9, 0..8);
    // ITU-R BT.601's luma, times 1000.
    let luma: Vec<u32> = small.chunks_exact(3).map(|p| 299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2])).collect();
    luma.chunks_exact(9).flat_map(|row| row.windows(2)).fold(0, |hash, pair| hash << 1 | u64::from(pair[0] < pair[1]))
}

/// Files of one length and checksum, sorted into those that are truly the same. Only groups of two or more; a file that has vanished since
/// is in none.
fn same<'a>(group: Vec<usize>, path: impl Fn(&usize) -> Option<&'a Path>) -> Vec<Vec<usize>> {
    if group.len() < 2 {
        return Vec::new();
    }
    let mut contents: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for at in group {
        let Some(bytes) = path(&at).and_then(|path| std::fs::read(path).ok()) else { continue };
        match contents.iter_mut().find(|(known, _)| *known == bytes) {
            Some((_, members)) => members.push(at),
            None => contents.push((bytes, vec![at])),
        }
    }
    contents.into_iter().map(|(_, members)| members).filter(|members| members.len() > 1).collect()
}
