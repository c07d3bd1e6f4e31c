//! NVRTC, the compiler of CUDA's toolkit that is a library: loaded when it is asked for, needed by neither the build nor the driver.

use super::library::{functions, open_compiler};
use super::source::Source;
use crate::error::{Error, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

/// What every kernel is compiled with. A kernel asks for fast arithmetic by name where it wants it, so there is no `--use_fast_math`.
pub const OPTIONS: [&str; 2] = ["-std=c++17", "-default-device"];

type Program = *mut c_void;

functions! { Functions {
    nvrtcVersion(*mut c_int, *mut c_int) -> c_int;
    nvrtcGetErrorString(c_int) -> *const c_char;
    nvrtcCreateProgram(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
    nvrtcDestroyProgram(*mut Program) -> c_int;
    nvrtcCompileProgram(Program, c_int, *const *const c_char) -> c_int;
    nvrtcGetProgramLogSize(Program, *mut usize) -> c_int;
    nvrtcGetProgramLog(Program, *mut c_char) -> c_int;
    nvrtcGetCUBINSize(Program, *mut usize) -> c_int;
    nvrtcGetCUBIN(Program, *mut c_char) -> c_int;
    nvrtcGetPTXSize(Program, *mut usize) -> c_int;
    nvrtcGetPTX(Program, *mut c_char) -> c_int;
} }

/// The library, once loaded.
#[derive(Debug)]
pub struct Nvrtc {
    functions: Functions,
    version: (u32, u32),
}

/// What is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Machine code of an architecture, such as `90a`.
    Cubin(&'a str),
    /// The assembly language that drivers translate, for an architecture and those after it.
    Ptx(&'a str),
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// A cubin, or PTX with a zero behind it.
    pub code: Vec<u8>,
    /// What the compiler said: warnings, and what was asked of its assembler.
    pub log: String,
}

fn error(reason: String) -> Error {
    Error::Device { device: "cuda".to_owned(), reason }
}

impl Nvrtc {
    /// The library, where one is found; it stays loaded.
    ///
    /// # Errors
    /// [`Error::Device`] that says where it was looked for.
    pub fn get() -> Result<&'static Self> {
        static LOADED: OnceLock<std::result::Result<Nvrtc, String>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref().map_err(|reason| error(format!("NVRTC: {reason}")))
    }

    fn load() -> std::result::Result<Self, String> {
        let library = open_compiler("nvrtc")?;
        // SAFETY: their types are those of nvrtc.h, the same since CUDA 11.2.
        let functions = unsafe { Functions::of(library) }.map_err(|e| e.to_string())?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: there is a place for each number.
        let status = unsafe { (functions.nvrtcVersion)(&mut major, &mut minor) };
        let version = u32::try_from(major).ok().zip(u32::try_from(minor).ok());
        version.filter(|_| status == 0).map(|version| Nvrtc { functions, version }).ok_or_else(|| "it does not say its version".to_owned())
    }

    /// Its version, such as (13, 0).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    fn words(&self, status: c_int) -> String {
        // SAFETY: it answers any number with a text of its own that ends with a zero.
        unsafe { CStr::from_ptr((self.functions.nvrtcGetErrorString)(status)) }.to_string_lossy().into_owned()
    }

    /// Compiles a file. The result depends on the file, on what it includes, on these, and on the library's version: not on folders or times.
    ///
    /// # Errors
    /// [`Error::Device`] with what the compiler said.
    pub fn compile(&self, source: &Source, target: Target, options: &[&str]) -> Result<Compiled> {
        let arch = match target {
            Target::Cubin(arch) => format!("sm_{arch}"),
            Target::Ptx(arch) => format!("compute_{arch}"),
        };
        let name = &source.name;
        let failed = |what: &str| error(format!("kernels/{name} for {arch}: NVRTC {}.{}: {what}", self.version.0, self.version.1));
        let text = |text: &str| CString::new(text).map_err(|_| failed("a zero in a text"));
        let texts = |all: &mut dyn Iterator<Item = &str>| all.map(text).collect::<Result<Vec<CString>>>();
        let (file, code) = (text(name)?, text(source.text)?);
        let names = texts(&mut source.headers.iter().map(|header| header.0))?;
        let headers = texts(&mut source.headers.iter().map(|header| header.1))?;
        let asked = format!("--gpu-architecture={arch}");
        let options = texts(&mut std::iter::once(asked.as_str()).chain(options.iter().copied()))?;
        let (names_at, headers_at, options_at) = (pointers(&names), pointers(&headers), pointers(&options));

        let f = &self.functions;
        let mut program = Running { functions: f, raw: null_mut() };
        // SAFETY: every text ends with a zero and outlives the call, the lists are as long as is said, and `raw` is where the program is put.
        let status = unsafe {
            let count = headers_at.len() as c_int;
            (f.nvrtcCreateProgram)(&mut program.raw, code.as_ptr(), file.as_ptr(), count, headers_at.as_ptr(), names_at.as_ptr())
        };
        if status != 0 {
            return Err(failed(&self.words(status)));
        }
        // SAFETY: the program was made, and the list is as long as is said.
        let status = unsafe { (f.nvrtcCompileProgram)(program.raw, options_at.len() as c_int, options_at.as_ptr()) };
        let log = program.bytes(f.nvrtcGetProgramLogSize, f.nvrtcGetProgramLog).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        if status != 0 {
            return Err(failed(&format!("{}\n{}", self.words(status), log.trim_end())));
        }
        let code = match target {
            Target::Cubin(_) => program.bytes(f.nvrtcGetCUBINSize, f.nvrtcGetCUBIN),
            Target::Ptx(_) => program.bytes(f.nvrtcGetPTXSize, f.nvrtcGetPTX),
        };
        match code {
            Ok(code) if !code.is_empty() => Ok(Compiled { code, log }),
            Ok(_) => Err(failed("it gave no code")),
            Err(status) => Err(failed(&self.words(status))),
        }
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

/// A program of the library, destroyed when it is dropped.
struct Running<'a> {
    functions: &'a Functions,
    raw: Program,
}

impl Running<'_> {
    /// Something that the library first says the size of.
    fn bytes(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> std::result::Result<Vec<u8>, c_int> {
        let mut len = 0;
        // SAFETY: the program was made; `len` is where the size is put.
        let status = unsafe { size(self.raw, &mut len) };
        let mut bytes = vec![0_u8; len];
        if status == 0 && len > 0 {
            // SAFETY: there is room for as many bytes as the library just said.
            let status = unsafe { get(self.raw, bytes.as_mut_ptr().cast()) };
            return if status == 0 { Ok(bytes) } else { Err(status) };
        }
        if status == 0 { Ok(bytes) } else { Err(status) }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: it was made in `compile`, and nothing holds on to it.
            let _ = unsafe { (self.functions.nvrtcDestroyProgram)(&mut self.raw) };
        }
    }
}
