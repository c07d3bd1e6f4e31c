//! From files to a model's tensors: everything is checked before anything is handed out.

use super::WEIGHTS_FILE;
use super::file::{TensorView, WeightFile};
use super::manifest::Wanted;
use super::names::{Meaning, Part, meaning};
use crate::error::{Error, Result, WeightProblem};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A file of weights, and which part of the model it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The part whose names the file uses; none where it may hold any.
    pub part: Option<Part>,
    /// A safetensors file, or a folder with a `model.safetensors`.
    pub path: PathBuf,
}

impl Source {
    /// A file that may hold any part.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Source { part: None, path: path.into() }
    }

    /// A file of one part. What it holds of others is ignored, with a note.
    pub fn of(part: Part, path: impl Into<PathBuf>) -> Self {
        Source { part: Some(part), path: path.into() }
    }
}

/// Finds every tensor of the manifest in the files. Parts that the manifest has nothing of are not looked at.
///
/// # Errors
/// [`Error::Io`] where a file cannot be read; else one [`Error::Weights`] with every tensor that is missing, unexpected, mis-shaped,
/// there twice, not finite, of a type that is none of f32, f16 and bf16, or a copy that differs from its original. Of a problem with a tensor in a file
/// the name is the file's; of a missing tensor, and of one there twice, the model's.
pub fn load(manifest: &[Wanted], sources: &[Source]) -> Result<Loaded> {
    load_opened(manifest, sources.iter().map(|source| source.part).zip(open(sources)?).collect())
}

/// [`load`] from files that are open already, each with the part of the model it is for.
///
/// # Errors
/// As [`load`].
pub fn load_opened(manifest: &[Wanted], files: Vec<(Option<Part>, WeightFile)>) -> Result<Loaded> {
    let (parts, files): (Vec<Option<Part>>, Vec<WeightFile>) = files.into_iter().unzip();
    let mut search = Search::new(manifest, &files);
    for (i, part) in parts.into_iter().enumerate() {
        search.sort_out(i, part);
    }
    search.place_copies();
    search.check();
    let Search { found, notes, mut problems, .. } = search;
    if !problems.is_empty() {
        problems.sort_by_cached_key(ToString::to_string);
        return Err(Error::weights(joined(files.iter().map(WeightFile::path)), problems));
    }
    let places = found.into_iter().map(|(name, place)| (name.to_owned(), place)).collect();
    let notes = notes.into_iter().map(|((file, reason), names)| note(files[file].path(), reason, &names)).collect();
    Ok(Loaded { order: manifest.iter().map(|w| w.name.clone()).collect(), files, places, notes })
}

/// The tensors of a model, found and checked but not yet read. Keeps its files open.
#[derive(Debug)]
pub struct Loaded {
    files: Vec<WeightFile>,
    places: HashMap<String, Place>,
    order: Vec<String>,
    notes: Vec<String>,
}

impl Loaded {
    /// The tensor the model calls so, as f32.
    ///
    /// # Errors
    /// [`Error::Weights`] where the manifest had no such tensor, or where its file has been cut meanwhile.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let tensor = self.view(name)?.to_f32()?;
        if let Some(place) = self.places.get(name) {
            self.files[place.file].forget(&place.name);
        }
        Ok(tensor)
    }

    /// The tensor the model calls so, as its file has it.
    ///
    /// # Errors
    /// As for [`Loaded::tensor`].
    pub fn view(&self, name: &str) -> Result<TensorView<'_>> {
        let Some(place) = self.places.get(name) else {
            let missing = WeightProblem::Missing { name: name.into(), expected: "in the manifest".into() };
            return Err(Error::weights(self.files.first().map_or(Path::new(""), WeightFile::path), vec![missing]));
        };
        self.files[place.file].tensor(&place.name)
    }

    /// The names of the tensors, in the manifest's order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }

    /// What the files held that was left aside, a line for each reason; for standard error.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Where a tensor was found.
#[derive(Debug, Clone)]
struct Place {
    file: usize,
    name: String,
}

/// Opens all files, or tells what is wrong with any of them.
fn open(sources: &[Source]) -> Result<Vec<WeightFile>> {
    let mut files = Vec::new();
    let mut broken: Vec<(PathBuf, Vec<WeightProblem>)> = Vec::new();
    for Source { path, .. } in sources {
        let path = if path.is_dir() { path.join(WEIGHTS_FILE) } else { path.clone() };
        match WeightFile::open(&path) {
            Ok(file) => files.push(file),
            Err(Error::Weights { path, problems }) => broken.push((path, problems)),
            Err(other) => return Err(other),
        }
    }
    match broken.len() {
        0 => Ok(files),
        _ => {
            let path = joined(broken.iter().map(|(path, _)| path.as_path()));
            Err(Error::weights(path, broken.into_iter().flat_map(|(_, problems)| problems).collect()))
        }
    }
}

