//! What another library is given that works on a GPU in place of our kernels, in a benchmark: the same stream, the same clock, memory beside ours.

use super::Gpu;
use super::allocation::{Part, allocate};
use super::driver::{Context, Recorded};
use super::event::Event;
use super::memory::POISON_FLOAT;
use crate::error::Result;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// A GPU that another library works on.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    context: Arc<Context>,
}

impl Gpu {
    /// This GPU, for another library.
    pub(crate) fn guest(&self) -> Guest {
        Guest { context: self.context().clone() }
    }
}

impl Guest {
    /// Makes the GPU the calling thread's, as libraries expect that are built on CUDA's runtime, and gives the stream that all work goes into, which lives as long as `self`.
    pub fn enter(&self) -> Result<*mut c_void> {
        self.context.enter()?;
        Ok(self.context.stream.cast())
    }

    /// So many bytes of zeros, more than none, in whole words of four bytes.
    pub fn allocate(&self, bytes: usize) -> Result<Part> {
        let words = bytes.div_ceil(4);
        let part = allocate(&self.context, 4 * words)?;
        part.fill(0, 0, words)?;
        Ok(part)
    }

    /// Waits until all work is done.
    pub fn wait(&self) -> Result<()> {
        self.context.wait()
    }

    /// Records what `work` puts into the stream, as a session's kernels are recorded; nothing else may go into it meanwhile.
    pub fn record(&self, work: impl FnOnce() -> Result<()>) -> Result<Recorded> {
        Recorded::of_stream(&self.context, self.context.stream, work)
    }

    /// Replays it between two events and waits: what it took, by the GPU's clock.
    pub fn clocked(&self, recorded: &Recorded) -> Result<Duration> {
        let before = Event::now(&self.context)?;
        recorded.launch()?;
        before.until(&Event::now(&self.context)?)
    }
}

impl Part {
    /// Fills all of it with NaN, of whichever type: what shows where nothing is written.
    pub fn poison(&self) -> Result<()> {
        self.fill(0, POISON_FLOAT, self.len() / 4)
    }
}
