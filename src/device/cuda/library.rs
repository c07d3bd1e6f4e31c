//! Libraries of NVIDIA's that are loaded when they are asked for.

use libloading::Library;
use std::env::var_os;
use std::path::PathBuf;

/// A table of a library's functions, by their names, which holds on to the library.
macro_rules! functions {
    ($table:ident { $($name:ident($($argument:ty),*) -> $answer:ty;)+ }) => {
        #[allow(non_snake_case)] // They are called what the library calls them.
        #[derive(Debug)]
        struct $table {
            $($name: unsafe extern "C" fn($($argument),*) -> $answer,)+
            // Behind the functions, which are in it.
            _library: libloading::Library,
        }

        impl $table {
            /// # Safety
            /// The library's functions of these names are of these types.
            unsafe fn of(library: libloading::Library) -> Result<Self, libloading::Error> {
                $(
                    // SAFETY: the caller's promise; the library is kept as long as the function.
                    #[allow(non_snake_case)]
                    let $name = unsafe { *library.get::<unsafe extern "C" fn($($argument),*) -> $answer>(stringify!($name))? };
                )+
                Ok($table { $($name,)+ _library: library })
            }
        }
    };
}
pub(crate) use functions;

/// The compiler's library of this name, such as `nvrtc`, of CUDA 13 or 12; see [`open`].
///
/// # Errors
/// What was looked for.
pub(super) fn open_compiler(name: &str) -> Result<Library, String> {
    open(&if cfg!(windows) {
        vec![format!("{name}64_130_0.dll"), format!("{name}_130_0.dll"), format!("{name}64_120_0.dll"), format!("{name}_120_0.dll")]
    } else {
        vec![format!("lib{name}.so.13"), format!("lib{name}.so.12"), format!("lib{name}.so")]
    })
}

/// The first of these files that is found where the system looks for libraries, or in a toolkit that `CUDA_PATH` or `CUDA_HOME` names or that lies where it usually does.
///
/// # Errors
/// What was looked for.
pub(crate) fn open(files: &[String]) -> Result<Library, String> {
    let given = ["CUDA_PATH", "CUDA_HOME"].into_iter().filter_map(var_os).filter(|value| !value.is_empty()).map(PathBuf::from);
    let toolkits = given.chain(cfg!(unix).then(|| PathBuf::from("/usr/local/cuda")));
    let folders: Vec<PathBuf> = toolkits.flat_map(|home| ["lib64", "lib", "bin", "bin/x64"].map(|folder| home.join(folder))).collect();
    let anywhere = files.iter().map(PathBuf::from);
    let in_toolkits = folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file))).filter(|path| path.is_file());
    // SAFETY: NVIDIA's libraries of these names do nothing but set themselves up when they are loaded.
    let opened = anywhere.chain(in_toolkits).find_map(|path| unsafe { Library::new(path) }.ok());
    opened.ok_or_else(|| format!("none of {} was found", files.join(", ")))
}
