use tower_api_key::store::Cursor;

/// A point in the history of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) version: i64,
    /// A random number. If a backup was restored and changed since, another number has this version.
    pub(crate) mark: i64,
}

impl Position {
    pub(crate) fn parse(cursor: &Cursor) -> Option<Self> {
        let (version, mark) = cursor.as_str().split_once(':')?;
        Some(Self { version: version.parse().ok()?, mark: mark.parse().ok()? })
    }

    pub(crate) fn cursor(self) -> Cursor {
        Cursor::new(format!("{}:{}", self.version, self.mark))
    }
}
