//! How large tensors get into a device's memory while it computes.
//!
//! They go in pieces. The host puts one into page-locked memory and goes on; a stream of its own takes it to a buffer on the device, while the main stream may
//! still be reading what the tensor replaces; and the main stream, once it has come that far, copies it to its place. This last copy costs little, and leaves
//! the order of all else to the main stream alone. Pieces are used by turns, and three waits keep them whole; `tests/cuda/uploads.rs` fails without each of them.

use super::allocation::{Part, allocate};
use super::driver::Context;
use super::event::Event;
use super::pages::{PIECE, Pages};
use crate::error::{Error, Result};
use std::sync::Arc;

/// There are no more pieces than these: for a step's pictures, or most of them.
const PIECES: usize = 8;
/// What is no longer than this the driver puts aside itself, and does not wait for the stream either.
const SMALL: usize = 64 << 10;

/// The pieces of one device, made when they are first wanted.
#[derive(Debug)]
pub(super) struct Uploads {
    pieces: Vec<Piece>,
    /// How many there may be: less where there was no memory for another.
    most: usize,
    turn: usize,
}

impl Default for Uploads {
    fn default() -> Self {
        Uploads { pieces: Vec::new(), most: PIECES, turn: 0 }
    }
}

impl Uploads {
    /// Copies to where a part begins, in the order of all other work, without a wait for it as long as pieces are left. What is copied may change when this
    /// returns.
    pub fn write(&mut self, to: &Part, bytes: &[u8]) -> Result<()> {
        if bytes.len() <= SMALL {
            return to.write(0, bytes);
        }
        for (n, some) in bytes.chunks(PIECE).enumerate() {
            match self.next(to.context())? {
                Some(piece) => piece.carry(some, to, n * PIECE)?,
                None => to.write(n * PIECE, some)?,
            }
        }
        Ok(())
    }

    /// The piece whose turn it is; none where there is no memory for any.
    fn next(&mut self, context: &Arc<Context>) -> Result<Option<&mut Piece>> {
        if self.pieces.len() < self.most {
            match Piece::new(context) {
                Ok(piece) => self.pieces.push(piece),
                Err(Error::OutOfMemory { .. }) => self.most = self.pieces.len(),
                Err(e) => return Err(e),
            }
        }
        let turn = self.turn.checked_rem(self.pieces.len());
        self.turn += 1;
        Ok(turn.and_then(|turn| self.pieces.get_mut(turn)))
    }
}

#[derive(Debug)]
struct Piece {
    host: Pages,
    device: Part,
    /// The main stream has copied what is on the device.
    taken: Event,
}

impl Piece {
    fn new(context: &Arc<Context>) -> Result<Self> {
        Ok(Piece { host: Pages::new(context)?, device: allocate(context, PIECE)?, taken: Event::new(context)? })
    }

    /// Takes these bytes to an offset of a part. The waits: of the host for the copy from its memory before, within `send`; of that copy for the main stream's
    /// from the device's buffer before; of the main stream's for it.
    fn carry(&mut self, bytes: &[u8], to: &Part, from: usize) -> Result<()> {
        let context = to.context();
        self.taken.holds_back(context.copies)?;
        let arrived = self.host.send(bytes, &self.device, context.copies)?;
        arrived.holds_back(context.stream)?;
        to.copy(from, &self.device, bytes.len())?;
        self.taken.record(context.stream)
    }
}
