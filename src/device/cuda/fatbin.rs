//! Fatbins: code for several architectures in one image, from which the driver takes what runs on its device.
//!
//! nvFatbin, a library of CUDA's toolkit, puts them together when `kernels/images` is made. Entries are compressed by LZ4, which every driver unpacks; the
//! library's other modes are Zstandard, a third smaller and unknown to drivers before 550.

use super::library::{functions, open_compiler};
use crate::error::{Error, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

/// What an image is put together with: the same on every machine.
pub const OPTIONS: [&str; 5] = ["-64", "-cuda", "-host=linux", "-compress-all", "-compress-mode=speed"];

/// What every fatbin begins with.
const MAGIC: u32 = 0xba55_ed50;
/// The length of what stands before the entries.
const HEADER: usize = 16;

type Handle = *mut c_void;

functions! { Functions {
    nvFatbinVersion(*mut c_uint, *mut c_uint) -> c_int;
    nvFatbinGetErrorString(c_int) -> *const c_char;
    nvFatbinCreate(*mut Handle, *const *const c_char, usize) -> c_int;
    nvFatbinDestroy(*mut Handle) -> c_int;
    nvFatbinAddCubin(Handle, *const c_void, usize, *const c_char, *const c_char) -> c_int;
    nvFatbinAddPTX(Handle, *const c_char, usize, *const c_char, *const c_char, *const c_char) -> c_int;
    nvFatbinSize(Handle, *mut usize) -> c_int;
    nvFatbinGet(Handle, *mut c_void) -> c_int;
} }

/// The library, once loaded.
#[derive(Debug)]
pub struct NvFatbin {
    functions: Functions,
    version: (u32, u32),
}

/// A part of a fatbin.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Machine code of an architecture, such as `90a`.
    Cubin(&'a str, &'a [u8]),
    /// PTX of an architecture, with a zero behind it.
    Ptx(&'a str, &'a [u8]),
}

impl NvFatbin {
    /// The library, where one is found; it stays loaded.
    ///
    /// # Errors
    /// [`Error::Device`] that says where it was looked for.
    pub fn get() -> Result<&'static Self> {
        static LOADED: OnceLock<std::result::Result<NvFatbin, String>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref().map_err(|reason| Error::Device { device: "cuda".to_owned(), reason: format!("nvFatbin: {reason}") })
    }

    fn load() -> std::result::Result<Self, String> {
        let library = open_compiler("nvfatbin")?;
        // SAFETY: their types are those of nvFatbin.h.
        let functions = unsafe { Functions::of(library) }.map_err(|e| e.to_string())?;
        let mut version = (0, 0);
        // SAFETY: there is a place for each number.
        let status = unsafe { (functions.nvFatbinVersion)(&mut version.0, &mut version.1) };
        if status == 0 { Ok(NvFatbin { functions, version }) } else { Err("it does not say its version".to_owned()) }
    }

    /// Its version, such as (13, 0).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    fn check(&self, name: &str, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: a text of the library's own that ends with a zero, or none.
        let words = unsafe {
            let text = (self.functions.nvFatbinGetErrorString)(status);
            if text.is_null() { status.to_string() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        };
        Err(Error::Device { device: "cuda".to_owned(), reason: format!("{name}: nvFatbin {}.{}: {words}", self.version.0, self.version.1) })
    }

    /// Puts these parts together, under this name.
    ///
    /// # Errors
    /// [`Error::Device`] with what the library said.
    pub fn build(&self, name: &str, parts: &[Part]) -> Result<Vec<u8>> {
        let text = |text: &str| CString::new(text).map_err(|_| Error::graph(name, "a text", "a zero in it"));
        let options = OPTIONS.into_iter().map(text).collect::<Result<Vec<_>>>()?;
        let options_at: Vec<*const c_char> = options.iter().map(|text| text.as_ptr()).collect();
        let name_at = text(name)?;
        let f = &self.functions;
        let mut made = Making { functions: f, raw: null_mut() };
        // SAFETY: the list is as long as is said, and `raw` is where the handle is put.
        self.check(name, unsafe { (f.nvFatbinCreate)(&mut made.raw, options_at.as_ptr(), options_at.len()) })?;
        for part in parts {
            let status = match *part {
                Part::Cubin(arch, code) => {
                    let arch = text(arch)?;
                    // SAFETY: the handle was made, code is as long as is said, and the texts end with a zero.
                    unsafe { (f.nvFatbinAddCubin)(made.raw, code.as_ptr().cast(), code.len(), arch.as_ptr(), name_at.as_ptr()) }
                }
                Part::Ptx(arch, code) => {
                    let arch = text(arch)?;
                    // SAFETY: as above; a null pointer stands for no options.
                    unsafe { (f.nvFatbinAddPTX)(made.raw, code.as_ptr().cast(), code.len(), arch.as_ptr(), name_at.as_ptr(), null()) }
                }
            };
            self.check(name, status)?;
        }
        let mut len = 0;
        // SAFETY: the handle was made, and `len` is where the size is put.
        self.check(name, unsafe { (f.nvFatbinSize)(made.raw, &mut len) })?;
        let mut bytes = vec![0_u8; len];
        // SAFETY: there is room for as many bytes as the library just said.
        self.check(name, unsafe { (f.nvFatbinGet)(made.raw, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

/// A fatbin in the making, destroyed when it is dropped.
struct Making<'a> {
    functions: &'a Functions,
    raw: Handle,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: it was made in `build`, and nothing holds on to it.
            let _ = unsafe { (self.functions.nvFatbinDestroy)(&mut self.raw) };
        }
    }
}

/// The fatbins that stand one behind the other in a file; up to the first that is not whole.
pub fn pieces(mut file: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(len) = len_of(file) {
        let (piece, rest) = file.split_at(len);
        found.push(piece);
        file = rest;
    }
    found
}

/// The length of the whole fatbin that these bytes begin with.
fn len_of(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    let known = header[..4] == MAGIC.to_le_bytes() && header[4..8] == [1, 0, HEADER as u8, 0];
    let entries = u64::from_le_bytes(header[8..].try_into().ok()?);
    let len = usize::try_from(entries).ok()?.checked_add(HEADER)?;
    (known && entries > 0 && len <= bytes.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::{HEADER, MAGIC, pieces};

    fn fatbin(entries: usize) -> Vec<u8> {
        [&MAGIC.to_le_bytes()[..], &[1, 0, HEADER as u8, 0], &(entries as u64).to_le_bytes(), &vec![7; entries]].concat()
    }

    #[test]
    fn a_file_is_taken_apart_as_far_as_it_is_whole() {
        let (first, second) = (fatbin(24), fatbin(8));
        let both = [first.clone(), second.clone()].concat();
        assert_eq!(pieces(&both), [&first[..], &second]);
        for len in 0..both.len() {
            assert_eq!(pieces(&both[..len]).len(), usize::from(len >= first.len()), "{len} bytes");
        }
        let mut long = first.clone();
        long[8..16].fill(0xff);
        assert!(pieces(&long).is_empty() && pieces(b"none").is_empty() && pieces(&fatbin(0)).is_empty());
    }
}
