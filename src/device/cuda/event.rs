//! Moments in streams.

use super::driver::Context;
use crate::error::Result;
use cudarc::driver::sys as api;
use std::ffi::c_uint;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

/// A moment in a stream. One that is not recorded yet has passed.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    raw: api::CUevent,
}

// SAFETY: a handle that the driver takes from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// One to be recorded, for the order of streams: it knows no time.
    pub fn new(context: &Arc<Context>) -> Result<Self> {
        Self::with(context, api::CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint)
    }

    /// The moment behind all that was put into the main stream so far.
    pub fn now(context: &Arc<Context>) -> Result<Self> {
        let event = Self::with(context, api::CUevent_flags::CU_EVENT_DEFAULT as c_uint)?;
        event.record(context.stream)?;
        Ok(event)
    }

    fn with(context: &Arc<Context>, flags: c_uint) -> Result<Self> {
        context.enter()?;
        let mut raw = null_mut();
        // SAFETY: `raw` is where the driver puts the event.
        context.check(unsafe { api::cuEventCreate(&mut raw, flags) })?;
        Ok(Event { context: context.clone(), raw })
    }

    /// Makes it the moment behind all that was put into a stream of its context.
    pub fn record(&self, stream: api::CUstream) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the event lives, and so does the stream as long as the context.
        self.context.check(unsafe { api::cuEventRecord(self.raw, stream) })
    }

    /// What is put into a stream of its context from now on begins behind it.
    pub fn holds_back(&self, stream: api::CUstream) -> Result<()> {
        self.context.enter()?;
        // SAFETY: as above.
        self.context.check(unsafe { api::cuStreamWaitEvent(stream, self.raw, 0) })
    }

    /// Waits for it on the host.
    pub fn wait(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the event lives.
        self.context.check(unsafe { api::cuEventSynchronize(self.raw) })
    }

    /// The time until a later one, once both have passed; of such as were made by `now`.
    pub fn until(&self, later: &Event) -> Result<Duration> {
        later.wait()?;
        let mut milliseconds = 0.0;
        // SAFETY: both events are recorded, and the stream has passed them.
        self.context.check(unsafe { api::cuEventElapsedTime(&mut milliseconds, self.raw, later.raw) })?;
        Ok(Duration::from_secs_f32(milliseconds.max(0.0) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was made in `with`.
        unsafe {
            let _ = self.context.enter();
            let _ = api::cuEventDestroy_v2(self.raw);
        }
    }
}
