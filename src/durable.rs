//! Files that are whole or not there: a temporary sibling, flushed to disk, renamed into place, the rename flushed too.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file so that, whatever happens, `path` holds either what it held or all that `write` wrote. When `write` fails
/// nothing is left behind; when the process is killed a file named `.<name>.<process>-<count>.partial` may be.
///
/// # Errors
/// What `write` returns, or [`Error::Io`].
pub fn write_atomically(path: impl AsRef<Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let io = |e| Error::io(path, e);
    let (partial, file) = Partial::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    let file = out.into_inner().map_err(|e| io(e.into_error()))?;
    file.sync_all().map_err(io)?;
    drop(file);
    std::fs::rename(&partial.path, path).map_err(io)?;
    partial.keep();
    sync_folder(path).map_err(io)
}

/// The temporary sibling; removed when dropped, unless kept.
struct Partial {
    path: PathBuf,
    kept: bool,
}

impl Partial {
    fn create(target: &Path) -> Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = target.file_name() else {
            return Err(Error::io(target, std::io::Error::new(std::io::ErrorKind::InvalidInput, "not the name of a file")));
        };
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}-{}.partial", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let path = target.with_file_name(partial);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok((Partial { path, kept: false }, file))
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing can be done where this fails too; the error that led here is the one to report.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Flushes the folder's list of names, so that the rename outlives a loss of power. Only Unix can.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
