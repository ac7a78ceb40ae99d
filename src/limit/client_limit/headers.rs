use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};

use crate::{
    header_list::list_contains,
    limit::{Limits, Taken},
};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The responses that get `RateLimit` and `RateLimit-Policy`.
///
/// The fields are those of draft-ietf-httpapi-ratelimit-headers-10, and can change with the draft:
///
/// ```text
/// RateLimit-Policy: "burst";q=60;w=60, "hour";q=1000;w=3600
/// RateLimit: "burst";r=19;t=1, "hour";r=999;t=4
/// ```
///
/// `q` is the quota for a window of `w` seconds. `r` is the number of requests that pass now, and `t` is the
/// number of seconds until one more passes. If a limit is full, it has no `t`.
///
/// In a 429, `Retry-After` is never before the `t` of a limit that the request exceeds. The `t` of another limit can
/// be later, because it still has requests.
///
/// If the service writes these fields itself, the layer adds a line. If the service made its response `public`,
/// the layer adds nothing, because a cache would give the fields of one client to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitHeaders {
    /// Only the 429 of the layer.
    OnRejections,
    /// All responses to limited parties.
    Always,
}

/// The two fields of one response.
pub(super) struct Fields {
    policy: HeaderValue,
    state: HeaderValue,
}

impl Fields {
    /// Returns nothing if the store knows no state.
    pub(super) fn of(limits: &Limits, taken: &Taken) -> Option<Self> {
        let mut text = Text::default();
        for state in taken.states(limits) {
            text.begin_member(state.name);
            text.push_parameter(b";r=", state.remaining);
            let seconds = u32::try_from(state.until_more.as_secs()).unwrap_or(u32::MAX);
            if seconds > 0 {
                text.push_parameter(b";t=", seconds);
            }
        }
        Some(Self { policy: limits.policy().clone(), state: text.into_value()? })
    }

    /// Adds the fields to the response of the service.
    pub(super) fn write_unless_public(self, headers: &mut HeaderMap) {
        let is_public = headers.contains_key(CACHE_CONTROL)
            && list_contains(headers, &CACHE_CONTROL, is_for_shared_caches);
        if !is_public {
            self.write(headers);
        }
    }

    /// Adds the fields. A full map stays unchanged.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.try_append(RATELIMIT_POLICY, self.policy).ok();
        headers.try_append(RATELIMIT, self.state).ok();
    }
}

fn is_for_shared_caches(directive: &str) -> bool {
    let name = directive.split_once('=').map_or(directive, |(name, _)| name).trim_end();
    ["public", "s-maxage"].iter().any(|it| name.eq_ignore_ascii_case(it))
}

/// Returns the value of `RateLimit-Policy`.
pub(in crate::limit) fn policy(limits: &Limits) -> HeaderValue {
    let mut text = Text::default();
    for limit in limits {
        text.begin_member(limit.name());
        text.push_parameter(b";q=", limit.quota());
        text.push_parameter(b";w=", u32::try_from(limit.window().as_secs()).unwrap_or(u32::MAX));
    }
    text.into_value().unwrap_or(HeaderValue::from_static(""))
}

/// A list of structured fields on the stack, because a `String` would be copied once more.
struct Text {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Text {
    /// Six members with a name of 64 bytes in quotes, two parameters with ten digits, and a separator.
    const MAX: usize = Limits::MAX * (64 + 2 + 2 * (3 + 10) + 2);

    /// Begins a member. A limit's name needs no escape, because it has neither `"` nor `\`.
    fn begin_member(&mut self, name: &str) {
        if self.len > 0 {
            self.push(b", ");
        }
        self.push(b"\"");
        self.push(name.as_bytes());
        self.push(b"\"");
    }

    fn push_parameter(&mut self, name: &[u8; 3], value: u32) {
        self.push(name);
        // A `u32` has at most ten digits.
        let (mut digits, mut rest, mut first) = ([b'0'; 10], value, 10);
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
            first -= 1;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(first..).unwrap_or_default());
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(free) = self.bytes.get_mut(self.len..end) {
            free.copy_from_slice(bytes);
            self.len = end;
        }
    }

    /// Returns nothing if there is no member.
    fn into_value(self) -> Option<HeaderValue> {
        let text = self.bytes.get(..self.len).filter(|text| !text.is_empty())?;
        HeaderValue::from_bytes(text).ok()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; Self::MAX], len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limit::Limit;

    #[test]
    fn the_longest_fields_fit() {
        let name = |last: char| format!("{}{last}", "n".repeat(63));
        let limits = "abcdef".chars().map(|last| {
            let limit = Limit::try_per_second(&name(last), u32::MAX).unwrap();
            limit.try_burst(u32::MAX).unwrap()
        });
        let limits = Limits::try_new(limits).unwrap();
        let taken = (0..Limits::MAX)
            .fold(Taken::passed(), |taken, at| taken.with_state(at, u32::MAX, Duration::MAX));
        let fields = Fields::of(&limits, &taken).unwrap();
        let members = |field: &str| {
            "abcdef"
                .chars()
                .map(|last| format!("\"{}\";{field}", name(last)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(fields.state, members("r=4294967295;t=4294967295"));
        assert_eq!(fields.policy, members("q=4294967295;w=1"));
        assert_eq!(fields.state.len(), Text::MAX - 2);
    }

    #[test]
    fn numbers_have_no_leading_zero_and_a_full_limit_has_no_time() {
        static LIMITS: Limits =
            Limits::new(&[Limit::per_minute("burst", 60).burst(20), Limit::per_hour("h%", 1_000)]);
        let taken = Taken::passed().with_state(0, 0, Duration::from_millis(1001));
        let taken = taken.with_state(1, 1_000, Duration::ZERO);
        let fields = Fields::of(&LIMITS, &taken).unwrap();
        assert_eq!(fields.state, r#""burst";r=0;t=2, "h%";r=1000"#);
        assert_eq!(fields.policy, r#""burst";q=60;w=60, "h%";q=1000;w=3600"#);
        assert!(Fields::of(&LIMITS, &Taken::passed()).is_none());
    }

    #[test]
    fn a_response_for_shared_caches_gets_no_fields() {
        static LIMITS: Limits = Limits::new(&[Limit::per_hour("hour", 1)]);
        for (line, is_written) in [
            ("private", true),
            ("no-store", true),
            ("max-age=5", true),
            ("x-public", true),
            ("public", false),
            ("max-age=5, Public", false),
            ("S-MaxAge = 5", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(line));
            let taken = Taken::passed().with_state(0, 1, Duration::ZERO);
            Fields::of(&LIMITS, &taken).unwrap().write_unless_public(&mut headers);
            assert_eq!(headers.contains_key("ratelimit"), is_written, "{line}");
            assert_eq!(headers.contains_key("ratelimit-policy"), is_written, "{line}");
        }
    }
}
