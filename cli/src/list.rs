//! Lists the keys, with the last use of each.

use std::time::SystemTime;

use tower_api_key::{record::Record, rejection::Reason, store::Page};

use crate::{
    Failure,
    args::{FilterArgs, FromArgs},
    escape,
    output::{self, Table},
    store::Store,
    usage_data::{IfBroken, UsageData},
};

pub(crate) fn list(
    store: &Store,
    json: bool,
    from: FromArgs,
    filter: &FilterArgs,
) -> Result<(), Failure> {
    let now = SystemTime::now();
    let FilterArgs { client, expiring, unused } = filter;
    let if_broken = if unused.is_some() { IfBroken::Fail } else { IfBroken::Warn };
    let end = expiring.map(|within| now + within);
    let mut page = Page::new();
    // To find the clients without keys, `--unused` needs all records.
    if unused.is_none() {
        page = client.iter().fold(page, Page::with_client);
        page = end.into_iter().fold(page, Page::with_ends_before);
    }
    let mut records = sort_records(store.records(page)?);
    let usage = UsageData::read(from, Some(store), now, json, if_broken)?;
    if let Some(unused) = unused {
        usage.require_since(unused)?;
        usage.require_names(unused)?;
        usage.warn_of_gaps(unused.time, json);
        usage.warn_of_unknown_clients(unused, &records, json);
        records.retain(|record| is_unused(record, &usage, unused.time, now));
    }
    records.retain(|record| {
        client.as_ref().is_none_or(|client| record.client().id() == client)
            && end.is_none_or(|end| ends_before(record, end, now))
    });
    if json {
        let records = records.iter().map(|record| {
            let mut listed = output::to_json(record, now);
            listed["last_used"] = last_used(record, &usage).map(output::format_rfc3339).into();
            listed
        });
        return output::print_json(&records.collect());
    }
    match unused {
        Some(unused) if records.is_empty() => {
            output::print_message(&format!(
                "Every valid key was used or issued within {}.",
                unused.text
            ));
        }
        None if records.is_empty() && (client.is_some() || end.is_some()) => {
            output::print_message("No key matches. `apikey list` shows all keys.");
        }
        None if records.is_empty() => {
            output::print_message("No keys. `apikey issue CLIENT` issues one.");
        }
        _ => {}
    }
    print_table(&records, &usage, now)
}

fn print_table(records: &[Record], usage: &UsageData, now: SystemTime) -> Result<(), Failure> {
    let names = ["ID", "CLIENT", "STATE", "CREATED", "ENDS", "LAST USED", "SCOPES", "NOTE", "NAME"];
    let mut table = Table::new(&names, now);
    for record in records {
        let client = record.client();
        let scopes: Vec<_> = client.scopes().collect();
        table.push([
            record.id().unwrap_or("-").to_owned(),
            escape::text(client.id()),
            output::classify(record, now).to_owned(),
            table.format_time(record.created()),
            table.format_time(output::find_end(record)),
            table.format_time(last_used(record, usage)),
            if scopes.is_empty() { "-".to_owned() } else { scopes.join(" ") },
            escape::text(record.note().unwrap_or("-")),
            escape::text(client.name().unwrap_or("-")),
        ]);
    }
    table.print()
}

fn last_used(record: &Record, usage: &UsageData) -> Option<SystemTime> {
    record.id().and_then(|id| usage.last_used(id))
}

/// Returns whether a key ends before a time, and has not ended yet.
fn ends_before(record: &Record, end: SystemTime, now: SystemTime) -> bool {
    let is_dead = matches!(record.check(now), Err(Reason::Revoked | Reason::Expired));
    !is_dead && output::find_end(record).is_some_and(|own| own < end)
}

/// Returns whether a key was valid for the whole time, and no request used it.
fn is_unused(record: &Record, usage: &UsageData, since: SystemTime, now: SystemTime) -> bool {
    let is_older = |time: Option<SystemTime>| time.is_none_or(|time| time < since);
    record.check(now).is_ok()
        && is_older(record.created())
        && is_older(record.not_before())
        && is_older(last_used(record, usage))
        && is_older(usage.last_used_without_id(record.client().id()))
}

/// Sorts records by client. The oldest record of a client comes first.
pub(crate) fn sort_records(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| {
        let age = |record: &'_ Record| (record.created(), record.id().map(str::to_owned));
        a.client().id().cmp(b.client().id()).then_with(|| age(a).cmp(&age(b)))
    });
    records
}
