//! A device's memory, and how several buffers are laid into it.

use super::driver::{Context, checked};
use crate::error::{Error, Result};
use cudarc::driver::sys as api;
use std::sync::Arc;

/// Where a buffer may begin: what the driver aligns allocations to, and more than any load or tensor map asks for.
const ALIGNMENT: usize = 256;

/// What was allocated at once.
#[derive(Debug)]
struct Allocation {
    context: Arc<Context>,
    at: u64,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: it was allocated in `allocate`, and nothing that was recorded on it outlives it. The driver waits for what still uses it.
        unsafe {
            let _ = self.context.enter();
            let _ = api::cuMemFree_v2(self.at);
        }
    }
}

/// Some of an allocation, which lives as long as any part of it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    allocation: Arc<Allocation>,
    /// Where it begins, a multiple of 256.
    pub at: u64,
    bytes: usize,
}

/// So many bytes, more than none; they hold anything.
///
/// # Errors
/// [`Error::OutOfMemory`]
pub(super) fn allocate(context: &Arc<Context>, bytes: usize) -> Result<Part> {
    context.enter()?;
    let mut at = 0;
    // SAFETY: `at` is where the driver puts the address.
    checked(unsafe { api::cuMemAlloc_v2(&mut at, bytes) }, &context.name, bytes as u64)?;
    Ok(Part { allocation: Arc::new(Allocation { context: context.clone(), at }), at, bytes })
}

/// Buffers of these lengths; one without bytes has no memory. Their memory is one allocation, so that all of it is there or nothing is. With `apart` each has
/// an allocation of its own: what looks at accesses, the stand-in or compute-sanitizer, knows an allocation's ends and none within it.
///
/// # Errors
/// [`Error::OutOfMemory`]
pub(super) fn allocate_all(context: &Arc<Context>, lengths: &[usize], apart: bool) -> Result<Vec<Option<Part>>> {
    if apart {
        return lengths.iter().map(|&bytes| if bytes == 0 { Ok(None) } else { allocate(context, bytes).map(Some) }).collect();
    }
    let (starts, total) = lay_out(lengths);
    let all = if total == 0 { None } else { Some(allocate(context, total)?) };
    let part = |(start, &bytes)| all.as_ref().filter(|_| bytes > 0).map(|all| Part { at: all.at + start as u64, bytes, ..all.clone() });
    Ok(starts.into_iter().zip(lengths).map(part).collect())
}

/// Where each of these lengths begins, and where the last ends.
fn lay_out(lengths: &[usize]) -> (Vec<usize>, usize) {
    let mut end = 0_usize;
    let starts = lengths.iter().map(|&bytes| {
        let start = end.next_multiple_of(ALIGNMENT);
        end = if bytes == 0 { end } else { start + bytes };
        start
    });
    (starts.collect(), end)
}

impl Part {
    /// Fails where so many bytes from an offset do not lie in it.
    pub fn within(&self, from: usize, bytes: usize) -> Result<()> {
        let fits = from.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        if fits { Ok(()) } else { Err(Error::graph("memory", format!("at most {} bytes", self.bytes), format!("{bytes} from {from}"))) }
    }

    /// Bytes.
    #[cfg(feature = "vendor")]
    pub fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.allocation.context
    }

    /// Fills words of four bytes from an offset that is a multiple of four, in the order of all other work.
    pub fn fill(&self, from: usize, word: u32, words: usize) -> Result<()> {
        self.within(from, 4 * words)?;
        if words == 0 {
            return Ok(());
        }
        self.context().enter()?;
        // SAFETY: the words lie within the allocation.
        self.context().check(unsafe { api::cuMemsetD32Async(self.at + from as u64, word, words, self.context().stream) })
    }

    /// Copies into it, in the order of all other work.
    pub fn write(&self, from: usize, bytes: &[u8]) -> Result<()> {
        self.within(from, bytes.len())?;
        self.context().enter()?;
        // SAFETY: both ends are as long as `bytes`, which the driver has copied when it returns, since that is not page-locked memory.
        self.context().check(unsafe { api::cuMemcpyHtoDAsync_v2(self.at + from as u64, bytes.as_ptr().cast(), bytes.len(), self.context().stream) })
    }

    /// Copies from where another begins, in the order of all other work.
    pub fn copy(&self, from: usize, other: &Part, bytes: usize) -> Result<()> {
        self.within(from, bytes)?;
        other.within(0, bytes)?;
        self.context().enter()?;
        // SAFETY: both ends are as long, and are given back behind all work that was told to use them.
        self.context().check(unsafe { api::cuMemcpyDtoDAsync_v2(self.at + from as u64, other.at, bytes, self.context().stream) })
    }

    /// Copies out of it, once all work before is done.
    pub fn read(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        self.within(from, bytes.len())?;
        self.context().enter()?;
        // SAFETY: both ends are as long as `bytes`, which is not touched before the stream has come to the end of the copy.
        let status = unsafe { api::cuMemcpyDtoHAsync_v2(bytes.as_mut_ptr().cast(), self.at + from as u64, bytes.len(), self.context().stream) };
        self.context().check(status)?;
        self.context().wait()
    }
}

#[cfg(test)]
mod tests {
    use super::lay_out;

    #[test]
    fn parts_lie_one_behind_another_where_they_may_begin() {
        assert_eq!(lay_out(&[4, 0, 256, 257, 8]), (vec![0, 256, 256, 512, 1024], 1032));
        assert_eq!(lay_out(&[0, 12]), (vec![0, 0], 12));
        assert_eq!((lay_out(&[]), lay_out(&[0, 0])), ((vec![], 0), (vec![0, 0], 0)));
    }
}
