//! What a GPU's driver says later, once, through a callback: handed over to whoever awaits it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A question and where its answer is told.
pub(super) fn question<T>() -> (Tell<T>, Answer<T>) {
    let state = Arc::new(Mutex::new(State::Open(Waker::noop().clone())));
    (Tell(state.clone()), Answer(state))
}

enum State<T> {
    /// Not told yet; who awaits it is woken then.
    Open(Waker),
    /// Told, or dropped without a word.
    Closed(Option<T>),
}

/// The side that knows.
pub(super) struct Tell<T>(Arc<Mutex<State<T>>>);

/// The side that waits; none where the other was dropped without a word.
pub(super) struct Answer<T>(Arc<Mutex<State<T>>>);

impl<T> Tell<T> {
    pub fn tell(self, what: T) {
        self.close(Some(what));
    }

    fn close(&self, what: Option<T>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Open(waker) = &mut *state else { return };
        let waker = waker.clone();
        *state = State::Closed(what);
        drop(state);
        waker.wake();
    }
}

impl<T> Drop for Tell<T> {
    fn drop(&mut self) {
        self.close(None);
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            State::Closed(what) => Poll::Ready(what.take()),
        }
    }
}
