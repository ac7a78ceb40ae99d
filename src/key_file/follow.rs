use std::{
    convert::Infallible,
    hash::BuildHasher,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use foldhash::fast::RandomState;

use super::{
    KeyFileEvent, KeyFileProblem, Shared,
    document::{self, At},
    error::Fault,
    exposure::Exposure,
    look::{self, Look},
};
use crate::{Keyring, verify::Record};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// How long it has to stand still before it is read.
const STILL: Duration = Duration::from_millis(300);

/// How long a file may go on changing before that is told.
const RESTLESS: Duration = Duration::from_secs(10);

/// When the clock of any file system has moved on: until then a second change may go unseen.
const COARSEST: Duration = Duration::from_secs(3);

/// What was last taken from the file, well or broken.
#[derive(Default)]
pub(super) struct Taken {
    look: Option<Look>,
    /// Of the content, where it was loaded.
    hash: Option<u64>,
    /// When to read it once more, whatever it looks like.
    again: Option<Instant>,
    exposure: Exposure,
    seed: RandomState,
}

/// Looks until the last handle is gone.
pub(super) fn run(file: &Weak<Shared>, stop: &Receiver<Infallible>) {
    let mut pause = EVERY;
    let mut seen = Seen::default();
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(pause) {
        let Some(file) = file.upgrade() else { return };
        // An observer that panics must not leave the keys as they are for good.
        let looked = catch_unwind(AssertUnwindSafe(|| file.follow(&mut seen)));
        pause = looked.unwrap_or(EVERY);
    }
}

/// A change that waits to stand still.
#[derive(Default)]
pub(super) struct Seen {
    look: Option<Look>,
    times: u32,
    since: Option<Instant>,
}

impl Shared {
    /// Looks once, and says when to look again.
    fn follow(&self, seen: &mut Seen) -> Duration {
        let now = Look::at(&self.path);
        let mut taken = self.taken();
        let is_due = taken.again.is_some_and(|again| again <= Instant::now());
        if taken.look == Some(now) && !is_due {
            *seen = Seen::default();
            let events = self.warnings(&mut taken);
            drop(taken);
            events.iter().for_each(|event| self.tell(event));
            return EVERY;
        }
        let since = *seen.since.get_or_insert_with(Instant::now);
        let loaded = if seen.look == Some(now) {
            seen.times += 1;
            self.load(&mut taken, now, Some(seen.times))
        } else {
            (seen.look, seen.times) = (Some(now), 1);
            Ok(Loaded::NotYet)
        };
        let events = match loaded {
            Ok(Loaded::Is(events)) => events,
            Ok(Loaded::NotYet) if since.elapsed() < RESTLESS => return STILL,
            Ok(Loaded::NotYet) => self.break_off(&mut taken, now, Fault::Restless, None),
            Err((fault, line)) => self.break_off(&mut taken, now, fault, line),
        };
        *seen = Seen::default();
        drop(taken);
        events.into_iter().for_each(|event| self.tell(&event));
        EVERY
    }

    /// Loads what the file holds, if it still looks like this; it may have been seen before.
    pub(super) fn load(
        &self,
        taken: &mut Taken,
        look: Look,
        seen: Option<u32>,
    ) -> Result<Loaded, At> {
        if look.is_unlinked() {
            return Err((Fault::Unlinked, None));
        }
        let Some(text) =
            look::read(&self.path, look, self.max_size).map_err(|fault| (fault, None))?
        else {
            return Ok(Loaded::NotYet);
        };
        let hash = taken.hash_of(&text);
        let was_broken = self.status().problem.is_some();
        let mut events = Vec::new();
        if taken.hash != Some(hash) || was_broken {
            let records = match seen {
                Some(_) if text.is_empty() => Vec::new(),
                _ => document::records(&text)?,
            };
            // What is empty may be about to be written: it has to stand still for longer.
            if records.is_empty() && seen.is_some_and(|times| times < 3) {
                return Ok(Loaded::NotYet);
            }
            fill(&self.keys, records)?;
            events.extend(self.loaded());
        }
        events.extend(self.warnings(taken));
        taken.note(look);
        taken.hash = Some(hash);
        Ok(Loaded::Is(events))
    }

    /// Looks at where the file is. What was told before is not told again.
    pub(super) fn warnings(&self, taken: &mut Taken) -> Vec<KeyFileEvent> {
        let now = Exposure::of(&self.path, self.follower.is_none());
        let before = std::mem::replace(&mut taken.exposure, now);
        let mut events = Vec::new();
        if now.is_writable_by_others && !before.is_writable_by_others {
            events.push(KeyFileEvent::WritableByOthers);
        }
        if now.has_other_names && !before.has_other_names {
            events.push(KeyFileEvent::HasOtherNames);
        }
        events
    }

    /// Keeps the keys, and says what is wrong.
    fn break_off(
        &self,
        taken: &mut Taken,
        look: Look,
        fault: Fault,
        line: Option<usize>,
    ) -> Vec<KeyFileEvent> {
        // What the operating system could not do it may do next time.
        let is_of_the_file =
            !matches!(fault, Fault::Io(..) | Fault::Restless) || matches!(look, Look::Unseen(_));
        taken.note(look);
        if !is_of_the_file {
            taken.forget();
        }
        let error = Arc::new(fault.at(&self.path, line));
        let mut status = self.status();
        let before = status.problem.take();
        let is_known = before.as_ref().is_some_and(|it| it.error.to_string() == error.to_string());
        let since = before.map_or_else(SystemTime::now, |before| before.since);
        status.problem = Some(KeyFileProblem { error: Arc::clone(&error), since });
        if is_known { Vec::new() } else { vec![KeyFileEvent::Broken(error)] }
    }

    /// Notes that the keys are those of the file. What there is to tell is one event.
    pub(super) fn loaded(&self) -> Option<KeyFileEvent> {
        let mut status = self.status();
        let was_broken = status.problem.take().is_some();
        let keys = self.keys.len();
        (status.loaded_at, status.keys) = (SystemTime::now(), keys);
        Some(match keys {
            0 => KeyFileEvent::Emptied,
            keys if was_broken => KeyFileEvent::Recovered { keys },
            keys => KeyFileEvent::Loaded { keys },
        })
    }
}

pub(super) enum Loaded {
    /// It changes still, or is empty for the first time.
    NotYet,
    Is(Vec<KeyFileEvent>),
}

impl Taken {
    /// This is what was seen; the content is yet to be told.
    pub(super) fn note(&mut self, look: Look) {
        self.look = Some(look);
        self.again = look.is_fresh(COARSEST).then(|| Instant::now() + COARSEST);
        self.hash = None;
    }

    /// What there is has to be read anew.
    pub(super) fn forget(&mut self) {
        (self.look, self.hash) = (None, None);
    }

    /// What we have written ourselves.
    pub(super) fn wrote(&mut self, look: Look, text: &[u8]) {
        self.note(look);
        self.hash = Some(self.hash_of(text));
    }

    fn hash_of(&self, text: &[u8]) -> u64 {
        self.seed.hash_one(text)
    }
}

/// Moves a keyring to the keys of a file. [`document`] has checked them already.
pub(super) fn fill(keys: &Keyring, records: Vec<Record>) -> Result<(), At> {
    keys.replace(records).map_err(|error| (Fault::Record(error.kind().into()), None))
}
