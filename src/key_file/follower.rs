use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{Shared, applied::Loaded, error::Fault, file_stamp::FileStamp};

/// The time between two polls of an unchanged file.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The time without a change after which a file is read.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// The time after which a file that keeps changing is reported.
const MAX_UNSTABLE: Duration = Duration::from_secs(10);

/// A changed file that may still be incomplete.
#[derive(Default)]
struct Candidate {
    stamp: Option<FileStamp>,
    /// The number of polls that found this stamp.
    polls: u32,
    changing_since: Option<Instant>,
}

/// Polls the file until the last handle is dropped.
pub(super) fn run(file: &Weak<Shared>, stop: &Receiver<Infallible>) {
    let mut pause = POLL_INTERVAL;
    let mut candidate = Candidate::default();
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(pause) {
        let Some(file) = file.upgrade() else { return };
        // If an observer panics, the follower must go on.
        let polled = catch_unwind(AssertUnwindSafe(|| file.poll(&mut candidate)));
        pause = polled.unwrap_or(POLL_INTERVAL);
        // A file that is still changing is no news.
        #[cfg(feature = "store")]
        if pause == POLL_INTERVAL {
            file.notify_of_poll();
        }
    }
}

impl Shared {
    /// Polls the file once and returns the time until the next poll.
    fn poll(&self, candidate: &mut Candidate) -> Duration {
        let now = FileStamp::of_path(&self.path);
        let mut applied = self.applied();
        if applied.stamp == Some(now) && !applied.is_recheck_due() {
            *candidate = Candidate::default();
            let events = self.warnings(&mut applied);
            drop(applied);
            events.iter().for_each(|event| self.emit(event));
            return POLL_INTERVAL;
        }
        let changing_since = *candidate.changing_since.get_or_insert_with(Instant::now);
        let loaded = if candidate.stamp == Some(now) {
            candidate.polls += 1;
            self.load(&mut applied, now, Some(candidate.polls))
        } else {
            (candidate.stamp, candidate.polls) = (Some(now), 1);
            Ok(Loaded::NotYet)
        };
        let result = match loaded {
            Ok(Loaded::Done(events)) => Ok(events),
            Ok(Loaded::NotYet) if changing_since.elapsed() < MAX_UNSTABLE => return DEBOUNCE,
            Ok(Loaded::NotYet) => Err((Fault::Unstable, None)),
            Err(fault) => Err(fault),
        };
        let events = result.unwrap_or_else(|fault| {
            self.set_broken(&mut applied, now, fault).into_iter().collect()
        });
        *candidate = Candidate::default();
        drop(applied);
        events.iter().for_each(|event| self.emit(event));
        POLL_INTERVAL
    }
}
