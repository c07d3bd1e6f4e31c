//! Which sources a program was built from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Files whose changes change what is measured.
const SOURCES: [&str; 6] = ["src", "kernels", "shaders", "build.rs", "Cargo.toml", "Cargo.lock"];

/// The commit of this program's sources, with a `+` where they differ from it; nothing where it does not lie below them, as in their `target`. (Were it built into the
/// program, each commit would build everything anew.)
pub fn commit() -> String {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND
        .get_or_init(|| std::env::current_exe().ok().and_then(|program| sources(&program)).and_then(|folder| of(&folder)).unwrap_or_default())
        .clone()
}

/// The folder that holds this package and, somewhere, the program.
fn sources(program: &Path) -> Option<PathBuf> {
    let is_ours = |folder: &&Path| std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("\nname = \"escnet\"\n"));
    program.canonicalize().ok()?.ancestors().find(is_ours).map(Path::to_owned)
}

fn of(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(folder).args(arguments).output().ok();
    let head = git(&["rev-parse", "--short", "HEAD"]).filter(|told| told.status.success())?;
    let is_changed = git(&[&["diff", "--quiet", "HEAD", "--"][..], &SOURCES].concat()).is_some_and(|told| told.status.code() == Some(1));
    Some(String::from_utf8_lossy(&head.stdout).trim().to_owned() + if is_changed { "+" } else { "" })
}
