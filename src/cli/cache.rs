//! The folder of what can be made again.

use std::env::var_os;
use std::path::PathBuf;

/// The environment variable that names the folder, or says `off`.
const VARIABLE: &str = "ESCNET_CACHE";

/// Where a GPU's driver keeps what it made of kernels: `ESCNET_CACHE`, or `escnet` in the user's folder of caches; none where there is neither, or it
/// says `off`.
pub fn folder() -> Option<PathBuf> {
    let given = |name: &str| var_os(name).filter(|value| !value.is_empty());
    let path = |name: &str| given(name).map(PathBuf::from);
    match given(VARIABLE) {
        Some(said) if said == "off" => None,
        Some(said) => Some(said.into()),
        None if cfg!(windows) => path("LOCALAPPDATA").map(|home| home.join("escnet")),
        None if cfg!(target_os = "macos") => path("HOME").map(|home| home.join("Library/Caches/escnet")),
        None => path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache"))).map(|home| home.join("escnet")),
    }
}
