//! Ctrl-C: the first lets the work at hand finish and what is done be kept, the second ends at once.

use super::stop::Stop;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
/// There is work at hand that is worth finishing.
static WORKING: AtomicBool = AtomicBool::new(false);

/// Listens to Ctrl-C from now on. Where that cannot be had, it ends the program as it always does.
pub fn listen() {
    let _ = ctrlc::set_handler(|| {
        if !WORKING.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Stop::Interrupted.code()));
        }
    });
}

/// From now on the work at hand is finished first.
pub fn working() {
    WORKING.store(true, Ordering::SeqCst);
}

/// Ends the verb where the user has asked for it.
pub fn check() -> Result<(), Stop> {
    if ASKED.load(Ordering::SeqCst) { Err(Stop::Interrupted) } else { Ok(()) }
}
