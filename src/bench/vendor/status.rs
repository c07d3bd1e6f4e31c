//! What libraries say of their calls.

use crate::error::{Error, Result};
use std::ffi::{CStr, c_char, c_int};

/// A library's call, by the name of its function, as a result: 0 is success, and `words` knows the library's word for anything else.
///
/// # Errors
/// [`Error::Device`] in the library's words.
pub(super) fn checked(library: &str, call: &str, status: c_int, words: unsafe extern "C" fn(c_int) -> *const c_char) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: both libraries answer any number with a text of their own that ends with a zero, or with nothing.
    let text = unsafe {
        let text = words(status);
        if text.is_null() { format!("status {status}") } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(Error::Device { device: library.to_owned(), reason: format!("{call}: {text}") })
}
