//! Prints how often each key was used.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tower_api_key::{
    record::Record,
    store::Page,
    usage::{Counts, Subject, UsageHistory},
};

use crate::{
    Failure,
    args::FromArgs,
    escape,
    output::{self, Table},
    store::{Engine, Store},
    time_args::Ago,
    usage_data::{IfBroken, UsageData},
};

const DAY: Duration = Duration::from_secs(86_400);

/// The maximum number of bars in a line of the table.
const MAX_BARS: usize = 90;

/// The requests of one key.
#[derive(Default)]
struct Line {
    total: Counts,
    /// The requests of each day, by its number since 1970.
    days: BTreeMap<u64, Counts>,
}

pub(crate) fn usage(
    json: bool,
    from: FromArgs,
    client: Option<&str>,
    last: &Ago,
    engine: &dyn Engine,
) -> Result<(), Failure> {
    let (begin, now) = (last.begin(), SystemTime::now());
    let store = Store::open(engine, false, json);
    // Without a key file, the usage data alone is printed.
    let store = if engine.is_database() { Some(store?) } else { store.ok() };
    let data = UsageData::read(from, store.as_ref(), begin, json, IfBroken::Fail)?;
    let records = find_records(&data.history, store.as_ref());
    let mut lines: BTreeMap<Subject, Line> = BTreeMap::new();
    for row in data.history.rows() {
        let subject = with_client(row.subject(), &records);
        if row.hour() < begin || client.is_some_and(|client| subject.client() != Some(client)) {
            continue;
        }
        let line = lines.entry(subject).or_default();
        line.total += row.counts();
        *line.days.entry(day_of(row.hour())).or_default() += row.counts();
    }
    let complete_since = data.history.rows_since();
    if json {
        let keys: Vec<_> = { lines.iter() }
            .map(|(subject, line)| to_json(subject, line, last_used(subject, &data)))
            .collect();
        let time = output::format_rfc3339;
        let gaps: Vec<_> = { data.gaps_since(begin) }
            .map(|gap| json!({ "begin": time(gap.start), "end": time(gap.end) }))
            .collect();
        return output::print_json(&json!({
            "begin": time(begin),
            "complete_since": complete_since.map(time),
            "gaps": gaps,
            "keys": keys,
        }));
    }
    if !data.is_present {
        output::print_message(data.describe_absence());
    } else if lines.is_empty() {
        let whose = client.map_or(String::new(), |id| format!(" of {}", escape::text(id)));
        output::print_message(&format!("No requests{whose} within {}.", last.text));
    }
    if let Some(since) = complete_since.filter(|since| *since > begin && !lines.is_empty()) {
        output::print_message(&format!("The data begins at {}.", output::format_rfc3339(since)));
    }
    data.warn_of_gaps(begin, json);
    print_table(&lines, &data, begin, now)
}

/// Returns the records by id, if the usage data lacks the client of a key.
fn find_records(history: &UsageHistory, store: Option<&Store>) -> HashMap<String, Record> {
    let lacks_client = |subject: &Subject| subject.key_id().is_some() && subject.client().is_none();
    let store = store.filter(|_| history.rows().iter().any(|row| lacks_client(row.subject())));
    let records = store.and_then(|store| store.records(Page::new()).ok()).unwrap_or_default();
    let by_id = records.into_iter().filter_map(|record| Some((record.id()?.to_owned(), record)));
    by_id.collect()
}

/// Adds the client of a key, if the usage data does not have it.
fn with_client(subject: &Subject, records: &HashMap<String, Record>) -> Subject {
    match (subject.key_id(), subject.client()) {
        (Some(id), None) => Subject::key(id, records.get(id).map(|record| record.client().id())),
        _ => subject.clone(),
    }
}

fn last_used(subject: &Subject, data: &UsageData) -> Option<SystemTime> {
    let uses = data.history.last_uses().iter();
    match subject.key_id() {
        Some(id) => data.last_used(id),
        None => uses.filter(|it| it.subject() == subject).map(|it| it.at()).max(),
    }
}

fn day_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY.as_secs()
}

