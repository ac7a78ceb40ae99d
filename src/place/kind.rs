/// The kinds of places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlaceKind {
    /// A header of its own, such as `x-api-key`.
    Header,
    /// A parameter of the URL's query.
    Query,
    /// A cookie.
    Cookie,
    /// A scheme of the `Authorization` header, such as `Bearer`.
    Scheme,
}

impl PlaceKind {
    /// A name that stays the same between versions; the first three are OpenAPI's `in`.
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
