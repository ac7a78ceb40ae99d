//! Times of the database, which are microseconds since 2000.

use std::{
    error::Error,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_postgres::types::{FromSql, Type};

/// From 1970 to 2000.
const OFFSET: i64 = 946_684_800_000_000;

/// A time that the database can hold, in microseconds since 1970.
const LAST: u64 = 9_000_000_000_000_000_000;

/// A time as the database holds it. It can be before 1970 or infinite.
pub(crate) struct DbTime(i64);

impl DbTime {
    /// Returns `None` for a time before 1970. A record has no time after 2554, and infinity is later.
    pub(crate) fn system_time(&self) -> Option<SystemTime> {
        let micros = u64::try_from(self.0.saturating_add(OFFSET)).ok()?;
        Some(UNIX_EPOCH + Duration::from_micros(micros.min(u64::MAX / 1000)))
    }
}

impl<'a> FromSql<'a> for DbTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

/// Rounds a time up to a microsecond.
pub(crate) fn rounded_up(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(since.as_nanos().div_ceil(1000)).unwrap_or(LAST);
    UNIX_EPOCH + Duration::from_micros(micros.min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_database_is_read_unless_it_is_before_1970() {
        let read = |micros: i64| DbTime(micros).system_time();
        assert_eq!(read(-OFFSET), Some(UNIX_EPOCH));
        assert_eq!(read(-OFFSET + 1), Some(UNIX_EPOCH + Duration::from_micros(1)));
        assert_eq!((read(-OFFSET - 1), read(i64::MIN)), (None, None));
        assert_eq!(read(i64::MAX), Some(UNIX_EPOCH + Duration::from_micros(u64::MAX / 1000)));
    }

    #[test]
    fn a_limit_is_rounded_up() {
        let at = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
        assert_eq!(rounded_up(at(1001)), at(2000));
        assert_eq!(rounded_up(at(2000)), at(2000));
        assert!(rounded_up(UNIX_EPOCH + Duration::from_secs(u64::MAX / 4)) > at(0));
    }
}
