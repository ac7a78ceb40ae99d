use std::{fmt, sync::OnceLock};

use http::HeaderValue;

use super::{
    client_limit::headers,
    limit::{Limit, expect, have_one_name},
};
use crate::error::{ConfigError, ConfigErrorKind};

/// The limits of a plan, which a request takes together or not at all.
///
/// If one limit is exceeded, the request changes no counter of the others.
///
/// # Examples
///
/// ```
/// use tower_api_key::limit::{Limit, Limits};
///
/// static FREE: Limits = Limits::new(&[Limit::per_minute("burst", 60).burst(20), Limit::per_hour("hour", 1_000)]);
/// assert_eq!(FREE.as_slice().len(), 2);
///
/// let configured = Limits::try_new([Limit::try_per_second("second", 5)?])?;
/// assert_eq!(configured.as_slice()[0].quota(), 5);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// Two limits of one name in a static are a compile error:
///
/// ```compile_fail
/// # use tower_api_key::limit::{Limit, Limits};
/// static TWICE: Limits = Limits::new(&[Limit::per_minute("a", 1), Limit::per_hour("a", 5)]);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Limits {
    list: List,
    has_calendar: bool,
    /// The `RateLimit-Policy`, from the first response that has it.
    policy: OnceLock<HeaderValue>,
}

#[derive(Clone)]
enum List {
    Static(&'static [Limit]),
    Owned(Box<[Limit]>),
}

impl List {
    const fn as_slice(&self) -> &[Limit] {
        match self {
            Self::Static(limits) => limits,
            Self::Owned(limits) => limits,
        }
    }
}

impl Limits {
    /// The maximum number of limits. The result of a take has 64 bytes for them, because copying more takes longer.
    pub const MAX: usize = 6;

    /// Creates the limits of a plan.
    ///
    /// # Panics
    ///
    /// If [`try_new`](Self::try_new) returns an error. In a static this is a compile error.
    #[track_caller]
    pub const fn new(limits: &'static [Limit]) -> Self {
        if let Err((kind, _)) = check(limits) {
            expect::<()>(Err(kind));
        }
        Self::of(List::Static(limits))
    }

    /// Creates the limits of a plan, from configuration.
    ///
    /// # Errors
    ///
    /// If there is no limit, or more than [`MAX`](Self::MAX). If two limits have one name.
    pub fn try_new(limits: impl IntoIterator<Item = Limit>) -> Result<Self, ConfigError> {
        // One more than allowed is enough to find too many.
        let limits: Box<[Limit]> = limits.into_iter().take(Self::MAX + 1).collect();
        match check(&limits) {
            Ok(()) => Ok(Self::of(List::Owned(limits))),
            Err((ConfigErrorKind::NoLimit, _)) => Err(ConfigErrorKind::NoLimit.into()),
            Err((kind, at)) => Err(ConfigError::new(kind).at(at)),
        }
    }

    const fn of(list: List) -> Self {
        let mut has_calendar = false;
        let mut rest = list.as_slice();
        while let [limit, tail @ ..] = rest {
            has_calendar |= limit.calendar().is_some();
            rest = tail;
        }
        Self { list, has_calendar, policy: OnceLock::new() }
    }

    /// Returns whether one of the limits is a calendar window.
    #[inline]
    pub(super) fn has_calendar(&self) -> bool {
        self.has_calendar
    }

    pub(super) fn policy(&self) -> &HeaderValue {
        self.policy.get_or_init(|| headers::policy(self))
    }

    /// Returns the limits in the order in which they were named.
    pub const fn as_slice(&self) -> &[Limit] {
        self.list.as_slice()
    }

    /// Returns an iterator over the limits.
    pub fn iter(&self) -> std::slice::Iter<'_, Limit> {
        self.as_slice().iter()
    }
}

/// An error has the position of the wrong limit.
const fn check(limits: &[Limit]) -> Result<(), (ConfigErrorKind, usize)> {
    if limits.is_empty() {
        return Err((ConfigErrorKind::NoLimit, 0));
    }
    if limits.len() > Limits::MAX {
        return Err((ConfigErrorKind::TooManyLimits, Limits::MAX));
    }
    let (mut rest, mut at) = (limits, limits.len());
    while let [before @ .., last] = rest {
        at -= 1;
        let mut others = before;
        while let [head, tail @ ..] = others {
            if have_one_name(head, last) {
                return Err((ConfigErrorKind::DuplicateLimit, at));
            }
            others = tail;
        }
        rest = before;
    }
    Ok(())
}

impl<'a> IntoIterator for &'a Limits {
    type Item = &'a Limit;
    type IntoIter = std::slice::Iter<'a, Limit>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
