use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::watch::Receiver;

use super::{entry::verify, flights::Found};
use crate::{
    Client,
    store::{StoreError, StoreErrorKind, changes::Clock},
    verify::VerifyError,
};

/// The future of a key that is looked up in the store. The future of [`Cached`](super::Cached).
#[must_use = "futures do nothing unless you poll them"]
pub struct CachedFuture(Pin<Box<dyn Future<Output = Result<Client, VerifyError>> + Send + Sync>>);

impl CachedFuture {
    pub(super) fn new(mut found: Receiver<Option<Found>>, clock: Clock) -> Self {
        Self(Box::pin(async move {
            let found = match found.wait_for(Option::is_some).await {
                Ok(found) => found.clone(),
                Err(_) => None,
            };
            match found {
                Some(Ok(entry)) => verify(entry.as_deref(), &clock),
                Some(Err(error)) => Err(VerifyError::failed(error)),
                None => {
                    let text = "the lookup was cancelled, because the runtime shuts down";
                    Err(VerifyError::failed(StoreError::new(StoreErrorKind::Unavailable, text)))
                }
            }
        }))
    }
}

impl Future for CachedFuture {
    type Output = Result<Client, VerifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for CachedFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedFuture").finish_non_exhaustive()
    }
}
