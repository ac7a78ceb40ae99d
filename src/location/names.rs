//! Constructors, which check the names.

use http::{
    HeaderName,
    header::{AUTHORIZATION, COOKIE},
};

use super::{
    authorization::SchemeName,
    header::has_other_meaning,
    header_values::is_token,
    key_location::{KeyLocation, Kind},
};
use crate::error::{ConfigError, ConfigErrorKind, expect_valid};

impl KeyLocation {
    /// Creates a location for a header, named in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::KeyLocation;
    ///
    /// assert_eq!(KeyLocation::header("X-Api-Key").name(), "x-api-key");
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is not valid. Use [`try_header`](Self::try_header) for a name from configuration.
    #[must_use]
    #[track_caller]
    pub fn header(name: &str) -> Self {
        expect_valid(Self::try_header(name))
    }

    /// Creates a location for a header from configuration.
    ///
    /// [`KeyLocation`] has an example.
    ///
    /// # Errors
    ///
    /// If the name is not valid, and for `authorization` and `cookie`. Use [`bearer`](Self::bearer),
    /// [`scheme`](Self::scheme) or [`cookie`](Self::cookie) for these. If HTTP needs the header for
    /// something else, as it needs `host`, this is an error as well.
    pub fn try_header(name: &str) -> Result<Self, ConfigError> {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ConfigError::new(ConfigErrorKind::HeaderName))?;
        if name == AUTHORIZATION || name == COOKIE {
            return Err(ConfigError::new(ConfigErrorKind::ReservedHeader));
        }
        if has_other_meaning(|taken| name == taken) {
            return Err(ConfigError::new(ConfigErrorKind::TakenHeader));
        }
        Ok(Self::new(Kind::Header(name)))
    }

    /// Creates a location for a query parameter. The decoded name is case-sensitive.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::KeyLocation;
    ///
    /// assert_eq!(KeyLocation::query("api_key").name(), "api_key");
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is not valid. Use [`try_query`](Self::try_query) for a name from configuration.
    #[must_use]
    #[track_caller]
    pub fn query(name: &str) -> Self {
        expect_valid(Self::try_query(name))
    }

    /// Creates a location for a query parameter from configuration.
    ///
    /// [`KeyLocation`] has an example.
    ///
    /// # Errors
    ///
    /// If the name is not one or more visible ASCII characters.
    pub fn try_query(name: &str) -> Result<Self, ConfigError> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new(ConfigErrorKind::QueryName));
        }
        Ok(Self::new(Kind::Query(name.into())))
    }

    /// Creates a location for a cookie. The name is case-sensitive.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::KeyLocation;
    ///
    /// assert_eq!(KeyLocation::cookie("__Host-key").name(), "__Host-key");
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is not valid. Use [`try_cookie`](Self::try_cookie) for a name from configuration.
    #[must_use]
    #[track_caller]
    pub fn cookie(name: &str) -> Self {
        expect_valid(Self::try_cookie(name))
    }

    /// Creates a location for a cookie from configuration.
    ///
    /// [`KeyLocation`] has an example.
    ///
    /// # Errors
    ///
    /// If the name is not a token of RFC 9110 §5.6.2, as RFC 6265 §4.1.1 requires.
    pub fn try_cookie(name: &str) -> Result<Self, ConfigError> {
        if !is_token(name) {
            return Err(ConfigError::new(ConfigErrorKind::CookieName));
        }
        Ok(Self::new(Kind::Cookie(name.into())))
    }

    /// Creates a location for `Authorization: Bearer …` (RFC 6750).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::KeyLocation;
    ///
    /// assert!(KeyLocation::bearer().is_bearer());
    /// ```
    #[must_use]
    pub fn bearer() -> Self {
        Self::new(Kind::Scheme(SchemeName::bearer()))
    }

    /// Creates a location for a scheme of the `Authorization` header, in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::KeyLocation;
    ///
    /// assert_eq!(KeyLocation::scheme("Token").name(), "Token");
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is not valid. Use [`try_scheme`](Self::try_scheme) for a name from configuration.
    #[must_use]
    #[track_caller]
    pub fn scheme(name: &str) -> Self {
        expect_valid(Self::try_scheme(name))
    }

    /// Creates a location for a scheme from configuration.
    ///
    /// [`KeyLocation`] has an example.
    ///
    /// # Errors
    ///
    /// If the name is not a token of RFC 9110 §5.6.2.
    pub fn try_scheme(name: &str) -> Result<Self, ConfigError> {
        if !is_token(name) {
            return Err(ConfigError::new(ConfigErrorKind::Scheme));
        }
        Ok(Self::new(Kind::Scheme(SchemeName::new(name))))
    }
}
