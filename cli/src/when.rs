//! Times as people write them. Days, months and years are those of the calendar, in UTC.

use std::time::{Duration, SystemTime};

use jiff::{
    Span, Timestamp, ToSpan as _, Unit, ZonedDateTime,
    civil::Date,
    fmt::{friendly::SpanParser, temporal::Pieces},
    tz::{Offset, TimeZone},
};

/// How long a key works on.
pub(crate) fn overlap(text: &str) -> Result<Duration, String> {
    let now = now();
    let end = before_the_latest(after(now, span(text.trim())?)?)?;
    Duration::try_from(end.duration_since(now)).map_err(|_| NEGATIVE.to_owned())
}

/// When a key ends. A day ends with its last second.
pub(crate) fn end(text: &str) -> Result<SystemTime, String> {
    system_time(end_from(text, now())?)
}

/// When a key begins. A day begins with its first second.
pub(crate) fn begin(text: &str) -> Result<SystemTime, String> {
    let begin = moment(text.trim(), now(), Some)?;
    system_time(before_the_latest(begin)?)
}

fn end_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let end = moment(text, now, |day| day.tomorrow().ok())?;
    if end == now && !is_dated(text) {
        return Err("a key of no duration would never work".to_owned());
    }
    before_the_latest(end)
}

/// A time, a day, or a duration from now on.
fn moment(
    text: &str,
    now: Timestamp,
    midnight_of: impl FnOnce(Date) -> Option<Date>,
) -> Result<Timestamp, String> {
    if is_dated(text) {
        return dated(text, midnight_of);
    }
    if !text.starts_with(|char: char| char.is_ascii_digit() || char == '-') {
        return Err(NEITHER.to_owned());
    }
    match span(text) {
        // Written with the day first.
        Err(_) if text.contains(['.', '/']) => Err(NEITHER.to_owned()),
        span => after(now, span?),
    }
}

/// Begins with a year and a hyphen.
fn is_dated(text: &str) -> bool {
    let year = text.split_once('-').map(|(year, _)| year);
    year.is_some_and(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
}

fn dated(text: &str, midnight_of: impl FnOnce(Date) -> Option<Date>) -> Result<Timestamp, String> {
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
    in_whole_seconds(time)
}

fn span(text: &str) -> Result<Span, String> {
    if text == "0" {
        return Ok(Span::new());
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let span = SpanParser::new().parse_span(text).map_err(|_| {
        if !text.is_empty() && is_number(text) {
            format!("a number without a unit: {FORM}")
        } else if SpanParser::new().parse_span(with_small_numbers(text)).is_ok() {
            TOO_LATE.to_owned()
        } else {
            format!("not a duration: {FORM}")
        }
    })?;
    if span.is_negative() { Err(NEGATIVE.to_owned()) } else { Ok(span) }
}

/// Each number turned into 1, to tell one that is too large from a text that is no duration.
fn with_small_numbers(text: &str) -> String {
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

/// On the calendar: a year after 29 February is 28 February.
fn after(now: Timestamp, span: Span) -> Result<Timestamp, String> {
    let then = now.to_zoned_datetime(TimeZone::UTC).checked_add(span);
    in_whole_seconds(then.map_err(|_| TOO_LATE.to_owned())?.timestamp())
}

/// The file notes times in whole seconds.
fn in_whole_seconds(time: Timestamp) -> Result<Timestamp, String> {
    Timestamp::from_second(time.as_second()).map_err(|_| TOO_LATE.to_owned())
}

/// A record holds times until 2554.
fn before_the_latest(time: Timestamp) -> Result<Timestamp, String> {
    if time < LATEST { Ok(time) } else { Err(TOO_LATE.to_owned()) }
}

fn system_time(time: Timestamp) -> Result<SystemTime, String> {
    time.try_into().map_err(|_| TOO_LATE.to_owned())
}

fn now() -> Timestamp {
    let now = Timestamp::now();
    in_whole_seconds(now).unwrap_or(now)
}

/// Whole years of the calendar between two times, and the days beyond them.
pub(crate) fn years_and_days(from: SystemTime, to: SystemTime) -> Option<(u64, u64)> {
    let zoned = |time| Some(Timestamp::try_from(time).ok()?.to_zoned_datetime(TimeZone::UTC));
    let (from, to): (ZonedDateTime, ZonedDateTime) = (zoned(from)?, zoned(to)?);
    let years = from.until((Unit::Year, &to)).ok()?.get_years();
    let anniversary = from.checked_add(years.years()).ok()?;
    let days = anniversary.until((Unit::Day, &to)).ok()?.get_days();
    Some((years.try_into().ok()?, days.try_into().ok()?))
}

/// The beginning of 2500.
const LATEST: Timestamp = Timestamp::constant(16_725_225_600, 0);
const DAY: &str = "2027-01-31";

const NEITHER: &str = "neither a duration such as 90d nor a day such as 2027-01-31 nor a time such as \
                       2027-01-31T12:00:00Z";
const FORM: &str = "write it as 90d, 12h or '1h 30m' (units: s, m, h, d, w, mo, y)";
const NEGATIVE: &str = "a duration is not negative";
const TOO_LATE: &str = "that is beyond the year 2500";
const NO_SUCH_DAY: &str = "there is no such day: write year, month and day as 2027-01-31";
const NO_SUCH_TIME: &str =
    "no time of day: write it as 2027-01-31T12:00:00Z, or with an offset such as +02:00";
const NAMED_ZONE: &str = "a time zone has no name here: write its offset, such as +02:00";

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str, now: &str) -> String {
        end_from(text, now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_year_after_a_leap_day_is_the_last_day_of_february() {
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
    fn a_day_ends_where_the_next_one_begins() {
        let now = "2027-01-01T00:00:00Z";
        assert_eq!(end_of("2027-12-31", now), "2028-01-01T00:00:00Z");
        assert_eq!(end_of("2028-02-29", now), "2028-03-01T00:00:00Z");
        // A moment is no duration.
        assert_eq!(end_of("2026-12-31", now), now);
    }

    #[test]
    fn years_are_counted_on_the_calendar() {
        let between = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|text| system_time(text.parse().unwrap()).unwrap());
            years_and_days(from, to)
        };
        let from = "2026-11-28T12:00:00Z";
        assert_eq!(between(from, "2027-11-28T12:00:00Z"), Some((1, 0)));
        assert_eq!(between(from, "2028-11-28T12:00:00Z"), Some((2, 0)));
        assert_eq!(between(from, "2030-12-01T13:00:00Z"), Some((4, 3)));
        assert_eq!(between(from, "2027-11-28T11:59:59Z"), Some((0, 364)));
    }
}
