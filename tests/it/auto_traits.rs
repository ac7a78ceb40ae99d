//! The auto traits, `Clone` and `Debug` of every public type.
//!
//! The compiler checks them. The one test keeps the list complete.

#![cfg(all(
    feature = "axum",
    feature = "file",
    feature = "limit",
    feature = "metrics",
    feature = "store",
    feature = "test-util",
    feature = "tracing",
    feature = "usage"
))]

use crate::support;

use std::{
    any::type_name,
    error::Error,
    fmt::{Debug, Display},
    future::Ready,
    hash::Hash,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use support::public_types;
use tower_api_key::{
    Anonymous, ApiKeyLayer, ApiKeyService, Client, ClientOf, ClientRejection, Exempt, Identity,
    KeyDigest, KeyLocation, Keyring, KeyringBuilder, Rejection, ResponseBody, ResponseFuture,
    error::{
        ConfigError, ConfigErrorKind, KeyringError, KeyringErrorKind, ParseDigestError,
        ParseFormatError, ParseKeyError, ParseKeyErrorKind,
    },
    extract::{self, Extract, Extracted, FirstOf, Found, RequestHead},
    key::{KeyFormat, MintedKey},
    key_file::{
        KeyFile, KeyFileError, KeyFileErrorKind, KeyFileEvent, KeyFileOptions, KeyFileProblem,
        KeyFileStatus,
    },
    limit::{
        self, Ask, CalendarWindow, Limit, LimitState, LimitStore, Limiter, Limits, Peer,
        RateLimitHeaders, Subject, Taken, Taking,
        client_limit::{self, ClientLimitLayer, ClientLimitService, LimitStatusService},
        failure_limit::{self, FailureLimitLayer, FailureLimitService},
    },
    location::LocationKind,
    observe::{Decision, Metrics, Observe, Outcome, Tracing},
    propagate_client::{PropagateClientFuture, PropagateClientLayer, PropagateClientService},
    record::Record,
    rejection::{Reason, RejectionKind},
    require_scope::{RequireScopeLayer, RequireScopeService},
    respond::{GuardFuture, Json, Problem, RejectionWriter, Respond, Text},
    set_client_header::{SetClientHeaderLayer, SetClientHeaderService},
    store::{
        Cached, CachedEvent, CachedFuture, CachedOptions, CachedStatus, Change, Changed, Cursor,
        Draft, KeyChange, KeyChangeKind, KeyStore, Listener, MemoryStore, Mirrored, MirroredEvent,
        MirroredOptions, MirroredStatus, Page, Start, StoreError, StoreErrorKind, StoreProblem,
        Target, Write,
    },
    test_util::{StoreBehaviour, Unprotected},
    usage::{
        self, Counts, JsonLines, JsonLinesOptions, LastUse, Usage, UsageBatch, UsageBuilder,
        UsageError, UsageFileError, UsageFileErrorKind, UsageHistory, UsageRow, UsageSink,
        UsageWriter, UsageWriterBuilder,
    },
    verify::{
        self, FromAsyncFn, FromAsyncFnFuture, MapClient, MapClientFuture, Never, Or, PresentedKey,
        TryMapClient, TryMapClientFuture, Verification, Verify, VerifyError,
    },
};

/// A row has types with parameters `T` and `U`.
///
/// The types have the traits in the first brackets if `T` and `U` have them, and those in the second always.
macro_rules! are {
    ($([$($as_parts:path),*] [$($always:path),*] $($type:ty),+;)+) => {
        $(const _: () = {
            fn is<X: $($as_parts +)* $($always +)*>() {}
            #[allow(dead_code, reason = "that it compiles is all")]
            fn are<T, U>(_: T, _: U)
            where
                T: Clone + Send + Sync + 'static $(+ $as_parts)*,
                U: 'static $(+ $as_parts)*,
            {
                $(is::<$type>();)+
            }
        };)+

        /// The types of all rows, with types instead of `T` and `U`.
        fn listed() -> Vec<&'static str> {
            type T = ();
            type U = ();
            vec![$($(type_name::<$type>()),+),+]
        }
    };
}

/// A future of a verifier.
type Answer<T> = Ready<Result<T, VerifyError>>;

