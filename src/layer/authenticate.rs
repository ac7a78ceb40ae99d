//! The decision about a request. The service makes it at once, and the response future makes it after
//! a pending verification.

use std::time::Instant;

use http::Request;
use zeroize::Zeroizing;

use super::{
    anonymous::Anonymous, cache_headers::CacheHeaders, config::Config, exempt::Exempt, mark::Mark,
};
use crate::{
    extract::{Extract, Extracted},
    location::{KeyLocation, LocationKind, begins_with_bearer},
    observe::{Decision, Observe, Verdict},
    rejection::{Reason, Rejection},
    request_head::RequestHead,
    respond::{Grpc, RejectionWriter},
    verify::{PresentedKey, Verification, Verify, VerifyError},
};

/// The next step for a request.
pub(super) enum Action<'c, V: Verify> {
    Bypass(Bypass),
    Reject(Rejection),
    Verify(Verification<V::Client, V::Future>, Source<'c>),
}

/// The source of a key during verification.
#[derive(Clone, Copy)]
pub(super) struct Source<'c> {
    pub(super) location: Option<&'c KeyLocation>,
    /// Whether the key begins with `Bearer `.
    pub(super) has_scheme: bool,
}

/// Bytes of a key that the rule of its location leaves.
pub(super) type ResidueBytes<'c> = (Zeroizing<Vec<u8>>, Option<&'c KeyLocation>);

/// The reason why a request needs no key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bypass {
    /// The path is exempt, for all callers.
    ExemptPath,
    /// A predicate exempts the request. It can do so for some callers only.
    ExemptIf,
    Preflight,
    Anonymous,
}

/// A rejection before it is written, because it is much smaller than its response.
pub(super) struct Rejected {
    pub(super) writer: RejectionWriter,
    pub(super) rejection: Rejection,
    pub(super) grpc: Option<Grpc>,
}

// The functions on the path of every request are inlined, because values that pass through memory take
// a tenth of the time of a request.

/// Reads the head in this order: exempt, secure, preflight, extract, length, verify.
///
/// If the rule of a location leaves the key, `residue` receives its bytes.
#[inline(always)]
pub(super) fn authenticate<'c, E: Extract, V: Verify, O>(
    config: &'c Config<E, V, O>,
    head: RequestHead<'_>,
    residue: &mut Option<ResidueBytes<'c>>,
) -> Action<'c, V> {
    let settings = &*config.settings;
    let conditions = &settings.conditions;
    if conditions.exempts_path(head) {
        return Action::Bypass(Bypass::ExemptPath);
    }
    if conditions.exempts_if(head) {
        return Action::Bypass(Bypass::ExemptIf);
    }
    if !conditions.is_secure(head) {
        return Action::Reject(Rejection::new(Reason::Insecure));
    }
    if conditions.is_preflight(head) {
        return Action::Bypass(Bypass::Preflight);
    }
    let extracted = config.extract.extract(head);
    let found = match &extracted {
        Extracted::Found(found) => found,
        Extracted::Absent if settings.optional => return Action::Bypass(Bypass::Anonymous),
        Extracted::Absent => {
            return Action::Reject(Rejection::new(settings.locations.missing_reason(head)));
        }
        Extracted::Ambiguous => return Action::Reject(Rejection::new(Reason::Ambiguous)),
    };
    let location = settings.locations.find(found.location());
    if let Some(found) = found.not_by_rule() {
        let bytes = settings.locations.find_residue(head, found, location, settings.max_key_len);
        *residue = bytes.map(|bytes| (bytes, location));
    }
    match found.key(settings.max_key_len) {
        Ok(key) => {
            let source = Source { location, has_scheme: begins_with_bearer(key) };
            let key = PresentedKey::new(key, head).at(location);
            Action::Verify(config.verify.verify(&key), source)
        }
        Err(reason) => Action::Reject(Rejection::new(reason).at(location)),
    }
}

/// Accepts or rejects a request after the verification.
#[inline(always)]
pub(super) fn conclude<B, E, V: Verify, O: Observe<V::Client>>(
    config: &Config<E, V, O>,
    request: &mut Request<B>,
    Source { location, has_scheme }: Source<'_>,
    result: Result<V::Client, VerifyError>,
    started: Option<Instant>,
) -> Result<Option<CacheHeaders>, Rejected> {
    match result {
        Ok(client) => Ok(accept(config, request, location, client, started)),
        Err(error) => {
            let mut rejection = Rejection::from(error).at(location);
            if has_scheme && location.is_some_and(|it| it.kind() == LocationKind::Header) {
                rejection = rejection.with_scheme_in_header();
            }
            reject_or_report(config, request, rejection, started)
        }
    }
}

