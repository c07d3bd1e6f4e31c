//! What the files of a data set say, before it is judged.

use super::split::{self, Assignment};
use super::{Layout, OpenOptions, Sample, Split};
use crate::data::attributes::Attributes;
use crate::error::{Error, RecordProblem, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// What a picture's name ends in.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// What the files of a data set say, with everything that is wrong with them. Ids may still repeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// Its folder.
    pub root: PathBuf,
    /// The file that lists all, for a CSV; else the folder.
    pub source: PathBuf,
    /// How it lies on disk.
    pub layout: Layout,
    /// The names of its classes, in the order of the labels.
    pub classes: Vec<String>,
    /// Its samples, in the order of the files that list them.
    pub entries: Vec<Entry>,
    /// The records that cannot be used.
    pub problems: Vec<RecordProblem>,
    /// Records that have no single label, as the tied votes of Abstract, and are no part of the data set.
    pub undecided: usize,
}

/// A sample and where it belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The sample.
    pub sample: Sample,
    /// Its split.
    pub split: Option<Split>,
}

impl Listing {
    /// Reads what the files of a data set say, and gives every sample a split.
    ///
    /// # Errors
    /// [`Error::Io`] where a file of the layout cannot be read; [`Error::Dataset`] where one is not of its form at all, or
    /// the split file does not fit; [`Error::Argument`] for a `validation` out of range.
    pub fn read(root: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let source = root.as_ref();
        if !(0.0..1.0).contains(&options.validation) {
            let got = options.validation.to_string();
            return Err(Error::Argument { name: "validation", expected: "a part of 0 or more, below 1".into(), got });
        }
        let layout = options.layout.map_or_else(|| Layout::detect(source), Ok)?;
        let root = if layout == Layout::Csv { source.parent().unwrap_or(Path::new("")) } else { source };
        let (entries, problems) = (Vec::new(), Vec::new());
        let mut listing = Listing { root: root.into(), source: source.into(), layout, classes: Vec::new(), entries, problems, undecided: 0 };
        layout.list(&mut listing, options)?;
        if listing.entries.is_empty() && listing.problems.is_empty() {
            listing.problem(source, "(all)", format!("pictures in the layout `{}`", layout.name()), "none");
        }
        match &options.split_file {
            Some(file) => Assignment::open(file)?.apply(&mut listing.entries, file)?,
            None => split::complete(&mut listing.entries, options.seed, options.validation),
        }
        Ok(listing)
    }

    /// The samples whose id another one before them has.
    pub fn repeated_ids(&self) -> Vec<RecordProblem> {
        let mut first: HashMap<&str, &Sample> = HashMap::new();
        let mut problems = Vec::new();
        for Entry { sample, .. } in &self.entries {
            match first.get(sample.id.as_str()) {
                None => drop(first.insert(&sample.id, sample)),
                Some(before) => problems.push(RecordProblem {
                    file: self.source.clone(),
                    record: format!("`{}`", sample.id),
                    expected: "an id that no other sample has".into(),
                    got: format!("that of {}, again for {}", self.relative(&before.image), self.relative(&sample.image)),
                }),
            }
        }
        problems
    }

    /// A path as it stands below the root, with `/` between its parts.
    pub fn relative(&self, path: &Path) -> String {
        below(&self.root, path)
    }

    /// Notes a sample.
    pub(super) fn push(&mut self, id: impl Into<String>, image: PathBuf, label: usize, split: Option<Split>) -> &mut Sample {
        let sample = Sample { id: id.into(), image, label, attributes: Attributes::default(), caption: None };
        self.entries.push(Entry { sample, split });
        let last = self.entries.len() - 1;
        &mut self.entries[last].sample
    }

    /// Notes a record that cannot be used.
    pub(super) fn problem(&mut self, file: &Path, record: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) {
        self.problems.push(RecordProblem { file: file.into(), record: record.into(), expected: expected.into(), got: got.into() });
    }

    /// The file that a record names by its path below `folder` of the data set; none, and a problem noted, where that leads out of it.
    pub(super) fn inside(&mut self, folder: &str, path: &str, (file, record): (&Path, &str)) -> Option<PathBuf> {
        let found = inside(&self.root.join(folder), path);
        if found.is_none() {
            self.problem(file, record, "a path within the data set's folder", format!("`{path}`"));
        }
        found
    }
}

/// A path below the root, with `/` between its parts; whole where it is not below.
pub fn below(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// `folder` and a path that stays in it. Data sets come from elsewhere: their rows must not make anyone read what is not theirs.
pub(super) fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    // Some lists were written on Windows.
    let path = path.trim().replace('\\', "/");
    let plain = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let drive = path.split('/').next().is_some_and(|first| first.contains(':'));
    (plain && !drive && !path.is_empty() && !path.contains('\0')).then(|| folder.join(path))
}

/// The text of a file, without the mark some editors put at its beginning.
pub(super) fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let wrong = |e: std::string::FromUtf8Error| {
        let line = e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|&&b| b == b'\n').count() + 1;
        let problem = RecordProblem { file: path.into(), record: format!("row {line}"), expected: "UTF-8".into(), got: "other bytes".into() };
        Error::Dataset { path: path.into(), problems: vec![problem] }
    };
    let text = String::from_utf8(bytes).map_err(wrong)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The lines of a text that say something, with their numbers.
pub(super) fn rows(text: &str) -> impl Iterator<Item = (String, &str)> {
    (1..).zip(text.lines()).map(|(number, line)| (format!("row {number}"), line.trim())).filter(|(_, line)| !line.is_empty())
}

/// The entries of a folder that are not hidden, sorted by name: (name, path).
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let listed = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let named = listed.map_err(|e| Error::io(folder, e))?.into_iter().map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()));
    let mut entries: Vec<_> = named.filter(|(name, _)| !name.starts_with('.')).collect();
    entries.sort();
    Ok(entries)
}

/// The pictures in a folder, sorted by name: (name, path).
pub(super) fn pictures(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let is_picture =
        |path: &Path| path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)));
    Ok(entries(folder)?.into_iter().filter(|(_, path)| is_picture(path) && !path.is_dir()).collect())
}
