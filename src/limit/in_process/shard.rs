use std::{
    hint::spin_loop,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use crate::limit::table::Table;

/// A table and its lock. Has cache lines of its own.
#[repr(align(128))]
pub(super) struct Shard(Mutex<Table>);

impl Shard {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table::new()))
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Returns the table of a poisoned lock as well. Only a clock can panic, and tables are consistent then.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Table>> {
        match self.0.try_lock() {
            Ok(table) => Some(table),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for the lock, at first with growing pauses.
    ///
    /// Another thread holds it for some nanoseconds, and a thread that sleeps needs a system call to wake up.
    #[cold]
    fn wait(&self) -> MutexGuard<'_, Table> {
        for round in 0..8 {
            for _ in 0..1 << round {
                spin_loop();
            }
            if let Some(table) = self.try_lock() {
                return table;
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
