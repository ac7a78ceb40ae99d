//! The times in which processes counted, to find times without data.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

/// The time after which a process writes again that it counts.
pub(super) const MARK_EVERY: Duration = Duration::from_secs(3600);

/// A shorter time without a process is no gap. A process that ends does not write the end of its run.
const TOLERANCE: Duration = Duration::from_secs(2 * 3600);

pub(super) type Run = Range<SystemTime>;

/// Sorts runs, and joins those with no gap between them.
pub(super) fn join(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_by_key(|run| run.start);
    let mut joined: Vec<Run> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if !is_gap(last.end, run.start) => last.end = last.end.max(run.end),
            _ => joined.push(run),
        }
    }
    joined
}

/// Returns the gaps between joined runs, since a time and until another.
///
/// If a file has no run, nothing is known about gaps.
pub(super) fn gaps(joined: &[Run], since: SystemTime, until: SystemTime) -> Vec<Run> {
    if joined.is_empty() {
        return Vec::new();
    }
    let ends = std::iter::once(since).chain(joined.iter().map(|run| run.end));
    let starts = joined.iter().map(|run| run.start).chain([until]);
    let between = ends.zip(starts).map(|(end, start)| end.max(since)..start);
    between.filter(|gap| is_gap(gap.start, gap.end)).collect()
}

fn is_gap(end: SystemTime, start: SystemTime) -> bool {
    start.duration_since(end).is_ok_and(|time| time > TOLERANCE)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn run(start: u64, end: u64) -> Run {
        let at = |hour| UNIX_EPOCH + Duration::from_secs(hour * 3600);
        at(start)..at(end)
    }

    #[test]
    fn runs_of_several_processes_cover_each_other() {
        let joined = join(vec![run(30, 40), run(0, 10), run(5, 20), run(22, 23), run(6, 7)]);
        assert_eq!(joined, [run(0, 23), run(30, 40)]);
        let gaps = |since, until| gaps(&joined, run(since, until).start, run(since, until).end);
        assert_eq!(gaps(0, 41), [run(23, 30)]);
        assert_eq!(gaps(0, 50), [run(23, 30), run(40, 50)]);
        assert_eq!(gaps(25, 42), [run(25, 30)]);
        assert_eq!(gaps(29, 42), [] as [Run; 0]);
        assert_eq!(super::gaps(&[], UNIX_EPOCH, SystemTime::now()), [] as [Run; 0]);
        // A process that starts late.
        assert_eq!(super::gaps(&[run(9, 10)], run(0, 0).start, run(0, 10).end), [run(0, 9)]);
    }
}
