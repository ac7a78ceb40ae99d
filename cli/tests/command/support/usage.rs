//! Files with usage, and the days in them.

use std::{
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use super::Folder;

pub(crate) const DAY: u64 = 86_400;

/// The current day, as seconds since 1970 at its beginning.
pub(crate) fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    since / DAY * DAY
}

pub(crate) fn format(seconds: u64) -> String {
    // The tests of the command have no library for times, and `date` knows the calendar.
    let date = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

/// Writes a usage file that begins some days ago.
pub(crate) fn write_usage(folder: &Folder, name: &str, days: u64, lines: &[String]) -> PathBuf {
    let since = format(today() - days * DAY);
    let header = format!("{{\"v\":1,\"kind\":\"usage\",\"since\":\"{since}\"}}\n");
    let path = folder.path().join(name);
    fs::write(&path, header + &lines.concat()).unwrap();
    path
}

/// Returns a line with the requests of a day.
pub(crate) fn line(key: &str, client: &str, days_ago: u64, counts: &str) -> String {
    let hour = today() - days_ago * DAY;
    let last = if counts.contains("accepted") {
        format!(",\"last_used\":\"{}\"", format(hour + 60))
    } else {
        String::new()
    };
    let hour = format(hour);
    let client = serde_json::to_string(client).unwrap();
    format!("{{\"key\":\"{key}\",\"client\":{client},\"hour\":\"{hour}\",{counts}{last}}}\n")
}

/// Returns a line that says from which day until which other a process counted.
pub(crate) fn run(days_ago: i64, until: i64) -> String {
    let day = |days_ago: i64| format(today().checked_add_signed(-days_ago * DAY as i64).unwrap());
    format!("{{\"ran_from\":\"{}\",\"ran_until\":\"{}\"}}\n", day(days_ago), day(until))
}
