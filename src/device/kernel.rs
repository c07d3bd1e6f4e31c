//! What a device was given to run.

use std::sync::Arc;

/// A kernel, as it can be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// The entry point, `<op>_<pass>[_<variant>]_<dtype>`.
    pub entry: String,
    /// The whole text: `const` lines, what every kernel may use, and the kernel.
    pub source: Arc<str>,
}