#[inline(always)]
fn accept<B, E, V: Verify, O: Observe<V::Client>>(
    config: &Config<E, V, O>,
    request: &mut Request<B>,
    location: Option<&KeyLocation>,
    client: V::Client,
    started: Option<Instant>,
) -> Option<CacheHeaders> {
    emit(config, Verdict::Accepted(&client), location, request, started);
    config.settings.locations.strip(request, false);
    let extensions = request.extensions_mut();
    // An optional layer further out can have inserted one.
    Mark::remove_innermost(extensions);
    extensions.insert(client);
    CacheHeaders::keyed(&config.settings, request.method(), location)
}

/// Forwards a request without verification.
pub(super) fn bypass<B, E, V: Verify, O: Observe<V::Client>>(
    config: &Config<E, V, O>,
    request: &mut Request<B>,
    bypass: Bypass,
    started: Option<Instant>,
) -> Option<CacheHeaders> {
    let settings = &*config.settings;
    let is_exempt = matches!(bypass, Bypass::ExemptPath | Bypass::ExemptIf);
    settings.locations.strip(request, is_exempt);
    // This layer did not verify the client of an outer layer.
    request.extensions_mut().remove::<V::Client>();
    match bypass {
        Bypass::ExemptPath | Bypass::ExemptIf | Bypass::Preflight => {
            emit(config, Verdict::Exempt, None, request, started);
            Mark::Exempt(Exempt::NEW).insert::<V::Client>(request.extensions_mut());
            // A predicate can exempt the request for some callers only.
            let for_some = bypass == Bypass::ExemptIf;
            for_some.then(|| CacheHeaders::keyed(settings, request.method(), None)).flatten()
        }
        Bypass::Anonymous => {
            emit(config, Verdict::Anonymous, None, request, started);
            let reason = settings.locations.missing_reason(RequestHead::of(request));
            let anonymous = Anonymous::new::<V::Client>(&settings.writer, Rejection::new(reason));
            Mark::Anonymous(anonymous).insert::<V::Client>(request.extensions_mut());
            CacheHeaders::anonymous(settings, request.method())
        }
    }
}

pub(super) fn reject_or_report<B, E, V: Verify, O: Observe<V::Client>>(
    config: &Config<E, V, O>,
    request: &mut Request<B>,
    rejection: Rejection,
    started: Option<Instant>,
) -> Result<Option<CacheHeaders>, Rejected> {
    let settings = &*config.settings;
    if settings.report_only {
        emit(config, Verdict::Reported(&rejection), rejection.location(), request, started);
        return Ok(report(config, request, rejection));
    }
    emit(config, Verdict::Rejected(&rejection), rejection.location(), request, started);
    let grpc = Grpc::of(request.method(), request.headers());
    Err(Rejected { writer: settings.writer.clone(), rejection, grpc })
}

/// Forwards a request that the layer would reject if it did not only report.
#[cold]
fn report<B, E, V: Verify, O>(
    config: &Config<E, V, O>,
    request: &mut Request<B>,
    rejection: Rejection,
) -> Option<CacheHeaders> {
    let settings = &*config.settings;
    settings.locations.strip(request, false);
    request.extensions_mut().remove::<V::Client>();
    let anonymous = Anonymous::new::<V::Client>(&settings.writer, rejection.clone());
    Mark::Anonymous(anonymous).insert::<V::Client>(request.extensions_mut());
    let cache = CacheHeaders::reported(settings, request.method(), &rejection);
    request.extensions_mut().insert(rejection);
    cache
}

fn emit<B, E, V: Verify, O: Observe<V::Client>>(
    config: &Config<E, V, O>,
    verdict: Verdict<'_, V::Client>,
    location: Option<&KeyLocation>,
    request: &Request<B>,
    started: Option<Instant>,
) {
    if config.observe.is_active() {
        let (method, path) = (request.method(), request.uri().path());
        let elapsed = started.into();
        config.observe.on_decision(&Decision { verdict, location, method, path, elapsed });
    }
}
