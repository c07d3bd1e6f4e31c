//! One safetensors file, opened and checked; its tensors are read one at a time.

use super::header::{Entry, Header, LENGTH_BYTES, broken, json_length};
use super::stored::StoredType;
use crate::error::{Error, Result, WeightProblem};
use crate::tensor::{Data, Shape, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A safetensors file whose header has been checked. Under the feature `mmap` the tensors' bytes stay on disk until they are read.
pub struct WeightFile {
    path: PathBuf,
    bytes: Bytes,
    header: Header,
}

/// The whole file.
enum Bytes {
    /// In memory.
    Read(Vec<u8>),
    /// Mapped; the file stays open so that its length can be asked again.
    #[cfg(feature = "mmap")]
    Mapped(memmap2::Mmap, File),
}

impl WeightFile {
    /// Opens a file and checks its header. Replacing the file meanwhile, as [`write_atomically`](super::write_atomically) does, is
    /// harmless; a mapped file must not be overwritten or cut in place while it is read.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Weights`] with all that is wrong with its header or extent.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(Error::weights(path, vec![broken("not a regular file")]));
        }
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut start = Vec::new();
        (&mut file).take(LENGTH_BYTES as u64).read_to_end(&mut start).map_err(io)?;
        let json = json_after(&start, length).map_err(|p| Error::weights(path, vec![p]))?;
        (&mut file).take(json as u64).read_to_end(&mut start).map_err(io)?;
        let header = Header::parse(&start[LENGTH_BYTES.min(start.len())..], length).map_err(|p| Error::weights(path, p))?;
        let bytes = Bytes::of(file, start, length).map_err(io)?;
        Self::whole(path, bytes, header, length)
    }

    /// A file that is in memory already; `name` is only for messages.
    ///
    /// # Errors
    /// [`Error::Weights`] with all that is wrong with its header or extent.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        let (path, length) = (name.as_ref(), bytes.len() as u64);
        let json = json_after(&bytes[..LENGTH_BYTES.min(bytes.len())], length).map_err(|p| Error::weights(path, vec![p]))?;
        let header = Header::parse(&bytes[LENGTH_BYTES..LENGTH_BYTES + json], length).map_err(|p| Error::weights(path, p))?;
        Self::whole(path, Bytes::Read(bytes), header, length)
    }

    fn whole(path: &Path, bytes: Bytes, header: Header, length: u64) -> Result<Self> {
        let got = bytes.as_slice().len() as u64;
        if got != length {
            return Err(Error::weights(path, vec![broken(format!("the file changed while it was read, from {length} to {got} bytes"))]));
        }
        Ok(WeightFile { path: path.to_owned(), bytes, header })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.header.entries.len()
    }

    /// True where the file holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.entries.iter().map(|e| e.name.as_str())
    }

    /// The free text that came with the tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The extents of a tensor; none where the file has no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entry(name).map(|e| e.shape.as_slice())
    }

    /// A tensor of the file, not yet read.
    ///
    /// # Errors
    /// [`Error::Weights`] where there is none of this name, or where the file has been cut since it was opened.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        match self.entry(name) {
            Some(entry) => self.view(entry),
            None => Err(self.problem(WeightProblem::Missing { name: name.into(), expected: "in the file".into() })),
        }
    }

    /// Says that a tensor's bytes are not needed soon: of a mapped file the pages are given back, and read again where they are wanted after
    /// all. So that a model's file does not stay in memory beside the model.
    pub fn forget(&self, name: &str) {
        if let Some(entry) = self.entry(name) {
            self.bytes.forget(entry.bytes.start, entry.bytes.len());
        }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        let entries = &self.header.entries;
        entries.binary_search_by(|e| e.name.as_str().cmp(name)).ok().map(|i| &entries[i])
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> Result<TensorView<'a>> {
        let Entry { name, stored, shape, bytes } = entry;
        let length = self.bytes.length_now().map_err(|e| Error::io(&self.path, e))?;
        match self.bytes.as_slice().get(bytes.clone()) {
            Some(bytes_of) if bytes.end as u64 <= length => Ok(TensorView { path: &self.path, name, stored: *stored, shape, bytes: bytes_of }),
            _ => Err(self.problem(broken(format!("{name}: the file has been cut to {length} bytes since it was opened")))),
        }
    }

    fn problem(&self, problem: WeightProblem) -> Error {
        Error::weights(&self.path, vec![problem])
    }
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightFile").field("path", &self.path).field("tensors", &self.len()).finish_non_exhaustive()
    }
}

