//! The one error type of the library. It names the place, what was expected and what was found.

use std::path::{Path, PathBuf};

/// What every fallible function of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. The library never panics, exits or prints; it returns one of these.
///
/// Fields: what was worked on (`op`, `path`, `tensor`, `name`, `field`, `device`), what was `expected`, and what was `got`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are described once, above.
pub enum Error {
    /// An operator was given tensors it cannot work on.
    #[error("{op}: `{tensor}`: expected {expected}, got {got}")]
    Op { op: &'static str, tensor: String, expected: String, got: String },
    /// A graph is not well formed, or a session was asked for something it does not hold.
    #[error("graph: `{name}`: expected {expected}, got {got}")]
    Graph { name: String, expected: String, got: String },
    /// A weight file does not fit the model. Lists every problem, not only the first.
    #[error("{}: {} problem(s) with the weights:\n{}", .path.display(), .problems.len(), .problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Weights { path: PathBuf, problems: Vec<WeightProblem> },
    /// A configuration value is missing or out of range.
    #[error("{}: `{field}`: expected {expected}, got {got}", .path.display())]
    Config { path: PathBuf, field: String, expected: String, got: String },
    /// Records of a data set cannot be used. Lists every one of them; its text shows the first.
    #[error("{}: {} problem(s) with the data set:{}", .path.display(), .problems.len(), first_of(.problems))]
    Dataset { path: PathBuf, problems: Vec<RecordProblem> },
    /// A picture cannot be read.
    #[error("{}: {reason}", .path.display())]
    Image { path: PathBuf, reason: String },
    /// A vocabulary or a text cannot be used.
    #[error("{}: {reason}", .path.display())]
    Vocabulary { path: PathBuf, reason: String },
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// An argument of a public function is out of range.
    #[error("argument `{name}`: expected {expected}, got {got}")]
    Argument { name: &'static str, expected: String, got: String },
    /// Something to be judged by, or its label, would come into what is learnt.
    #[error("{}: expected {expected}, got {got}: {} of them, first `{}`", .path.display(), .ids.len(), .ids.first().map_or("", String::as_str))]
    Leak { path: PathBuf, expected: String, got: String, ids: Vec<String> },
    /// Training took too many steps in a row whose loss or gradient was not finite.
    #[error(
        "training: step {step}: {skipped} steps in a row with a loss or gradient that is not finite; the last checkpoint holds the weights from before"
    )]
    Diverged { step: u64, skipped: u64 },
    /// The device is missing, lost or does not support what was asked.
    #[error("device {device}: {reason}")]
    Device { device: String, reason: String },
    /// The device has less memory than was asked for: `bytes`, or 0 where it was for something of the driver's own, such as kernels.
    #[error("device {device}: out of memory{}", if *bytes == 0 { String::new() } else { format!(", {bytes} bytes needed") })]
    OutOfMemory { device: String, bytes: u64 },
}

/// One thing wrong with one tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are a tensor's name, what was expected, and what was got.
pub enum WeightProblem {
    /// The model needs a tensor that the file lacks.
    #[error("missing: {name} {expected}")]
    Missing { name: String, expected: String },
    /// The file holds a tensor that no part of the model knows.
    #[error("unexpected: {name} {got}")]
    Unexpected { name: String, got: String },
    /// The tensor has another shape than the configuration asks for.
    #[error("shape: {name}: expected {expected}, got {got}")]
    Shape { name: String, expected: String, got: String },
    /// The tensor's element type is none of f32, f16, bf16.
    #[error("dtype: {name}: expected f32, f16 or bf16, got {got}")]
    DType { name: String, got: String },
    /// Two tensors answer to one name.
    #[error("duplicate: {name}")]
    Duplicate { name: String },
    /// The tensor holds NaN or infinity.
    #[error("not finite: {name}: first at element {index}")]
    NotFinite { name: String, index: usize },
    /// A copy of a tied tensor says something else than the tensor it should equal.
    #[error("tied: {name}: expected the values of {original}, got another at element {index}")]
    Tied { name: String, original: String, index: usize },
    /// The tensor's name is empty, holds control characters or looks like a path out of a folder.
    #[error("name: {name:?}: expected a plain tensor name")]
    Name { name: String },
    /// The file's header or extent is broken.
    #[error("file: {reason}")]
    File { reason: String },
}

/// One record of a data set that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{}: {record}: expected {expected}, got {got}", .file.display())]
pub struct RecordProblem {
    /// The file that holds it.
    pub file: PathBuf,
    /// Which it is: a row, or an id.
    pub record: String,
    /// What should stand there.
    pub expected: String,
    /// What does.
    pub got: String,
}

/// The first few problems, a line each: of a hundred thousand broken rows nobody reads more.
fn first_of(problems: &[RecordProblem]) -> String {
    const SHOWN: usize = 20;
    let more = problems.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    problems.iter().take(SHOWN).map(|p| format!("\n  {p}")).collect::<String>() + &more
}

impl Error {
    /// An operator's complaint about one of its tensors.
    pub fn op(op: &'static str, tensor: impl Into<String>, expected: impl ToString, got: impl ToString) -> Self {
        Error::Op { op, tensor: tensor.into(), expected: expected.to_string(), got: got.to_string() }
    }

    /// A complaint about a graph or a session.
    pub fn graph(name: impl Into<String>, expected: impl ToString, got: impl ToString) -> Self {
        Error::Graph { name: name.into(), expected: expected.to_string(), got: got.to_string() }
    }

    /// Everything wrong with one weight file.
    pub fn weights(path: impl AsRef<Path>, problems: Vec<WeightProblem>) -> Self {
        Error::Weights { path: path.as_ref().to_owned(), problems }
    }

    /// A complaint about one field of a configuration file.
    pub fn config(path: impl AsRef<Path>, field: impl Into<String>, expected: impl ToString, got: impl ToString) -> Self {
        Error::Config { path: path.as_ref().to_owned(), field: field.into(), expected: expected.to_string(), got: got.to_string() }
    }

    /// A complaint about pictures, by their ids, that would be learnt from though they must not.
    pub fn leak(path: impl AsRef<Path>, expected: impl ToString, got: impl ToString, ids: Vec<String>) -> Self {
        Error::Leak { path: path.as_ref().to_owned(), expected: expected.to_string(), got: got.to_string(), ids }
    }

    /// Wraps an I/O error with the path it happened on.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_owned(), source }
    }
}
