use super::Subject;

/// The length of the longest id that needs no allocation.
const INLINE: usize = 21;

/// A subject as a counter holds it.
pub(super) enum OwnedSubject {
    Inline { kind: Kind, len: u8, bytes: [u8; INLINE] },
    Boxed { kind: Kind, id: Box<str> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Client,
    Key,
    Peer,
}

impl Kind {
    #[inline]
    pub(super) fn of(subject: Subject<'_>) -> Self {
        match subject {
            Subject::Client(_) => Self::Client,
            Subject::Key(_) => Self::Key,
            Subject::Peer(_) => Self::Peer,
        }
    }
}

impl OwnedSubject {
    pub(super) fn new(subject: Subject<'_>) -> Self {
        let (kind, id) = (Kind::of(subject), subject.id());
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(id.as_bytes());
                Self::Inline { kind, len, bytes }
            }
            _ => Self::Boxed { kind, id: id.into() },
        }
    }

    #[inline]
    pub(super) fn is(&self, subject: Subject<'_>) -> bool {
        self.kind() == Kind::of(subject) && are_equal(self.bytes(), subject.id().as_bytes())
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Inline { kind, .. } | Self::Boxed { kind, .. } => *kind,
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes, .. } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Boxed { id, .. } => id.as_bytes(),
        }
    }
}

/// Compares up to 16 bytes in two steps, because a call of the C library takes longer.
#[inline]
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (ends(one), ends(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Returns the first and the last eight bytes of a text of 8 to 16 bytes.
#[inline]
fn ends(text: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = (text.first_chunk()?, text.last_chunk()?);
    (text.len() <= 16).then(|| (u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_equal_only_if_all_bytes_are() {
        for len in 0..40 {
            let id = "a".repeat(len);
            let owned = OwnedSubject::new(Subject::Client(&id));
            assert!(owned.is(Subject::Client(&id)) && !owned.is(Subject::Key(&id)));
            assert_eq!(owned.bytes(), id.as_bytes());
            assert!(!owned.is(Subject::Client(&"a".repeat(len + 1))), "{len}");
            for at in 0..len {
                let mut other = id.clone();
                other.replace_range(at..=at, "b");
                assert!(!owned.is(Subject::Client(&other)), "{other}");
                assert!(!owned.is(Subject::Client(&id[1..])), "{len}");
            }
        }
        assert_eq!(size_of::<OwnedSubject>(), 24);
    }
}
