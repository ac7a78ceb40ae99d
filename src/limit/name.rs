//! Names of limits, and their hashes.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::calendar::CalendarWindow;
use crate::error::ConfigErrorKind;

/// The longest name of a limit, in bytes.
const MAX_NAME_LEN: usize = 64;

/// The bits of a counter's name that are its kind.
const KIND: u64 = 3;

const fn kind(calendar: Option<CalendarWindow>) -> u64 {
    match calendar {
        None => 0,
        Some(CalendarWindow::Day) => 1,
        Some(CalendarWindow::Month) => 2,
    }
}

/// Returns the hash of a name and of the kind of its counter.
pub(super) const fn hash(name: &str, calendar: Option<CalendarWindow>) -> u64 {
    fnv(name.as_bytes()) & !KIND | kind(calendar)
}

/// Returns whether the counter of this name is that of a calendar window.
#[inline]
pub(super) const fn is_calendar(name_hash: u64) -> bool {
    name_hash & KIND != 0
}

/// Returns whether two hashes are of one name, for counters of any kind.
pub(super) const fn are_equal(one: u64, other: u64) -> bool {
    one | KIND == other | KIND
}

/// Checks that a name can be a key of a structured field.
pub(super) const fn check(name: &str) -> Result<(), ConfigErrorKind> {
    if name.is_empty() || name.len() > MAX_NAME_LEN {
        return Err(ConfigErrorKind::LimitName);
    }
    let mut rest = name.as_bytes();
    while let [byte, tail @ ..] = rest {
        if !byte.is_ascii_graphic() || *byte == b'"' || *byte == b'\\' {
            return Err(ConfigErrorKind::LimitName);
        }
        rest = tail;
    }
    Ok(())
}

/// FNV-1a. The names of limits come from the operator, so that no seed is needed.
const fn fnv(name: &[u8]) -> u64 {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01B3);
        rest = tail;
    }
    hash
}

/// Keeps each name once.
pub(super) fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = name.to_owned().leak();
    names.insert(name);
    name
}
