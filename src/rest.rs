use std::{fmt, sync::Arc, time::Instant};

use http::Request;
use tower_service::Service;

use crate::{
    config::Config,
    extract::Extract,
    future::Step,
    observe::Observe,
    place::Place,
    service::Asked,
    verify::{Answer, Refusal, Resume, Verify},
};

/// A request whose verifier takes its time. The key has left it already.
///
/// It is `pub` only since the service's `Future` names it.
pub struct Rest<S, B, E, V, O> {
    pub(crate) inner: S,
    pub(crate) config: Arc<Config<E, V, O>>,
    pub(crate) request: Request<B>,
    pub(crate) place: Option<Place>,
    pub(crate) has_scheme: bool,
    pub(crate) started: Option<Instant>,
}

impl<S, B, E, V, O> Resume<<V::Answer as Answer>::Client> for Rest<S, B, E, V, O>
where
    S: Service<Request<B>>,
    E: Extract,
    V: Verify,
    O: Observe<<V::Answer as Answer>::Client>,
{
    type Next = Step<S::Future>;

    fn resume(self, answer: Result<<V::Answer as Answer>::Client, Refusal>) -> Self::Next {
        let Self { mut inner, config, mut request, place, has_scheme, started } = self;
        let asked = Asked { place: place.as_ref(), has_scheme };
        match config.decide(&mut request, asked, answer, started) {
            Ok(cache) => Step::inner(inner.call(request), cache),
            Err(refused) => Step::refused(refused),
        }
    }
}

impl<S, B, E, V, O> fmt::Debug for Rest<S, B, E, V, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt("Rest", f)
    }
}