/// Returns the name of a total.
fn total_of(subject: &Subject) -> Option<&'static str> {
    match subject {
        Subject::Unknown => Some("unknown"),
        Subject::Overflow => Some("overflow"),
        _ => None,
    }
}

fn to_json(subject: &Subject, line: &Line, last_used: Option<SystemTime>) -> Value {
    let counts = |counts: &Counts| {
        json!({
            "accepted": counts.accepted,
            "rejected": counts.rejected,
            "limited": counts.limited,
            "forbidden": counts.forbidden,
        })
    };
    let days = line.days.iter().map(|(day, of_day)| {
        let mut of_day = counts(of_day);
        let begin = UNIX_EPOCH + DAY * u32::try_from(*day).unwrap_or(u32::MAX);
        let begin = output::format_rfc3339(begin);
        of_day["day"] = begin.split('T').next().into();
        of_day
    });
    let mut key = counts(&line.total);
    key["key"] = subject.key_id().into();
    key["client"] = subject.client().into();
    key["total"] = total_of(subject).into();
    key["last_used"] = last_used.map(output::format_rfc3339).into();
    key["days"] = days.collect();
    key
}

fn print_table(
    lines: &BTreeMap<Subject, Line>,
    data: &UsageData,
    begin: SystemTime,
    now: SystemTime,
) -> Result<(), Failure> {
    let days = day_of(begin)..=day_of(now);
    let width = days.clone().count().div_ceil(MAX_BARS).max(1);
    let title = if width == 1 { "DAYS".to_owned() } else { format!("PERIODS OF {width} DAYS") };
    let names =
        ["CLIENT", "KEY", "ACCEPTED", "REJECTED", "LIMITED", "FORBIDDEN", "LAST USED", &title];
    let mut table = Table::new(&names, now);
    for (subject, line) in lines {
        let requests: Vec<_> =
            days.clone().map(|day| line.days.get(&day).map_or(0, count_requests)).collect();
        let requests = add_up(&requests, width);
        let days = if table.is_for_people { draw_bars(&requests) } else { join(&requests) };
        let name = total_of(subject).map(|total| format!("({total})"));
        table.push([
            escape::text(subject.client().unwrap_or("-")),
            name.unwrap_or_else(|| escape::text(subject.key_id().unwrap_or("-"))),
            line.total.accepted.to_string(),
            line.total.rejected.to_string(),
            line.total.limited.to_string(),
            line.total.forbidden.to_string(),
            table.format_time(last_used(subject, data)),
            days,
        ]);
    }
    table.print()
}

/// Adds each group of numbers. The last group is whole, and the first one may be shorter.
fn add_up(numbers: &[u64], width: usize) -> Vec<u64> {
    let add = |group: &[u64]| group.iter().fold(0_u64, |sum, number| sum.saturating_add(*number));
    let mut sums: Vec<_> = numbers.rchunks(width).map(add).collect();
    sums.reverse();
    sums
}

fn count_requests(counts: &Counts) -> u64 {
    counts.accepted.saturating_add(counts.rejected)
}

fn join(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// Draws a bar for each number, as high as its part of the largest number. A dot is zero.
fn draw_bars(numbers: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

    let max = u128::from(numbers.iter().copied().max().unwrap_or(0).max(1));
    let bar = |number: &u64| match number {
        0 => '·',
        number => {
            let height = (u128::from(*number) * 8).div_ceil(max);
            let index = usize::try_from(height).unwrap_or(8).clamp(1, 8) - 1;
            BARS.get(index).copied().unwrap_or('█')
        }
    };
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_part_of_the_largest_number() {
        assert_eq!(draw_bars(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), "·▁▂▃▄▅▆▇█");
        assert_eq!(draw_bars(&[0, 1, 1000, u64::MAX]), "·▁▁█");
        assert_eq!(add_up(&[1, 2, 3, 4, u64::MAX], 2), [1, 5, u64::MAX]);
        assert_eq!((draw_bars(&[]), draw_bars(&[0, 0])), (String::new(), "··".to_owned()));
    }
}
