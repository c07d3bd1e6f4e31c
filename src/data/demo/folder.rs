//! A folder that is whole or not there: filled beside its place, flushed to disk, renamed.

use crate::error::{Error, Result};
use rayon::prelude::*;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A folder in the making. Dropped before [`Folder::finish`] it leaves nothing behind; where the process is killed a folder named
/// `.<name>.<process>.partial` stays.
pub(super) struct Folder {
    target: PathBuf,
    partial: PathBuf,
    /// All files and folders in it, to be flushed.
    entries: Mutex<Vec<PathBuf>>,
    finished: bool,
}

impl Folder {
    /// Makes the temporary folder.
    ///
    /// # Errors
    /// [`Error::Argument`] where `target` is there and not an empty folder, [`Error::Io`].
    pub fn begin(target: &Path) -> Result<Self> {
        let refuse = |got: String| Err(Error::Argument { name: "out", expected: "a folder that is empty or not there".into(), got });
        match fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return refuse(format!("{}, which holds files", target.display()));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return refuse(format!("{}, a file", target.display())),
            Err(e) => return Err(Error::io(target, e)),
        }
        // A path such as `..` has no name; the folder it leads to has.
        let target = match target.file_name() {
            Some(_) => target.to_owned(),
            None => target.canonicalize().map_err(|e| Error::io(target, e))?,
        };
        let Some(name) = target.file_name() else { return refuse(target.display().to_string()) };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let partial = target.with_file_name(hidden);
        let parent = parent(&target);
        fs::create_dir_all(&parent).map_err(|e| Error::io(&parent, e))?;
        fs::create_dir(&partial).map_err(|e| Error::io(&partial, e))?;
        Ok(Folder { target, entries: Mutex::new(vec![partial.clone()]), partial, finished: false })
    }

    /// Makes a folder in it, and those on the way.
    pub fn add(&self, name: &str) -> Result<()> {
        let path = self.partial.join(name);
        fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        self.remember(path);
        Ok(())
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.partial.join(name);
        fs::write(&path, bytes).map_err(|e| Error::io(&path, e))?;
        self.remember(path);
        Ok(())
    }

    fn remember(&self, path: PathBuf) {
        self.entries.lock().unwrap_or_else(|held| held.into_inner()).push(path);
    }

    /// Flushes everything and gives the folder its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        let entries = std::mem::take(self.entries.get_mut().unwrap_or_else(|held| held.into_inner()));
        // All at the end: by then the system has written most of it, in whatever order suits the disk.
        entries.par_iter().try_for_each(|path| sync(path))?;
        let io = |e| Error::io(&self.target, e);
        match fs::remove_dir(&self.target) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
            _ => fs::rename(&self.partial, &self.target).map_err(io)?,
        }
        self.finished = true;
        sync(&parent(&self.target))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing can be done where this fails too; the error that led here is the one to report.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Flushes a file, or a folder's list of names. Only Unix can do the latter.
fn sync(path: &Path) -> Result<()> {
    if path.is_dir() && !cfg!(unix) {
        return Ok(());
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io(path, e))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
