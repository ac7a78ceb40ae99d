//! Parses times and durations of the arguments. Days, months and years follow the calendar in UTC.

use std::time::{Duration, SystemTime};

use jiff::{
    Span, Timestamp, ToSpan as _, Unit, ZonedDateTime,
    civil::Date,
    fmt::{friendly::SpanParser, temporal::Pieces},
    tz::{Offset, TimeZone},
};

/// Parses a duration from now.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let now = current_second();
    let end = require_in_range(add_span(now, parse_span(text.trim())?)?)?;
    Duration::try_from(end.duration_since(now)).map_err(|_| NEGATIVE.to_owned())
}

/// A time in the past, as a duration before now.
#[derive(Clone, Debug)]
pub(crate) struct Ago {
    /// The text of the argument, for messages.
    pub(crate) text: String,
    pub(crate) time: SystemTime,
}

impl Ago {
    /// Returns the beginning of the first hour in the period. If the period is a day or longer, this is the first
    /// midnight in UTC.
    pub(crate) fn begin(&self) -> SystemTime {
        let is_long = self.time.elapsed().is_ok_and(|elapsed| elapsed >= DAYS);
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let begin = match is_long {
            true => since.next_multiple_of(DAYS.as_secs()),
            false => since / 3600 * 3600,
        };
        SystemTime::UNIX_EPOCH + Duration::from_secs(begin)
    }
}

/// Parses a duration before now.
pub(crate) fn parse_ago(text: &str) -> Result<Ago, String> {
    let span = parse_span(text.trim())?;
    if span.is_zero() {
        return Err("the time is empty".to_owned());
    }
    let now = current_second();
    let before = now.to_zoned_datetime(TimeZone::UTC).checked_sub(span);
    let before = before.map_err(|_| TOO_EARLY.to_owned())?.timestamp();
    let time = to_system_time(truncate(before)?)?;
    if time < SystemTime::UNIX_EPOCH {
        return Err(TOO_EARLY.to_owned());
    }
    Ok(Ago { text: text.trim().to_owned(), time })
}

/// Parses the time when a key expires. A day ends at midnight.
pub(crate) fn parse_end(text: &str) -> Result<SystemTime, String> {
    to_system_time(parse_end_from(text, current_second())?)
}

/// Parses the time when a key becomes valid. A day begins at midnight.
pub(crate) fn parse_begin(text: &str) -> Result<SystemTime, String> {
    let begin = parse_time(text.trim(), current_second(), Some)?;
    to_system_time(require_in_range(begin)?)
}

fn parse_end_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let end = parse_time(text, now, |day| day.tomorrow().ok())?;
    if end == now && !starts_with_year(text) {
        return Err("the key would expire at once".to_owned());
    }
    require_in_range(end)
}

/// Parses a time, a day, or a duration from now.
fn parse_time(
    text: &str,
    now: Timestamp,
    midnight_of: impl FnOnce(Date) -> Option<Date>,
) -> Result<Timestamp, String> {
    if starts_with_year(text) {
        return parse_date(text, midnight_of);
    }
    if !text.starts_with(|char: char| char.is_ascii_digit() || char == '-') {
        return Err(NO_TIME.to_owned());
    }
    match parse_span(text) {
        // The text has the day first, such as 31.01.2027.
        Err(_) if text.contains(['.', '/']) => Err(NO_TIME.to_owned()),
        span => add_span(now, span?),
    }
}

/// Returns whether a text begins with a year and a hyphen.
fn starts_with_year(text: &str) -> bool {
    let year = text.split_once('-').map(|(year, _)| year);
    year.is_some_and(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
}

fn parse_date(
    text: &str,
    midnight_of: impl FnOnce(Date) -> Option<Date>,
) -> Result<Timestamp, String> {
    let (day, time) = text.split_at_checked(DAY.len()).unwrap_or((text, ""));
    let day: Date = day.parse().map_err(|_| NO_SUCH_DAY.to_owned())?;
    if time.is_empty() {
        let midnight = midnight_of(day).map(|day| day.at(0, 0, 0, 0));
        return midnight
            .and_then(|midnight| Offset::UTC.to_timestamp(midnight).ok())
            .ok_or_else(|| TOO_LATE.to_owned());
    }
    let pieces = Pieces::parse(text).map_err(|_| NO_SUCH_TIME.to_owned())?;
    if pieces.time_zone_annotation().is_some() {
        return Err(NAMED_ZONE.to_owned());
    }
    let time = pieces.time().ok_or_else(|| NO_SUCH_TIME.to_owned())?;
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    let time = offset.to_timestamp(day.to_datetime(time)).map_err(|_| TOO_LATE.to_owned())?;
    truncate(time)
}

fn parse_span(text: &str) -> Result<Span, String> {
    if text == "0" {
        return Ok(Span::new());
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let span = SpanParser::new().parse_span(text).map_err(|_| {
        if !text.is_empty() && is_number(text) {
            format!("the number has no unit: {FORM}")
        } else if SpanParser::new().parse_span(shrink_numbers(text)).is_ok() {
            TOO_LATE.to_owned()
        } else {
            format!("not a duration: {FORM}")
        }
    })?;
    if span.is_negative() { Err(NEGATIVE.to_owned()) } else { Ok(span) }
}

/// Replaces each number by 1, because the parser does not tell a number that is too large from a typo.
fn shrink_numbers(text: &str) -> String {
    let mut small = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if small.ends_with('1') => {}
            '0'..='9' => small.push('1'),
            _ => small.push(char),
        }
    }
    small
}

