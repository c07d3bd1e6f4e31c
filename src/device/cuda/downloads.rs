//! How results get out of a device's memory: through page-locked memory, one piece of which the host empties while the other is filled.

use super::allocation::Part;
use super::driver::Context;
use super::pages::{PIECE, Pages};
use crate::error::{Error, Result};
use std::sync::Arc;

/// The pieces of one device, made when they are first wanted.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    pieces: Option<[Pages; 2]>,
}

impl Downloads {
    /// Copies from where a part begins, once all work before is done.
    pub fn read(&mut self, from: &Part, bytes: &mut [u8]) -> Result<()> {
        let Some(pieces) = self.pieces(from.context())? else { return from.read(0, bytes) };
        let mut before: Option<(usize, &mut [u8])> = None;
        for (n, some) in bytes.chunks_mut(PIECE).enumerate() {
            pieces[n % 2].fetch(from, n * PIECE, some.len())?;
            if let Some((n, some)) = before.replace((n, some)) {
                pieces[n % 2].give(some)?;
            }
        }
        before.map_or(Ok(()), |(n, some)| pieces[n % 2].give(some))
    }

    /// None where there is no memory for them.
    fn pieces(&mut self, context: &Arc<Context>) -> Result<Option<&mut [Pages; 2]>> {
        if self.pieces.is_none() {
            self.pieces = match Pages::new(context).and_then(|first| Ok([first, Pages::new(context)?])) {
                Err(Error::OutOfMemory { .. }) => None,
                made => Some(made?),
            };
        }
        Ok(self.pieces.as_mut())
    }
}