/// The length of the JSON, where the file is long enough to say.
fn json_after(first: &[u8], file_length: u64) -> Result<usize, WeightProblem> {
    let first = first.try_into().map_err(|_| broken(format!("{file_length} bytes are too few for a header")))?;
    json_length(first, file_length)
}

impl Bytes {
    #[cfg(feature = "mmap")]
    fn of(file: File, _start: Vec<u8>, _length: u64) -> std::io::Result<Self> {
        // SAFETY: the map is private to this process and only read. Were another process to write the file in place the bytes
        // could change, which no code here takes for more than numbers; were it to cut the file, reading would raise SIGBUS:
        // `view` asks for the length before each tensor, and `open` documents the rest.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Bytes::Mapped(map, file))
    }

    #[cfg(not(feature = "mmap"))]
    fn of(file: File, start: Vec<u8>, length: u64) -> std::io::Result<Self> {
        let mut bytes = start;
        bytes.try_reserve_exact((length as usize).saturating_sub(bytes.len())).map_err(std::io::Error::other)?;
        file.take(length.saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
        Ok(Bytes::Read(bytes))
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Read(bytes) => bytes,
            #[cfg(feature = "mmap")]
            Bytes::Mapped(map, _) => map,
        }
    }

    fn forget(&self, _start: usize, _length: usize) {
        #[cfg(all(feature = "mmap", unix))]
        if let Bytes::Mapped(map, _) = self {
            // SAFETY: the map is read-only and of a file: a page that is given back is read from the file again when it is next touched,
            // so that slices into the map stay valid and keep their content. A refusal is no loss.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, _start, _length) };
        }
    }

    fn length_now(&self) -> std::io::Result<u64> {
        match self {
            Bytes::Read(bytes) => Ok(bytes.len() as u64),
            #[cfg(feature = "mmap")]
            Bytes::Mapped(_, file) => Ok(file.metadata()?.len()),
        }
    }
}

