use std::time::Duration;

use super::time::Time;
use crate::{key::KeyId, rejection::Reason};

/// From when until when a key opens anything. It is small: what few keys have stands in [`Rare`].
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) expires: Time,
    rare: Option<Box<Rare>>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Rare {
    pub(super) begins: Time,
    /// When a key that was rotated ends, which is not how long it was meant to live.
    retires: Time,
    rotated: Time,
    /// `retires`, or the start of all times after a rotation without overlap. No clock is that slow.
    ends: Time,
    pub(super) replaced_by: Option<KeyId>,
    pub(super) revoked: Time,
    pub(super) note: Option<Box<str>>,
}

const NOTHING_RARE: &Rare = &Rare {
    begins: Time::START,
    retires: Time::NEVER,
    rotated: Time::NEVER,
    ends: Time::NEVER,
    replaced_by: None,
    revoked: Time::NEVER,
    note: None,
};

impl Life {
    /// Why the key is refused. Without times it does not ask what time it is.
    ///
    /// It takes the same steps for whatever reason, but for those of `now`.
    #[inline]
    pub(super) fn refused(&self, now: impl FnOnce() -> Time) -> Option<Reason> {
        let rare = self.rare();
        let ends = self.expires.min(rare.ends);
        let now = if Time::is_always(rare.begins, ends) { Time::START } else { now() };
        let mut refused = (now < rare.begins).then_some(Reason::NotYetValid);
        if ends <= now {
            refused = Some(Reason::Expired);
        }
        if self.is_revoked() {
            refused = Some(Reason::Revoked);
        }
        refused
    }

    /// Whether it is revoked or over, and will never work again.
    pub(super) fn is_dead(&self, now: Time) -> bool {
        matches!(self.refused(|| now), Some(Reason::Revoked | Reason::Expired))
    }

    #[inline]
    pub(super) fn is_revoked(&self) -> bool {
        self.rare().revoked != Time::NEVER
    }

    /// The first time that it was revoked stays.
    pub(super) fn revoke(&mut self, now: Time) {
        let rare = self.rare_mut();
        rare.revoked = rare.revoked.or(now);
    }

    /// The life of the key that takes this one's place: as long, from now on; the same, if this one
    /// has not begun yet.
    pub(super) fn successor(&self, created: Time, now: Time) -> Self {
        let old = self.rare();
        let (begins, expires) = if old.begins > now {
            (old.begins, self.expires)
        } else {
            (Time::START, self.expires.moved(created, now))
        };
        let rare = Rare { begins, note: old.note.clone(), ..NOTHING_RARE.clone() };
        Self { expires, rare: (rare != *NOTHING_RARE).then(|| Box::new(rare)) }
    }

    /// Ends the key after the overlap, or at an end that was set before if that is sooner.
    pub(super) fn rotate(&mut self, now: Time, overlap: Duration, successor: KeyId) {
        let rare = self.rare_mut();
        rare.replaced_by = Some(successor);
        rare.set_rotation(now, rare.retires.min(now.after(overlap)));
    }

    #[inline]
    pub(super) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(NOTHING_RARE)
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(NOTHING_RARE.clone()))
    }
}

impl Rare {
    pub(super) fn rotated(&self) -> Time {
        self.rotated
    }

    pub(super) fn retires(&self) -> Time {
        self.retires
    }

    pub(super) fn set_rotation(&mut self, rotated: Time, retires: Time) {
        let has_overlap = rotated == Time::NEVER || rotated < retires;
        self.ends = if has_overlap { retires } else { Time::START };
        (self.rotated, self.retires) = (rotated, retires);
    }
}

/// Without an end.
impl Default for Life {
    fn default() -> Self {
        Self { expires: Time::NEVER, rare: None }
    }
}
