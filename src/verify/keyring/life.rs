use super::time::Time;
use crate::rejection::Reason;

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
    pub(super) retires: Time,
    pub(super) revoked: Time,
    pub(super) note: Option<Box<str>>,
}

const NOTHING_RARE: &Rare =
    &Rare { begins: Time::START, retires: Time::NEVER, revoked: Time::NEVER, note: None };

impl Life {
    /// Why the key is refused. Without times it does not ask what time it is.
    ///
    /// It takes the same steps for whatever reason, but for those of `now`.
    #[inline]
    pub(super) fn refused(&self, now: impl FnOnce() -> Time) -> Option<Reason> {
        let rare = self.rare();
        let ends = self.expires.min(rare.retires);
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

    /// Ends the key at the sooner of this time and those that were set before.
    pub(super) fn retire(&mut self, at: Time) {
        let rare = self.rare_mut();
        rare.retires = rare.retires.min(at);
    }

    #[inline]
    pub(super) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(NOTHING_RARE)
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(NOTHING_RARE.clone()))
    }
}

/// Without an end.
impl Default for Life {
    fn default() -> Self {
        Self { expires: Time::NEVER, rare: None }
    }
}
