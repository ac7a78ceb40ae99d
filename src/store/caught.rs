use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use super::{StoreError, StoreErrorKind};

/// Turns a panic of a future into an error, because a task must not end unnoticed.
pub(super) async fn caught<T>(
    future: impl Future<Output = Result<T, StoreError>>,
    kind: StoreErrorKind,
    text: &'static str,
) -> Result<T, StoreError> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(StoreError::new(kind, text))))
    })
    .await
}
