//! A flush of usage.

use std::time::{Duration, Instant, SystemTime};

use tower_api_key::usage::{Counts, Subject, UsageBatch, UsageRow, UsageSink as _};

use crate::{
    Figures, Site, Store,
    figures::{median, millis},
};

pub fn run(site: &Site, is_quick: bool, figures: &mut Figures) {
    let usage = Store::open(&site.database("usage")).unwrap().usage();
    let keys = if is_quick { 100 } else { 10_000 };
    let mut counts = Counts::default();
    counts.accepted = 17;
    let (mut new, mut again) = (Vec::new(), Vec::new());
    let mut sequence = 0;
    for hour in 0..8 {
        // Hours before the retention would be removed.
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 3600;
        let hour = SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * (now - hour));
        for repeat in 0..3 {
            let rows = (0..keys).map(|n| {
                let subject = Subject::key(format!("{n:08}"), Some("a client"));
                UsageRow::new(subject, hour, counts, Some(hour))
            });
            sequence += 1;
            let batch = UsageBatch::new("bench", sequence, rows.collect());
            let start = Instant::now();
            site.runtime.block_on(usage.write(&batch)).unwrap();
            let times = if repeat == 0 { &mut new } else { &mut again };
            times.push(millis(start.elapsed()));
        }
    }
    figures.add("PostgreSQL: flush of 10,000 usage rows, new hour", median(new), 150.0, "ms");
    figures.add("PostgreSQL: flush of 10,000 usage rows, same hour", median(again), 150.0, "ms");
}
