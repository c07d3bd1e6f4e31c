//! From what stands on the command line to a list of pictures.

use super::stop::Stop;
use escnet::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a picture's name may end in, in a folder. A file that is named is read whatever it is called.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// A picture to be read, or a place where none could be found.
#[derive(Debug)]
pub struct Input {
    /// Its path, as it is shown.
    pub path: PathBuf,
    /// Why it is no use.
    pub problem: Option<Error>,
}

/// Every picture that is meant: files as they are named, folders with all that is in them, sorted by name, and for `-` the paths that stand
/// on standard input, one a line, or with a zero byte after each.
///
/// # Errors
/// [`Stop::Input`] where that is no picture at all.
pub fn gather(paths: &[PathBuf]) -> Result<Vec<Input>, Stop> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut list = Vec::new();
            std::io::stdin().lock().read_to_end(&mut list).map_err(|e| Error::io("-", e))?;
            let end = if list.contains(&0) { 0 } else { b'\n' };
            list.split(|&b| b == end)
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .filter(|line| !line.is_empty())
                .for_each(|line| add(&path_of(line), &mut inputs));
        } else {
            add(path, &mut inputs);
        }
    }
    if inputs.iter().all(|input| matches!(input.problem, Some(Error::Image { .. }))) {
        let reasons: Vec<String> = inputs.iter().filter_map(|input| input.problem.as_ref().map(Error::to_string)).collect();
        return Err(Stop::Input(if reasons.is_empty() { "no pictures were named".to_owned() } else { reasons.join("\n") }));
    }
    Ok(inputs)
}

/// Adds a picture, or those of a folder.
fn add(path: &Path, inputs: &mut Vec<Input>) {
    if !path.is_dir() {
        inputs.push(Input { path: path.to_owned(), problem: None });
        return;
    }
    let before = inputs.len();
    walk(path, inputs);
    if inputs.len() == before {
        let problem = Some(Error::Image { path: path.to_owned(), reason: format!("holds no pictures ({})", ENDINGS.join(", ")) });
        inputs.push(Input { path: path.to_owned(), problem });
    }
}

/// Adds what is in a folder, and in the folders in it. Hidden entries are left out, and so are links to folders, which may lead in circles.
fn walk(folder: &Path, inputs: &mut Vec<Input>) {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(e) => return inputs.push(Input { path: folder.to_owned(), problem: Some(Error::io(folder, e)) }),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries.into_iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, inputs);
        } else if is_picture(&path) && !path.is_dir() {
            inputs.push(Input { path, problem: None });
        }
    }
}

fn is_picture(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
