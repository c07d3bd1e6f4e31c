//! Page-locked memory of the host, which a device reads and writes while the host does something else.

use super::allocation::Part;
use super::driver::{Context, checked};
use super::event::Event;
use crate::error::{Error, Result};
use cudarc::driver::sys as api;
use std::ptr::null_mut;
use std::sync::Arc;

/// Bytes of one piece. What is longer is copied in several.
pub(super) const PIECE: usize = 4 << 20;

/// A piece of such memory, which is the device's while a copy that was told to use it is not done.
#[derive(Debug)]
pub(super) struct Pages {
    context: Arc<Context>,
    at: *mut u8,
    /// The last copy is.
    done: Event,
}

// SAFETY: memory like any other, which `Pages` alone points to.
unsafe impl Send for Pages {}
// SAFETY: nobody reaches it through a shared reference.
unsafe impl Sync for Pages {}

impl Pages {
    /// # Errors
    /// [`Error::OutOfMemory`]
    pub fn new(context: &Arc<Context>) -> Result<Self> {
        let done = Event::new(context)?;
        let mut at = null_mut();
        // SAFETY: `at` is where the driver puts the address of as many bytes, which are the host's own until something is copied.
        unsafe {
            checked(api::cuMemHostAlloc(&mut at, PIECE, 0), &context.name, PIECE as u64)?;
            at.cast::<u8>().write_bytes(0, PIECE);
        }
        Ok(Pages { context: context.clone(), at: at.cast(), done })
    }

    /// Its bytes, once the last copy is done.
    fn bytes(&mut self) -> Result<&mut [u8]> {
        self.done.wait()?;
        // SAFETY: there are as many, written in `new`, and no copy that would use them is left.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.at, PIECE) })
    }

    /// Copies these bytes, no more than a piece, by a stream to where a part begins; gives the moment when they have arrived.
    pub fn send(&mut self, bytes: &[u8], to: &Part, stream: api::CUstream) -> Result<&Event> {
        to.within(0, bytes.len())?;
        let held = &mut self.bytes()?[..bytes.len()];
        held.copy_from_slice(bytes);
        let from = held.as_ptr().cast();
        // SAFETY: both ends are as long; what is held is let alone until `done` has passed.
        self.context.check(unsafe { api::cuMemcpyHtoDAsync_v2(to.at, from, bytes.len(), stream) })?;
        self.done.record(stream)?;
        Ok(&self.done)
    }

    /// Copies so many bytes, no more than a piece, out of a part, in the order of all other work.
    pub fn fetch(&mut self, from: &Part, at: usize, bytes: usize) -> Result<()> {
        from.within(at, bytes)?;
        if bytes > PIECE {
            return Err(Error::graph("memory", format!("at most {PIECE} bytes"), bytes));
        }
        self.context.enter()?;
        // SAFETY: as above; whatever was fetched before and not given came by the same stream.
        self.context.check(unsafe { api::cuMemcpyDtoHAsync_v2(self.at.cast(), from.at + at as u64, bytes, self.context.stream) })?;
        self.done.record(self.context.stream)
    }

    /// Copies out what was fetched, once it is there.
    pub fn give(&mut self, to: &mut [u8]) -> Result<()> {
        to.copy_from_slice(&self.bytes()?[..to.len()]);
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // A copy that is under way must not outlive them.
        let _ = self.done.wait();
        // SAFETY: they were allocated in `new`, and no copy uses them.
        unsafe {
            let _ = api::cuMemFreeHost(self.at.cast());
        }
    }
}
