use std::time::SystemTime;

use super::StoreError;

/// The reason why a store cannot be followed. The records in memory stay.
#[derive(Clone, Debug)]
pub struct StoreProblem {
    error: StoreError,
    since: SystemTime,
}

impl StoreProblem {
    /// Notes the current error, and returns whether it is new.
    pub(super) fn note(problem: &mut Option<Self>, error: StoreError) -> bool {
        let before = problem.take();
        let is_new =
            before.as_ref().is_none_or(|before| before.error.to_string() != error.to_string());
        let since = before.map_or_else(SystemTime::now, |before| before.since);
        *problem = Some(Self { error, since });
        is_new
    }

    /// Returns the current error.
    #[must_use]
    pub fn error(&self) -> &StoreError {
        &self.error
    }

    /// Returns the time at which the problem began. If the error changes, the time stays.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }
}
