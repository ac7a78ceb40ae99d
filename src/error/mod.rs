//! Errors of layers, of keyrings and of texts.
//!
//! The type of an error depends on the function that returns it:
//!
//! | error | functions that return it |
//! |---|---|
//! | [`ConfigError`] | create a layer or a [`KeyLocation`](crate::KeyLocation::try_header) |
//! | [`KeyringError`] | load keys, or change a [`Keyring`](crate::Keyring) or a [`Record`](crate::record::Record) |
//! | [`ParseDigestError`] | parse a [`KeyDigest`](crate::KeyDigest) |
//! | [`ParseKeyError`] | check a key by a [`KeyFormat`](crate::key::KeyFormat::parse) |
//! | [`ParseFormatError`] | create a [`KeyFormat`](crate::key::KeyFormat::new) |
//!
//! A `KeyringError` converts from the errors of texts, so that a function that loads keys can use `?`.
//!
//! An error names the mistake and its position, such as the entry of a list or the byte of a key. It never
//! repeats the value, because a mistyped key must not get into a log. `Debug` writes the same text as
//! `Display`, because `main` prints the `Debug` of a returned error.

mod config;
mod keyring;
mod parse;

pub(crate) use self::config::expect_valid;
pub use self::{
    config::{ConfigError, ConfigErrorKind},
    keyring::{KeyringError, KeyringErrorKind},
    parse::{ParseDigestError, ParseFormatError, ParseKeyError, ParseKeyErrorKind},
};

/// Writes the error of a file, with the path and the line.
#[cfg(any(feature = "file", feature = "usage"))]
pub(crate) fn write_in_file(
    f: &mut std::fmt::Formatter<'_>,
    path: &std::path::Path,
    line: Option<usize>,
    fault: &dyn std::fmt::Display,
) -> std::fmt::Result {
    // A path can contain line breaks, which would break a line of the log.
    write!(f, "{}", path.display().to_string().escape_debug())?;
    if let Some(line) = line {
        write!(f, ", line {line}")?;
    }
    write!(f, ": {fault}")
}

/// The text about a scope, which a layer requires or a client has.
const SCOPE: &str = "a scope is one or more visible ASCII characters but `\"` and `\\`";

/// Declares the kinds of an error, each with the name of `as_str` and the text of the error.
macro_rules! kinds {
    (
        $(#[$meta:meta])*
        $vis:vis enum $Kind:ident of $Error:ident {
            $($(#[$doc:meta])+ $kind:ident = $name:literal, $text:expr;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        $vis enum $Kind {
            $($(#[$doc])+ $kind,)+
        }

        impl $Kind {
            /// Returns a name that stays the same between versions.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$kind => $text,)+
                }
            }
        }

        /// Creates an error without a position, in your own code for example.
        impl From<$Kind> for $Error {
            fn from(kind: $Kind) -> Self {
                Self::new(kind)
            }
        }
    };
}

/// Implements `Error`, and a `Debug` that writes the text of `Display`.
macro_rules! errors {
    ($($Error:ident),+) => {$(
        crate::macros::debug_as_display! { $Error }

        impl std::error::Error for $Error {}
    )+};
}

use {errors, kinds};
