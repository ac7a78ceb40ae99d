//! The connection between a writer and its background work.

use std::{
    future::poll_fn,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use super::error::{Fault, UsageError};

#[derive(Default)]
pub(super) struct Signal(Mutex<State>);

#[derive(Default)]
struct State {
    /// The number of requested flushes.
    asked: u64,
    /// The last flush that is done. An attempt does all flushes from before its start.
    done: u64,
    last_error: Option<UsageError>,
    /// The writer was dropped.
    is_closed: bool,
    /// The background work has ended.
    is_ended: bool,
    background: Option<Waker>,
    /// The futures of waiting flushes.
    waiting: Vec<Waker>,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a flush and waits until it is done.
    pub(super) async fn flush(&self) -> Result<(), UsageError> {
        let mut ticket = None;
        poll_fn(|cx| {
            let mut state = self.state();
            if state.is_ended {
                return Poll::Ready(Err(Fault::Ended.into()));
            }
            let ticket = *ticket.get_or_insert_with(|| {
                state.asked += 1;
                state.background.take().into_iter().for_each(Waker::wake);
                state.asked
            });
            if state.done >= ticket {
                return Poll::Ready(state.last_error.clone().map_or(Ok(()), Err));
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn last_error(&self) -> Option<UsageError> {
        self.state().last_error.clone()
    }

    /// Asks the background work to end.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.background.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until a flush is wanted, or the end.
    pub(super) async fn wanted(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.is_closed || state.asked > state.done {
                return Poll::Ready(());
            }
            state.background = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Returns the last requested flush, and whether the background work must end.
    pub(super) fn begin(&self) -> (u64, bool) {
        let state = self.state();
        (state.asked, state.is_closed)
    }

    /// Records the result of an attempt.
    pub(super) fn finish(&self, ticket: u64, result: Result<(), UsageError>) {
        let error = result.err();
        let mut state = self.state();
        let before = mem::replace(&mut state.last_error, error.clone());
        state.done = ticket;
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        #[cfg(feature = "tracing")]
        log(before.is_some(), error.as_ref());
        #[cfg(not(feature = "tracing"))]
        drop(before);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Records that the background work has ended.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_ended = true;
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Logs when writing begins to fail, and when it works again.
#[cfg(feature = "tracing")]
fn log(has_failed_before: bool, error: Option<&UsageError>) {
    const TARGET: &str = "tower_api_key::usage";
    match error {
        Some(error) if !has_failed_before => {
            // A path or a store can put line breaks into the text.
            let error = error.to_string().escape_debug().to_string();
            tracing::warn!(target: TARGET, error, "usage was not written, its counts stay in memory");
        }
        None if has_failed_before => {
            tracing::info!(target: TARGET, "usage is written again");
        }
        _ => {}
    }
}
