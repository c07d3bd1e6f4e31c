//! Futures that are ready at once, and so need nobody to run them.

use crate::error::{Error, Result};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The result of what needs no waiting: natively all that reads from a device or opens one has waited when it is first asked.
///
/// # Errors
/// What the future gives; [`Error::Device`] where it would have to wait for a browser, which cannot be waited for.
pub(crate) fn now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            let reason = "a browser answers later: use the function of this name that ends in _async, and await it".to_owned();
            Err(Error::Device { device: "wgpu".to_owned(), reason })
        }
    }
}
