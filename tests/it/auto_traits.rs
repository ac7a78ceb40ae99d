//! What every public type can be used for: sent to another thread, shared, moved while it is pinned,
//! kept across a panic, cloned, printed. It is checked by compiling; the one test holds the list
//! complete.

#![cfg(all(
    feature = "axum",
    feature = "file",
    feature = "metrics",
    feature = "test-util",
    feature = "tracing"
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
    Anonymous, ApiKeyLayer, ApiKeyService, Client, ClientOf, Identity, KeyDigest, Keyring,
    NoClient, Place, Rejection, ResponseBody, ResponseFuture,
    client_header::{ClientHeaderLayer, ClientHeaderService},
    error::{ConfigError, ConfigErrorKind},
    extract::{self, Cookie, Extract, Extracted, FirstOf, Found, Head, Header, Query, Scheme},
    key::{KeyFormat, MintedKey},
    key_file::{
        KeyFile, KeyFileError, KeyFileErrorKind, KeyFileEvent, KeyFileOptions, KeyFileProblem,
        KeyFileStatus,
    },
    observe::{
        ClientInResponseFuture, ClientInResponseLayer, ClientInResponseService, Decision, Metrics,
        Observe, Outcome, Tracing,
    },
    place::PlaceKind,
    rejection::{Reason, RejectionKind},
    respond::{Json, Problem, Respond, Text},
    scope::{self, RequireScopeLayer, RequireScopeService},
    test_util::GotIn,
    verify::{self, AnswerFuture, FromAsyncFn, Later, Or, Presented, Record, Refusal, Verify},
};

/// In a row, types are all that is in the first brackets where their parameters `T` and `U` are, and
/// all that is in the second whatever those are.
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

        /// The types of all rows, with something in the place of `T` and `U`.
        fn listed() -> Vec<&'static str> {
            type T = ();
            type U = ();
            vec![$($(type_name::<$type>()),+),+]
        }
    };
}

/// A future of an answer.
type Answer<T> = Ready<Result<T, Refusal>>;

are! {
    // Words, and a digest.
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Eq, Hash, Debug]
        ConfigErrorKind, KeyFileErrorKind, Outcome, PlaceKind, Reason, RejectionKind, KeyDigest;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Copy, Debug, Default] Tracing;

    // Values.
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe] [Clone, Debug]
        Client, Place, GotIn, KeyFormat, ConfigError, Header, Query, Cookie, Scheme, Json, Problem, Text;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Debug] []
        Record<T>, ClientOf<T>, FirstOf<(T, U)>, Or<T, U>;
    [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] [] ResponseBody<T>, MintedKey;
    [Eq] [] Client, Place, KeyFormat, ConfigError;
    [Hash] [] Place;
    [Default] [] KeyFormat, Json, Problem, Text, Keyring<T>, KeyFileOptions, ResponseBody<T>;

    // What may hold an error, a responder or a closure of somebody else's.
    [Send, Sync, Unpin] [Clone, Debug]
        Rejection, Anonymous, KeyFile, KeyFileError, KeyFileEvent, KeyFileOptions, KeyFileProblem,
        KeyFileStatus, Keyring<T>, extract::FromFn<T>, verify::FromFn<T>, FromAsyncFn<T>;
    [Send, Sync, Unpin] [Debug] Refusal, NoClient, Metrics;
    [Send, Sync, Unpin] [Clone, Debug] ApiKeyLayer<T, U, U>, ApiKeyService<T, U, U, U>;

    [Send, Sync, Unpin] [Clone, Debug]
        RequireScopeLayer<T>, RequireScopeService<T, U>, ClientHeaderLayer<T>, ClientHeaderService<T, U>,
        ClientInResponseLayer<T>, ClientInResponseService<T, U>;

    // Futures, and what is borrowed of a request.
    [Send, Sync, Unpin] [Debug]
        ResponseFuture<T, U>, scope::ResponseFuture<T>, ClientInResponseFuture<T, U>, AnswerFuture<T>, Later<Answer<T>>, Extracted<'static>, Found<'static>,
        Decision<'static, T>;
    [Send, Sync, Unpin] [Copy, Debug] Head<'static>, Presented<'static>;

    [Send, Sync] [Error] ConfigError, KeyFileError, NoClient, Rejection;
}

#[test]
fn every_public_type_is_in_the_list() {
    let missing = public_types::missing(listed());
    assert!(missing.is_empty(), "say above what these are: {missing:#?}");
}

/// What can stand behind a pointer, so that one type holds any of them.
const _: fn() = || {
    fn is_extract<E: Extract>() {}
    fn is_verify<V: Verify>() {}
    fn is_respond<R: Respond>() {}
    fn is_observe<O: Observe>() {}
    fn is_pointer<T: ?Sized>() {}
    is_extract::<Box<dyn Extract + Send + Sync>>();
    is_extract::<Arc<dyn Extract>>();
    is_verify::<Box<dyn Verify<Answer = Result<Client, Refusal>> + Send + Sync>>();
    is_verify::<Arc<dyn Verify<Answer = Later<Answer<Client>>>>>();
    is_respond::<Box<dyn Respond + Send + Sync>>();
    is_respond::<Arc<dyn Respond>>();
    is_observe::<Box<dyn Observe + Send + Sync>>();
    is_observe::<Arc<dyn Observe>>();
    is_pointer::<dyn Identity>();
};

/// A key that was minted is shown once, and what could be written out by accident has no text. (Were
/// one of them `Clone` or `Display`, there would be two ways to read `_`.)
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
    <Presented<'_> as Has<_>>::no_text();
    <Found<'_> as Has<_>>::no_text();
    <Keyring as Has<_>>::no_text();
};
