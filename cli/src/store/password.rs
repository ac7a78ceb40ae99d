//! Passwords in the addresses of stores.

/// Returns whether the address of a store can have a password.
pub(crate) fn has_password(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let is_postgres = ["postgres", "postgresql"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
    let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    is_postgres && (user.contains(':') || place.contains("password="))
}
