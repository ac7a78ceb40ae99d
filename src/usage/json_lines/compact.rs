//! Makes the content of a full file smaller.

use std::time::SystemTime;

use super::{history::Content, line, line::Header, runs};
use crate::usage::UsageRow;

/// Returns a text with one row for each key and hour, and its header.
///
/// If the text would take more than `max` bytes, the oldest hours are left out. The last use of each key stays.
pub(super) fn compacted(content: Content, header: Header, max: u64) -> (String, Header) {
    let last_uses: Vec<_> = content.merged.last_uses().collect();
    let runs = runs::join(content.merged.runs.clone());
    let mut rows = content.merged.into_rows();
    rows.sort_by_key(UsageRow::hour);
    let mut lines: Vec<(SystemTime, String)> = Vec::new();
    for row in &rows {
        let mut text = String::new();
        line::write_row(&mut text, row);
        match lines.last_mut() {
            Some((hour, lines)) if *hour == row.hour() => lines.push_str(&text),
            _ => lines.push((row.hour(), text)),
        }
    }

    let mut longest_start = String::new();
    Header { rows_since: Some(header.since), ..header }.write(&mut longest_start);
    runs.iter().for_each(|run| line::write_run(&mut longest_start, run));
    last_uses.iter().for_each(|last_use| line::write_last_use(&mut longest_start, last_use));
    let mut room = usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(longest_start.len());
    let fits = |(_, text): &&(SystemTime, String)| match room.checked_sub(text.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let kept = lines.iter().rev().take_while(fits).count();
    let kept = lines.get(lines.len() - kept..).unwrap_or_default();

    let is_whole = kept.len() == lines.len();
    let first_kept = kept.first().map_or_else(line::now, |(hour, _)| *hour);
    let rows_since = if is_whole { header.rows_since } else { Some(first_kept) };
    let header = Header { rows_since, ..header };

    let mut text = String::new();
    header.write(&mut text);
    runs.iter().for_each(|run| line::write_run(&mut text, run));
    // A row that is kept has the last use already.
    let of_kept = |it: &UsageRow| it.hour() >= first_kept;
    let known: std::collections::HashSet<_> = { rows.iter() }
        .filter(|row| of_kept(row))
        .filter_map(|row| Some((row.subject(), row.last_used()?)))
        .collect();
    for last_use in &last_uses {
        if !known.contains(&(last_use.subject(), last_use.at())) {
            line::write_last_use(&mut text, last_use);
        }
    }
    kept.iter().for_each(|(_, lines)| text.push_str(lines));
    (text, header)
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, time::Duration};

    use super::*;
    use crate::usage::json_lines::history::parse;

    const MINUTE: Duration = Duration::from_secs(60);

    fn content() -> String {
        let mut text =
            String::from("{\"v\":1,\"kind\":\"usage\",\"since\":\"2026-01-01T00:00:00Z\"}\n");
        for (hour, key) in (0..24).flat_map(|hour| [(hour, "a"), (hour, "b"), (hour, "a")]) {
            let at = format!("2026-11-28T{hour:02}:30:00Z");
            // Only the first hours have `b`.
            let key = if hour < 3 { key } else { "a" };
            writeln!(
                text,
                r#"{{"key":"{key}","client":"ci","hour":"2026-11-28T{hour:02}:00:00Z","accepted":2,"last_used":"{at}"}}"#
            )
            .unwrap();
        }
        text
    }

    #[test]
    fn compaction_keeps_every_count_if_there_is_room() {
        let before = content();
        let read = parse(before.as_bytes()).unwrap();
        let header = read.header.unwrap();
        let rows = parse(before.as_bytes()).unwrap().merged.into_rows();
        let (text, after) = compacted(read, header, 1 << 20);
        assert_eq!(after, header);
        assert!(text.len() < before.len() / 2, "{text}");
        assert_eq!(parse(text.as_bytes()).unwrap().merged.into_rows(), rows);
        assert_eq!(text.lines().count(), 1 + rows.len());
    }

    #[test]
    fn compaction_leaves_out_the_oldest_hours_and_keeps_every_last_use() {
        let read = || parse(content().as_bytes()).unwrap();
        let last_uses: Vec<_> = read().merged.last_uses().collect();
        assert_eq!(last_uses.len(), 2);
        for (max, hours) in [(1200, 9), (0, 0)] {
            let header = read().header.unwrap();
            let (text, header) = compacted(read(), header, max);
            let again = parse(text.as_bytes()).unwrap();
            assert_eq!(again.header, Some(header));
            assert_eq!(again.merged.last_uses().collect::<Vec<_>>(), last_uses);
            let rows = again.merged.into_rows();
            assert_eq!(rows.len(), hours, "{text}");
            let first = rows.first().map(UsageRow::hour);
            assert!(header.rows_since >= first.or(Some(SystemTime::now() - MINUTE)));
        }
    }
}
