use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tower_api_key::limit::{Ask, CalendarWindow, Limit};

/// The bytes of a prefix or id that would end the braces, and those that no terminal shows.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b'{').add(b'}');

/// Encodes a prefix.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Returns the names of the counters of an ask.
///
/// A cluster chooses the slot by the text in the first braces, so that all counters of a subject are in one slot.
pub(crate) fn keys<'a>(prefix: &str, ask: &Ask<'a>) -> impl Iterator<Item = String> + use<'a> {
    let (subject, limits) = (ask.subject(), ask.limits());
    let id = utf8_percent_encode(subject.id(), ENCODED);
    let start = format!("{prefix}:{{{}:{id}}}:", subject.kind());
    limits.iter().map(move |limit| [&start, kind(limit), ":", limit.name()].concat())
}

/// Returns the kind of a counter. A limit that refills evenly and a window of one name have a counter each.
pub(crate) fn kind(limit: &Limit) -> &'static str {
    match limit.calendar() {
        None => "rate",
        Some(CalendarWindow::Day) => "day",
        Some(_) => "month",
    }
}

#[cfg(test)]
mod tests {
    use tower_api_key::limit::{Limits, Subject};

    use super::*;

    #[test]
    fn braces_hold_one_subject_and_no_two_subjects_share_a_key() {
        let limits = Limits::try_new([Limit::per_day("a{b}", 1)]).unwrap();
        for (subject, expected) in [
            (Subject::Client("ci"), "p:{client:ci}:day:a{b}"),
            (Subject::Key("ci"), "p:{key:ci}:day:a{b}"),
            (Subject::Client("}{x%7D\n\"'ü"), "p:{client:%7D%7Bx%257D%0A\"'%C3%BC}:day:a{b}"),
        ] {
            assert!(keys("p", &Ask::new(subject, &limits)).eq([expected]), "{expected}");
        }
        assert_eq!(encode("app{1}"), "app%7B1%7D");
    }
}
