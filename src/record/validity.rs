use std::time::Duration;

use super::Time;
use crate::{key::KeyId, rejection::Reason};

/// The times and states of a key. It is small, because the fields that few keys have are in [`Extra`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(super) expires: Time,
    extra: Option<Box<Extra>>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) not_before: Time,
    pub(super) retires: Time,
    pub(super) rotated: Time,
    pub(super) paused: Time,
    pub(super) revoked: Time,
    pub(super) replaced_by: Option<KeyId>,
    pub(super) note: Option<Box<str>>,
    remarks: Option<Box<Remarks>>,
    /// `retires`, or the start of time after a rotation without overlap, because no clock is that slow.
    ends: Time,
    /// The reason that holds at all times, because the key is revoked or paused.
    blocked: Option<Reason>,
}

/// Texts that even fewer keys have.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Remarks {
    pub(super) issued_by: Option<Box<str>>,
    pub(super) rotated_reason: Option<Box<str>>,
    pub(super) revoked_by: Option<Box<str>>,
    pub(super) revoked_reason: Option<Box<str>>,
}

const NO_EXTRA: &Extra = &Extra {
    not_before: Time::START,
    retires: Time::NEVER,
    rotated: Time::NEVER,
    paused: Time::NEVER,
    revoked: Time::NEVER,
    replaced_by: None,
    note: None,
    remarks: None,
    ends: Time::NEVER,
    blocked: None,
};

const NO_REMARKS: &Remarks =
    &Remarks { issued_by: None, rotated_reason: None, revoked_by: None, revoked_reason: None };

impl Validity {
    /// Returns the validity of no key. It rejects as unknown.
    pub(crate) fn unknown() -> Self {
        let extra = Extra { blocked: Some(Reason::Unknown), ..NO_EXTRA.clone() };
        Self { expires: Time::NEVER, extra: Some(Box::new(extra)) }
    }

    /// Returns the reason why the key is rejected. Without times it does not read the clock.
    ///
    /// The steps are the same for each reason, except for those of `now`.
    #[inline]
    pub(crate) fn rejects(&self, now: impl FnOnce() -> Time) -> Option<Reason> {
        let extra = self.extra();
        let ends = self.ends();
        let now = if Time::is_always(extra.not_before, ends) { Time::START } else { now() };
        let mut reason = (now < extra.not_before).then_some(Reason::NotYetValid);
        if ends <= now {
            reason = Some(Reason::Expired);
        }
        if extra.blocked.is_some() {
            reason = extra.blocked;
        }
        reason
    }

    /// Returns whether the key is revoked or has expired. A paused key can come back.
    pub(crate) fn is_dead(&self, now: Time) -> bool {
        self.is_revoked() || self.ends() <= now
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.extra().revoked != Time::NEVER
    }

    /// Returns when the key expires by itself. A rotation does not change it.
    pub(crate) fn expires(&self) -> Time {
        self.expires
    }

    fn ends(&self) -> Time {
        self.expires.min(self.extra().ends)
    }

    /// Returns the validity of the key that replaces this key. It lasts as long, from now on.
    /// If this key is not valid yet, it has the same times.
    pub(super) fn successor(&self, created: Time, now: Time) -> Self {
        let old = self.extra();
        let (not_before, expires) = if old.not_before > now {
            (old.not_before, self.expires)
        } else {
            (Time::START, self.expires.moved(created, now))
        };
        let mut new = Self { expires, extra: None };
        new.change(|extra| {
            extra.not_before = not_before;
            extra.note = old.note.clone();
            extra.paused = if old.paused == Time::NEVER { Time::NEVER } else { now };
        });
        new
    }

    /// Ends the key after the overlap, or at an end that was set before if that is sooner.
    pub(super) fn rotate(&mut self, now: Time, overlap: Duration, successor: KeyId) {
        self.change(|extra| {
            extra.replaced_by = Some(successor);
            extra.rotated = now;
            extra.retires = extra.retires.min(now.after(overlap));
        });
    }

    #[inline]
    pub(super) fn extra(&self) -> &Extra {
        self.extra.as_deref().unwrap_or(NO_EXTRA)
    }

    /// Changes the fields that few keys have, and computes the fields that depend on them.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Extra)) {
        let mut extra = self.extra.take().unwrap_or_else(|| Box::new(NO_EXTRA.clone()));
        change(&mut extra);
        let has_overlap = extra.rotated == Time::NEVER || extra.rotated < extra.retires;
        extra.ends = if has_overlap { extra.retires } else { Time::START };
        extra.blocked = if extra.revoked != Time::NEVER {
            Some(Reason::Revoked)
        } else {
            (extra.paused != Time::NEVER).then_some(Reason::Paused)
        };
        self.extra = (*extra != *NO_EXTRA).then_some(extra);
    }
}

impl Extra {
    pub(super) fn remarks(&self) -> &Remarks {
        self.remarks.as_deref().unwrap_or(NO_REMARKS)
    }

    pub(super) fn change_remarks(&mut self, change: impl FnOnce(&mut Remarks)) {
        let mut remarks = self.remarks.take().unwrap_or_default();
        change(&mut remarks);
        self.remarks = (*remarks != *NO_REMARKS).then_some(remarks);
    }
}

/// Without a beginning and without an end.
impl Default for Validity {
    fn default() -> Self {
        Self { expires: Time::NEVER, extra: None }
    }
}
