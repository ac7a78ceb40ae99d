//! Tells a layer outside that a call or a poll ended a verification.

use std::cell::Cell;

thread_local! {
    /// The requests that `ApiKeyLayer`s passed on in this thread.
    ///
    /// A call or a poll of one request runs in one thread. So this needs no allocation, unlike an extension.
    static PASSED: Cell<u32> = const { Cell::new(0) };
}

/// Counts a request that goes to the inner service.
#[inline]
pub(super) fn note_passed() {
    PASSED.with(|passed| passed.set(passed.get().wrapping_add(1)));
}

/// Returns a number that changes when an `ApiKeyLayer` passes a request on.
pub(crate) fn passed_in_this_thread() -> u32 {
    PASSED.with(Cell::get)
}
