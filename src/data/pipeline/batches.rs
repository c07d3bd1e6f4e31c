//! The batches of one epoch: workers claim positions of the order one after another, and whoever completes a batch puts it together.

use super::{Batch, Plan, Row};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The batches of one epoch, in their order. Ends after the first error. Dropping it stops the workers, each after the picture in hand, and
/// waits for them.
#[derive(Debug)]
pub struct Batches {
    work: Arc<Work>,
    workers: Vec<JoinHandle<()>>,
    /// The batch that comes next.
    next: usize,
    end: usize,
}

/// What the workers and the one who takes the batches share.
#[derive(Debug)]
struct Work {
    plan: Plan,
    prefetch: usize,
    state: Mutex<State>,
    /// There is room ahead, or no more to do.
    may_claim: Condvar,
    /// A batch is whole.
    is_whole: Condvar,
}

#[derive(Debug)]
struct State {
    /// The position of the order that is claimed next.
    claimed: usize,
    /// The batch that is handed out next.
    next: usize,
    /// The batches from `next` on that have been begun.
    begun: VecDeque<Begun>,
    stopped: bool,
}

#[derive(Debug)]
struct Begun {
    /// A row for each position, as they come.
    rows: Vec<Option<Result<Row>>>,
    missing: usize,
    whole: Option<Result<Batch>>,
}

impl Batches {
    pub(super) fn start(plan: Plan, first: usize) -> Self {
        let end = if plan.batch == 0 { first.saturating_add(1) } else { plan.order.len().div_ceil(plan.batch) };
        let options = plan.shared.options;
        let state = State { claimed: first.saturating_mul(plan.batch), next: first, begun: VecDeque::new(), stopped: plan.check().is_err() };
        let (may_claim, is_whole) = (Condvar::new(), Condvar::new());
        let work = Arc::new(Work { plan, prefetch: options.prefetch.max(1), state: Mutex::new(state), may_claim, is_whole });
        let spawn = |number: usize| {
            let work = work.clone();
            std::thread::Builder::new().name(format!("pictures-{number}")).spawn(move || work.run())
        };
        // Where a thread cannot be had the others do its work, and where there is none the one who asks does.
        let workers = if first < end { (0..options.workers).map_while(|number| spawn(number).ok()).collect() } else { Vec::new() };
        Batches { work, workers, next: first, end }
    }

    /// Tells the workers that no more is wanted, and waits for them.
    fn stop(&mut self) {
        self.work.lock().stopped = true;
        self.work.may_claim.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches what panics in it and hands it on as an error.
            let _ = worker.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.next >= self.end {
            return None;
        }
        let result = self.work.plan.check().and_then(|()| if self.workers.is_empty() { self.work.make(self.next) } else { self.work.take() });
        self.next = if result.is_ok() { self.next + 1 } else { self.end };
        if self.next == self.end {
            self.stop();
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.next < self.end), Some(self.end.saturating_sub(self.next)))
    }
}

impl std::iter::FusedIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Work {
    /// The state. A lock that someone panicked over is as good as any: every change of the state is whole before anything can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One batch, made here and now.
    fn make(&self, batch: usize) -> Result<Batch> {
        let from = batch * self.plan.batch;
        let to = (from + self.plan.batch).min(self.plan.order.len());
        let rows = (from..to).map(|position| self.row(position)).collect::<Result<_>>()?;
        self.plan.together(rows)
    }

    /// The next batch, as soon as the workers have it.
    fn take(&self) -> Result<Batch> {
        let unfinished = |state: &mut State| state.begun.front().is_none_or(|begun| begun.whole.is_none());
        let mut state = self.is_whole.wait_while(self.lock(), unfinished).unwrap_or_else(PoisonError::into_inner);
        let whole = state.begun.pop_front().and_then(|begun| begun.whole);
        state.next += 1;
        drop(state);
        self.may_claim.notify_all();
        whole.unwrap_or_else(|| Err(Error::graph("pipeline", "a batch", "none")))
    }

    /// What a worker does.
    fn run(&self) {
        while let Some(position) = self.claim() {
            let row = self.row(position);
            self.hand_in(position, row);
        }
    }

    /// The next position that is to be prepared, when there is room for it; none when there is no more.
    fn claim(&self) -> Option<usize> {
        let (batch, end) = (self.plan.batch, self.plan.order.len());
        let too_far = |state: &mut State| !state.stopped && state.claimed < end && state.claimed / batch >= state.next + self.prefetch;
        let mut state = self.may_claim.wait_while(self.lock(), too_far).unwrap_or_else(PoisonError::into_inner);
        if state.stopped || state.claimed >= end {
            return None;
        }
        let position = state.claimed;
        state.claimed += 1;
        if position.is_multiple_of(batch) {
            let missing = batch.min(end - position);
            state.begun.push_back(Begun { rows: (0..missing).map(|_| None).collect(), missing, whole: None });
        }
        Some(position)
    }

    /// One row. A panic in code that no one foresaw must not leave the one who waits for the row waiting for ever.
    fn row(&self, position: usize) -> Result<Row> {
        let made = catch_unwind(AssertUnwindSafe(|| self.plan.row(position)));
        made.unwrap_or_else(|_| Err(Error::graph("pipeline", "a picture prepared", format!("a panic at position {position} of the order"))))
    }

    /// Puts a row into its place, and the batch together where it was the last one missing.
    fn hand_in(&self, position: usize, row: Result<Row>) {
        let (number, place) = (position / self.plan.batch, position % self.plan.batch);
        let rows = {
            let mut state = self.lock();
            let Some(begun) = state.begun(number) else { return };
            if let Some(empty) = begun.rows.get_mut(place) {
                *empty = Some(row);
                begun.missing -= 1;
            }
            if begun.missing > 0 {
                return;
            }
            std::mem::take(&mut begun.rows)
        };
        let whole = rows.into_iter().flatten().collect::<Result<_>>().and_then(|rows| self.plan.together(rows));
        if let Some(begun) = self.lock().begun(number) {
            begun.whole = Some(whole);
        }
        self.is_whole.notify_all();
    }
}

impl State {
    /// The batch of this number, where it has been begun and not been handed out.
    fn begun(&mut self, number: usize) -> Option<&mut Begun> {
        let place = number.checked_sub(self.next)?;
        self.begun.get_mut(place)
    }
}
