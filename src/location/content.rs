use std::borrow::Cow;

/// The content of one location in one request.
pub(crate) enum Content<'a> {
    Absent,
    Value(Cow<'a, [u8]>),
    /// A malformed value.
    Malformed,
    Multiple,
}

impl<'a> Content<'a> {
    /// Reads the only value. Several values are ambiguous, even if they are equal.
    #[inline(always)]
    pub(super) fn only<T>(
        mut values: impl Iterator<Item = T>,
        value: impl FnOnce(T) -> Self,
    ) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(only), None) => value(only),
            (Some(_), Some(_)) => Self::Multiple,
        }
    }
}