are! {
    // Enums, and a digest.
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Eq, Hash, Debug]
        ConfigErrorKind, KeyringErrorKind, ParseKeyErrorKind, KeyFileErrorKind, Outcome, LocationKind, Reason, RejectionKind, KeyDigest, Peer,
        CalendarWindow, RateLimitHeaders, Subject<'static>, UsageFileErrorKind, Counts, KeyChangeKind, StoreErrorKind;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Debug, Default] Tracing, Counts;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Debug] Exempt;

    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Eq, Debug] Limit, LimitState, Taken, limit::Outcome;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Debug] Ask<'static>;

    // Values.
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Clone, Debug]
        Client, KeyLocation, Unprotected, Limits, KeyFormat, Json, Problem, Text, ConfigError, KeyringError, ParseDigestError, ParseKeyError,
        ParseFormatError, usage::Subject, UsageRow, LastUse, UsageBatch, UsageHistory, JsonLinesOptions;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Debug] []
        Record<T>, ClientOf<T>, FirstOf<(T, U)>, Or<T, U>, MapClient<T, U>, TryMapClient<T, U>;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] [] ResponseBody<T>, MintedKey;
    [Eq] [] Client, KeyLocation, KeyFormat, ConfigError, KeyringError, ParseDigestError, ParseKeyError, ParseFormatError,
        usage::Subject, UsageRow, LastUse, UsageBatch;
    [Hash] [] KeyLocation;
    [Default] [] KeyFormat, Json, Problem, Text, Keyring<T>, KeyFileOptions, ResponseBody<T>,
        Usage, UsageHistory;

    // Stores.
    [Send, Sync, Unpin] [Clone, Eq, Debug] Cursor, Start, Target, Write;
    [Send, Sync, Unpin] [Clone, Debug]
        Cached, CachedEvent, CachedStatus, Change, KeyChange, MemoryStore, Mirrored, MirroredEvent, StoreProblem, MirroredStatus, Page, StoreError;
    [Send, Sync, Unpin] [Copy, Debug] StoreBehaviour;
    [Send, Sync, Unpin] [Debug] CachedFuture, CachedOptions, Changed, Draft, MirroredOptions;

    // Types that can hold an error, a responder or a closure of a user.
    [Send, Sync, Unpin] [Clone, Debug]
        RejectionWriter, Rejection, Anonymous, KeyFile, KeyFileError, KeyFileEvent, KeyFileOptions, KeyFileProblem,
        KeyFileStatus, Keyring<T>, Limiter, extract::FromFn<T>, verify::FromFn<T>, FromAsyncFn<T>, Usage, UsageError, UsageFileError, JsonLines;
    [Send, Sync, Unpin] [Debug] KeyringBuilder<T>, VerifyError, ClientRejection, Metrics, UsageBuilder, UsageWriter, UsageWriterBuilder<T>;
    [Send, Sync, Unpin] [Clone, Debug] ApiKeyLayer<T, U, U>, ApiKeyService<T, U, U, U>;
    [Send, Sync, Unpin] [Clone, Debug]
        FailureLimitLayer<T, U>, FailureLimitService<T, U, U>, ClientLimitLayer<T, U>,
        ClientLimitService<T, U, U>, LimitStatusService<T, U>;

    [Send, Sync, Unpin] [Clone, Debug]
        RequireScopeLayer<T>, RequireScopeService<T, U>, SetClientHeaderLayer<T>, SetClientHeaderService<T, U>,
        PropagateClientLayer<T>, PropagateClientService<T, U>;

    // Futures, and types that borrow from a request.
    [Send, Sync, Unpin] [Debug]
        ResponseFuture<T, U>, GuardFuture<T>, failure_limit::ResponseFuture<T>,
        client_limit::ResponseFuture<T, U>, PropagateClientFuture<T, U>, FromAsyncFnFuture<T>, Verification<T, Answer<T>>, Never<T>, MapClientFuture<T, U>, TryMapClientFuture<T, U>, Extracted<'static>, Found<'static>,
        Decision<'static, T>;
    [Send, Sync, Unpin] [Copy, Debug] RequestHead<'static>;
    [Send, Unpin] [Debug] Taking;
    [Send, Unpin] [Clone, Debug] PresentedKey<'static>;

    [Send, Sync] [Error]
        ConfigError, KeyringError, ParseDigestError, ParseKeyError, ParseFormatError, KeyFileError, ClientRejection, Rejection,
        UsageError, UsageFileError, StoreError;
}

#[test]
fn every_public_type_is_in_the_list() {
    let missing = public_types::missing(listed());
    assert!(missing.is_empty(), "add these types above: {missing:#?}");
}

/// Traits that are implemented for pointers, so that one type can hold any implementation.
const _: fn() = || {
    fn is_extract<E: Extract>() {}
    fn is_verify<V: Verify>() {}
    fn is_respond<R: Respond>() {}
    fn is_observe<O: Observe>() {}
    fn is_sink<S: UsageSink>() {}
    fn is_pointer<T: ?Sized>() {}
    is_extract::<Box<dyn Extract + Send + Sync>>();
    is_extract::<Arc<dyn Extract>>();
    is_verify::<Box<dyn Verify<Client = Client, Future = verify::Never<Client>> + Send + Sync>>();
    is_verify::<Arc<dyn Verify<Client = Client, Future = Answer<Client>>>>();
    is_respond::<Box<dyn Respond + Send + Sync>>();
    is_respond::<Arc<dyn Respond>>();
    is_observe::<Box<dyn Observe + Send + Sync>>();
    is_observe::<Arc<dyn Observe>>();
    is_pointer::<dyn LimitStore>();
    is_sink::<Box<dyn UsageSink>>();
    is_sink::<Arc<dyn UsageSink>>();
    is_pointer::<dyn KeyStore>();
    is_pointer::<dyn Listener>();
    is_pointer::<dyn Identity>();
};

/// `MintedKey` is not `Clone`, and types with secrets are not `Display`.
///
/// If a type had the trait, `_` would be ambiguous and this would not compile.
const _: fn() = || {
    trait Is<A> {
        fn not() {}
    }
    struct Cloned;
    struct Shown;
    impl<T> Is<()> for T {}
    impl<T: Clone> Is<Cloned> for T {}
    <MintedKey as Is<_>>::not();

    trait Has<A> {
        fn no_text() {}
    }
    impl<T> Has<()> for T {}
    impl<T: Display> Has<Shown> for T {}
    <MintedKey as Has<_>>::no_text();
    <KeyDigest as Has<_>>::no_text();
    <PresentedKey<'_> as Has<_>>::no_text();
    <Found<'_> as Has<_>>::no_text();
    <Keyring as Has<_>>::no_text();
};
