//! The figures of `--explain`: a name of its own for each picture, and none that is a picture's.

use super::inputs::Input;
use escnet::infer::Classification;
use escnet::infer::explain::{figure, write_png};
use escnet::{Error, Image, Result};
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

/// The folder that figures are written to, and what each is called.
#[derive(Debug)]
pub struct Figures {
    /// In the pictures' order.
    names: VecDeque<(PathBuf, PathBuf)>,
}

impl Figures {
    /// Makes the folder and settles all names before anything is drawn, so that they do not depend on which pictures turn out to be broken.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be made.
    pub fn new(folder: &Path, inputs: &[Input]) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let folder_is = folder.canonicalize().map_err(|e| Error::io(folder, e))?;
        let mut taken: HashSet<PathBuf> = inputs.iter().flat_map(|input| places(&input.path)).map(|place| folded(&place)).collect();
        let mut names = VecDeque::with_capacity(inputs.len());
        for Input { path, .. } in inputs {
            let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
            let name = |n: u32| if n == 1 { format!("{stem}.png") } else { format!("{stem}-{n}.png") };
            let free = (1..).map(name).find(|name| taken.insert(folded(&folder_is.join(name)))).unwrap_or_default();
            names.push_back((path.clone(), folder.join(free)));
        }
        Ok(Figures { names })
    }

    /// Draws and writes the figure of a picture, which must come in the order in which the pictures were named; gives its path.
    ///
    /// # Errors
    /// Those of [`figure`] and [`write_png`].
    pub fn draw(&mut self, path: &Path, picture: &Image, result: &Classification) -> Result<PathBuf> {
        let next = std::iter::from_fn(|| self.names.pop_front()).find(|(of, _)| of == path);
        let (_, target) = next.ok_or_else(|| Error::graph(path.display().to_string(), "a name for its figure", "none"))?;
        write_png(&figure(picture, result, &path.to_string_lossy())?, &target)?;
        Ok(target)
    }
}

/// Where a picture lies: the place its path leads to, and, if that is a link, the link.
fn places(path: &Path) -> Vec<PathBuf> {
    let link = path.file_name().and_then(|name| {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(name))
    });
    path.canonicalize().ok().into_iter().chain(link).collect()
}

/// A path as file systems see it that do not tell capitals.
fn folded(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().to_lowercase())
}
