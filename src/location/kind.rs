/// The kinds of locations. [`KeyLocation`](crate::KeyLocation) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocationKind {
    /// A header of its own, such as `x-api-key`.
    Header,
    /// A parameter of the URL's query.
    Query,
    /// A cookie.
    Cookie,
    /// A scheme of the `Authorization` header, such as `Bearer`.
    Scheme,
}

impl LocationKind {
    /// Returns a name that stays the same between versions. The first three are OpenAPI's `in`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
            Self::Scheme => "scheme",
        }
    }
}
