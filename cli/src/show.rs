//! Shows all fields of a key.

use std::time::SystemTime;

use crate::{
    Failure, escape,
    output::{self, Table},
    store::Store,
};

pub(crate) fn show(store: &Store, json: bool, key_id: &str) -> Result<(), Failure> {
    let (record, now) = (store.record(key_id)?, SystemTime::now());
    if json {
        return output::print_json(&output::to_json(&record, now));
    }
    let mut table = Table::new(&["FIELD", "VALUE"], now);
    let (client, text) = (record.client(), |text: Option<&str>| text.map(escape::text));
    let list = |words: Vec<String>| Some(words.join(" ")).filter(|list| !list.is_empty());
    let metadata = client
        .metadata_entries()
        .map(|(key, value)| format!("{}={}", escape::text(key), escape::text(value)));
    let time = |time: Option<SystemTime>| time.map(|time| table.format_time(Some(time)));
    let rows = [
        ("id", text(record.id())),
        ("client", text(Some(client.id()))),
        ("name", text(client.name())),
        ("scopes", list(client.scopes().map(str::to_owned).collect())),
        ("metadata", list(metadata.collect())),
        ("state", text(Some(output::classify(&record, now)))),
        ("prefix", text(record.format().map(|format| format.prefix()))),
        ("note", text(record.note())),
        ("created", time(record.created())),
        ("issued by", text(record.issued_by())),
        ("not before", time(record.not_before())),
        ("expires", time(record.expires())),
        ("rotated", time(record.rotated())),
        ("rotated because", text(record.rotated_reason())),
        ("retires", time(record.retires())),
        ("replaced by", text(record.replaced_by())),
        ("paused", time(record.paused())),
        ("revoked", time(record.revoked())),
        ("revoked by", text(record.revoked_by())),
        ("revoked because", text(record.revoked_reason())),
    ];
    for (name, value) in rows {
        value.into_iter().for_each(|value| table.push([name.to_owned(), value]));
    }
    table.print()
}
