use std::{sync::Once, time::SystemTime};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// The number of keys that are not revoked.
const KEYS: &str = "api_key_store_keys";

/// Whether the store is followed: 1 or 0.
const UP: &str = "api_key_store_up";

/// The time of the last contact, in seconds since 1970.
const LAST_CONTACT: &str = "api_key_store_last_contact_timestamp_seconds";

/// The number of changes of keys, by kind.
const CHANGES: &str = "api_key_store_changes_total";

/// The number of other events, by name.
const EVENTS: &str = "api_key_store_events_total";

/// The number of lookups by a cache, by result.
const LOOKUPS: &str = "api_key_store_lookups_total";

pub(super) fn change(store: &str, kind: &'static str) {
    describe();
    counter!(CHANGES, "store" => store.to_owned(), "kind" => kind).increment(1);
}

pub(super) fn event(store: &str, name: &'static str) {
    describe();
    counter!(EVENTS, "store" => store.to_owned(), "event" => name).increment(1);
}

/// Counts a lookup of a key outside of memory.
pub(super) fn lookup(store: &str, result: &'static str) {
    describe();
    counter!(LOOKUPS, "store" => store.to_owned(), "result" => result).increment(1);
}

/// Records that the store was reached.
pub(super) fn up(store: &str, keys: usize, now: SystemTime) {
    describe();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge!(KEYS, "store" => store.to_owned()).set(keys as f64);
    gauge!(UP, "store" => store.to_owned()).set(1);
    gauge!(LAST_CONTACT, "store" => store.to_owned()).set(since.as_secs_f64());
}

/// Records that the store cannot be followed.
pub(super) fn down(store: &str) {
    describe();
    gauge!(UP, "store" => store.to_owned()).set(0);
}

fn describe() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe_gauge!(KEYS, Unit::Count, "Keys in memory that are not revoked.");
        describe_gauge!(UP, Unit::Count, "Whether the store of keys is followed.");
        describe_gauge!(LAST_CONTACT, Unit::Seconds, "When memory last had every change.");
        describe_counter!(CHANGES, Unit::Count, "Changes of keys, by kind.");
        describe_counter!(EVENTS, Unit::Count, "Other events of a store of keys, by name.");
        describe_counter!(
            LOOKUPS,
            Unit::Count,
            "Lookups of keys that were not in memory, by result."
        );
    });
}