/// Adds a span on the calendar. One year after 29 February is 28 February.
fn add_span(now: Timestamp, span: Span) -> Result<Timestamp, String> {
    let then = now.to_zoned_datetime(TimeZone::UTC).checked_add(span);
    truncate(then.map_err(|_| TOO_LATE.to_owned())?.timestamp())
}

/// Truncates a time to seconds, because the file stores whole seconds.
fn truncate(time: Timestamp) -> Result<Timestamp, String> {
    Timestamp::from_second(time.as_second()).map_err(|_| TOO_LATE.to_owned())
}

/// Rejects a time after 2499, because a record cannot hold times after 2554.
fn require_in_range(time: Timestamp) -> Result<Timestamp, String> {
    if time < LATEST { Ok(time) } else { Err(TOO_LATE.to_owned()) }
}

fn to_system_time(time: Timestamp) -> Result<SystemTime, String> {
    time.try_into().map_err(|_| TOO_LATE.to_owned())
}

fn current_second() -> Timestamp {
    let now = Timestamp::now();
    truncate(now).unwrap_or(now)
}

/// Counts the whole calendar years between two times, and the remaining days.
pub(crate) fn count_years_and_days(from: SystemTime, to: SystemTime) -> Option<(u64, u64)> {
    let zoned = |time| Some(Timestamp::try_from(time).ok()?.to_zoned_datetime(TimeZone::UTC));
    let (from, to): (ZonedDateTime, ZonedDateTime) = (zoned(from)?, zoned(to)?);
    let years = from.until((Unit::Year, &to)).ok()?.get_years();
    let anniversary = from.checked_add(years.years()).ok()?;
    let days = anniversary.until((Unit::Day, &to)).ok()?.get_days();
    Some((years.try_into().ok()?, days.try_into().ok()?))
}

/// The beginning of the year 2500.
const LATEST: Timestamp = Timestamp::constant(16_725_225_600, 0);
const DAY: &str = "2027-01-31";
const DAYS: Duration = Duration::from_secs(86_400);

const NO_TIME: &str = "expected a duration such as 90d, a day such as 2027-01-31, or a time such as \
                       2027-01-31T12:00:00Z";
const FORM: &str = "write it as 90d, 12h or '1h 30m' (units: s, m, h, d, w, mo, y)";
const NEGATIVE: &str = "a duration cannot be negative";
const TOO_EARLY: &str = "the time is before the year 1970";
const TOO_LATE: &str = "the time is not before the year 2500";
const NO_SUCH_DAY: &str = "no such day: write year, month and day as 2027-01-31";
const NO_SUCH_TIME: &str =
    "no such time: write it as 2027-01-31T12:00:00Z, or with an offset such as +02:00";
const NAMED_ZONE: &str = "names of time zones are not supported: write an offset such as +02:00";

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str, now: &str) -> String {
        parse_end_from(text, now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn one_year_after_29_february_is_28_february() {
        let leap_day = "2028-02-29T12:00:00Z";
        for (text, end) in [
            ("1y", "2029-02-28T12:00:00Z"),
            ("4y", "2032-02-29T12:00:00Z"),
            ("12mo", "2029-02-28T12:00:00Z"),
            ("365d", "2029-02-28T12:00:00Z"),
            ("366d", "2029-03-01T12:00:00Z"),
            ("1mo", "2028-03-29T12:00:00Z"),
        ] {
            assert_eq!(end_of(text, leap_day), end, "{text}");
        }
        assert_eq!(end_of("1mo", "2027-01-31T12:00:00Z"), "2027-02-28T12:00:00Z");
        assert_eq!(end_of("1y", "2027-06-30T12:00:00Z"), "2028-06-30T12:00:00Z");
    }

    #[test]
    fn a_day_ends_when_the_next_day_begins() {
        let now = "2027-01-01T00:00:00Z";
        assert_eq!(end_of("2027-12-31", now), "2028-01-01T00:00:00Z");
        assert_eq!(end_of("2028-02-29", now), "2028-03-01T00:00:00Z");
        // A time in the past is not an empty duration.
        assert_eq!(end_of("2026-12-31", now), now);
    }

    #[test]
    fn years_follow_the_calendar() {
        let between = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|text| to_system_time(text.parse().unwrap()).unwrap());
            count_years_and_days(from, to)
        };
        let from = "2026-11-28T12:00:00Z";
        assert_eq!(between(from, "2027-11-28T12:00:00Z"), Some((1, 0)));
        assert_eq!(between(from, "2028-11-28T12:00:00Z"), Some((2, 0)));
        assert_eq!(between(from, "2030-12-01T13:00:00Z"), Some((4, 3)));
        assert_eq!(between(from, "2027-11-28T11:59:59Z"), Some((0, 364)));
    }
}