/// A tensor in a file: what the header says of it, and its bytes, little-endian.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    path: &'a Path,
    /// The name in the file.
    pub name: &'a str,
    /// The element type in the file.
    pub stored: StoredType,
    /// Extents.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// Element type and extents, for messages.
    pub fn describe(&self) -> String {
        format!("{}{:?}", self.stored, self.shape)
    }

    /// The tensor with f32 elements, widened from f16 or bf16 where need be.
    ///
    /// # Errors
    /// [`Error::Weights`] for any other element type.
    pub fn to_f32(&self) -> Result<Tensor> {
        let values = match self.stored {
            StoredType::F32 => elements(self.bytes).map(f32::from_le_bytes).collect(),
            StoredType::F16 => elements(self.bytes).map(|x| f16::from_le_bytes(x).to_f32()).collect(),
            StoredType::BF16 => elements(self.bytes).map(|x| bf16::from_le_bytes(x).to_f32()).collect(),
            _ => return Err(self.problem(self.wrong_type())),
        };
        Tensor::from_f32(self.tensor_shape()?, values)
    }

    /// The tensor with its own element type. Integers other than i32 become i32 where all of them fit.
    ///
    /// # Errors
    /// [`Error::Weights`] for an element type, or an integer, that a tensor cannot hold.
    pub fn read(&self) -> Result<Tensor> {
        let data = match self.stored {
            StoredType::F32 => Data::F32(elements(self.bytes).map(f32::from_le_bytes).collect()),
            StoredType::F16 => Data::F16(elements(self.bytes).map(f16::from_le_bytes).collect()),
            StoredType::BF16 => Data::BF16(elements(self.bytes).map(bf16::from_le_bytes).collect()),
            _ => Data::I32(self.integers()?),
        };
        Tensor::new(self.tensor_shape()?, data)
    }

    /// The first element that is NaN or infinite. Integers are always finite.
    pub fn first_not_finite(&self) -> Option<usize> {
        match self.stored {
            StoredType::F32 => first(self.bytes, |x| u32::from_le_bytes(x) & 0x7f80_0000 == 0x7f80_0000),
            StoredType::F16 => first(self.bytes, |x| u16::from_le_bytes(x) & 0x7c00 == 0x7c00),
            StoredType::BF16 => first(self.bytes, |x| u16::from_le_bytes(x) & 0x7f80 == 0x7f80),
            StoredType::F64 => first(self.bytes, |x| !f64::from_le_bytes(x).is_finite()),
            _ => None,
        }
    }

    /// The first element in which two tensors of one shape differ. The same number in two element types is no difference.
    pub(super) fn first_difference(&self, other: &TensorView<'_>) -> Option<usize> {
        if self.stored == other.stored && self.bytes == other.bytes {
            return None;
        }
        match (self.to_f32(), other.to_f32()) {
            (Ok(a), Ok(b)) => a.as_f32().unwrap_or_default().iter().zip(b.as_f32().unwrap_or_default()).position(|(a, b)| a != b),
            _ => Some(0),
        }
    }

    /// The complaint that this is not a weight.
    pub(super) fn wrong_type(&self) -> WeightProblem {
        WeightProblem::DType { name: self.name.into(), got: self.stored.to_string() }
    }

    fn integers(&self) -> Result<Vec<i32>> {
        let wide: Box<dyn Iterator<Item = i128>> = match self.stored {
            StoredType::Bool | StoredType::U8 => Box::new(self.bytes.iter().map(|&x| x.into())),
            StoredType::I8 => Box::new(elements(self.bytes).map(|x| i8::from_le_bytes(x).into())),
            StoredType::U16 => Box::new(elements(self.bytes).map(|x| u16::from_le_bytes(x).into())),
            StoredType::I16 => Box::new(elements(self.bytes).map(|x| i16::from_le_bytes(x).into())),
            StoredType::U32 => Box::new(elements(self.bytes).map(|x| u32::from_le_bytes(x).into())),
            StoredType::I32 => Box::new(elements(self.bytes).map(|x| i32::from_le_bytes(x).into())),
            StoredType::U64 => Box::new(elements(self.bytes).map(|x| u64::from_le_bytes(x).into())),
            StoredType::I64 => Box::new(elements(self.bytes).map(|x| i64::from_le_bytes(x).into())),
            _ => return Err(self.problem(self.wrong_type())),
        };
        let fitting = wide.map(|x| i32::try_from(x).map_err(|_| self.problem(broken(format!("{}: {x} does not fit i32", self.name)))));
        fitting.collect()
    }

    fn tensor_shape(&self) -> Result<Shape> {
        Shape::new(self.shape)
    }

    fn problem(&self, problem: WeightProblem) -> Error {
        Error::weights(self.path, vec![problem])
    }
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.describe())
    }
}

/// The bytes, N at a time. They may start at any address, so they are copied rather than cast.
fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// The index of the first element that fits, found in parallel.
fn first<const N: usize>(bytes: &[u8], fits: impl Fn([u8; N]) -> bool + Sync) -> Option<usize> {
    /// Elements between two looks at whether one was found: short enough to stay in the cache, long enough for a loop without branches.
    const BLOCK: usize = 1 << 14;
    let elements = bytes.as_chunks::<N>().0;
    let any = |block: &[[u8; N]]| block.iter().fold(false, |any, &x| any | fits(x));
    let block = elements.par_chunks(BLOCK).position_first(any)?;
    let start = block * BLOCK;
    elements[start..].iter().position(|&x| fits(x)).map(|i| start + i)
}