/// The search for the manifest's tensors, as far as it got.
struct Search<'a> {
    files: &'a [WeightFile],
    wanted: HashMap<&'a str, &'a Wanted>,
    parts: HashSet<Part>,
    found: HashMap<&'a str, Place>,
    /// Second copies, with the name of the original.
    copies: Vec<(&'a str, Place)>,
    /// Names left aside, by file and reason.
    notes: BTreeMap<(usize, &'static str), Vec<String>>,
    problems: Vec<WeightProblem>,
}

impl<'a> Search<'a> {
    fn new(manifest: &'a [Wanted], files: &'a [WeightFile]) -> Self {
        Search {
            files,
            wanted: manifest.iter().map(|w| (w.name.as_str(), w)).collect(),
            parts: manifest.iter().map(|w| w.part).collect(),
            found: HashMap::new(),
            copies: Vec::new(),
            notes: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Puts each tensor of a file in its place, or aside.
    fn sort_out(&mut self, file: usize, part: Option<Part>) {
        for name in self.files[file].names() {
            let place = Place { file, name: name.to_owned() };
            match meaning(part, name) {
                Meaning::Ignored(reason) => self.note(place, reason),
                Meaning::Tensor(part, _) | Meaning::Copy(part, _) if !self.parts.contains(&part) => self.note(place, "of a part not asked for"),
                Meaning::Tensor(_, full) => match self.wanted.get(full.as_str()) {
                    Some(wanted) => self.claim(&wanted.name, place),
                    None => self.unexpected(place),
                },
                Meaning::Copy(_, original) => match self.wanted.get(original.as_str()) {
                    Some(wanted) => self.copies.push((&wanted.name, place)),
                    None => self.unexpected(place),
                },
                Meaning::Unknown => self.unexpected(place),
            }
        }
    }

    /// A copy stands in for an original that no file has; else it must equal it.
    fn place_copies(&mut self) {
        for (original, copy) in std::mem::take(&mut self.copies) {
            let Some(place) = self.found.get(original).cloned() else {
                self.note(copy.clone(), "stands in for the tensor it is tied to");
                self.claim(original, copy);
                continue;
            };
            let (Some(a), Some(b)) = (self.view(&place), self.view(&copy)) else { continue };
            if a.shape != b.shape {
                self.problems.push(WeightProblem::Shape { name: copy.name, expected: format!("{:?}", a.shape), got: format!("{:?}", b.shape) });
            } else if let Some(index) = a.first_difference(&b) {
                self.problems.push(WeightProblem::Tied { name: copy.name, original: place.name, index });
            } else {
                self.note(copy, "equals the tensor it is tied to");
            }
        }
    }

    /// Looks at every tensor the manifest wants.
    fn check(&mut self) {
        let files = self.files;
        for wanted in self.wanted.values() {
            let Some(place) = self.found.get(wanted.name.as_str()) else {
                self.problems.push(WeightProblem::Missing { name: wanted.name.clone(), expected: wanted.shape.to_string() });
                continue;
            };
            match files[place.file].tensor(&place.name) {
                Ok(view) => {
                    self.problems.extend(fault(&view, wanted));
                    files[place.file].forget(&place.name);
                }
                Err(e) => self.problems.push(WeightProblem::File { reason: e.to_string() }),
            }
        }
    }

    fn claim(&mut self, name: &'a str, place: Place) {
        if self.found.insert(name, place).is_some() {
            self.problems.push(WeightProblem::Duplicate { name: name.to_owned() });
        }
    }

    fn unexpected(&mut self, place: Place) {
        let got = self.view(&place).map(|v| v.describe()).unwrap_or_default();
        self.problems.push(WeightProblem::Unexpected { name: place.name, got });
    }

    fn note(&mut self, place: Place, reason: &'static str) {
        self.notes.entry((place.file, reason)).or_default().push(place.name);
    }

    /// The tensor at a place; none, with a problem, where its file was cut meanwhile.
    fn view(&mut self, place: &Place) -> Option<TensorView<'a>> {
        let files = self.files;
        files[place.file].tensor(&place.name).map_err(|e| self.problems.push(WeightProblem::File { reason: e.to_string() })).ok()
    }
}

/// What is wrong with a tensor, if anything.
fn fault(view: &TensorView<'_>, wanted: &Wanted) -> Option<WeightProblem> {
    let name = view.name.to_owned();
    if view.shape != &wanted.shape[..] {
        return Some(WeightProblem::Shape { name, expected: wanted.shape.to_string(), got: format!("{:?}", view.shape) });
    }
    if view.stored.float().is_none() {
        return Some(view.wrong_type());
    }
    view.first_not_finite().map(|index| WeightProblem::NotFinite { name, index })
}

/// A line on tensors that were left aside.
fn note(file: &Path, reason: &str, names: &[String]) -> String {
    let shown = names.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}: {reason}: {shown}{more}", file.display())
}

/// All paths in one, for a message about all of them.
fn joined<'a>(paths: impl Iterator<Item = &'a Path>) -> PathBuf {
    let all: Vec<String> = paths.map(|p| p.display().to_string()).collect();
    PathBuf::from(all.join(", "))
}
