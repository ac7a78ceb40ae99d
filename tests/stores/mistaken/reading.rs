use std::time::{Duration, SystemTime};

use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Page, Target},
};

use super::{
    Mistake, Mistaken,
    rows::{Row, Rows},
};

impl Mistaken {
    /// Returns the rows that a reader sees.
    fn seen<'a>(&self, rows: &'a Rows) -> Vec<&'a Row> {
        let is_dead = |row: &Row| row.record.check(SystemTime::now()).is_err();
        let is_recent =
            |row: &Row| row.written.elapsed().is_ok_and(|age| age < Duration::from_millis(50));
        let rows = rows.rows.iter();
        match self.mistake {
            Mistake::HidesDead => rows.filter(|row| !is_dead(row)).collect(),
            Mistake::LagsBehind => rows.filter(|row| !is_recent(row)).collect(),
            _ => rows.collect(),
        }
    }

    pub(super) fn find_row(&self, digest: &KeyDigest) -> Option<Record> {
        let rows = self.rows();
        let seen = self.seen(&rows);
        let matches = |row: &&Row| match self.mistake {
            Mistake::FindsTheFirst => true,
            Mistake::ComparesTheSlot => {
                row.record.digest().to_bytes()[..8] == digest.to_bytes()[..8]
            }
            _ => row.record.digest() == *digest,
        };
        let found = seen.into_iter().find(matches).map(|row| row.record.clone());
        match self.mistake {
            Mistake::FindInvents => {
                Some(found.unwrap_or_else(|| Record::new(*digest, Client::new("ci"))))
            }
            _ => found,
        }
    }

    fn is_client(&self, row: &Row, client: &str) -> bool {
        match self.mistake {
            Mistake::ClientByPattern => matches_pattern(row.record.client().id(), client),
            Mistake::IgnoresCase => row.record.client().id().eq_ignore_ascii_case(client),
            Mistake::ClientOfTheInsertion => row.first_client == client,
            _ => row.record.client().id() == client,
        }
    }

    pub(super) fn list_rows(&self, page: &Page) -> Vec<Record> {
        let rows = self.rows();
        let mut seen = self.seen(&rows);
        if !self.has(Mistake::Unordered) {
            seen.sort_by(|one, two| one.record.id().cmp(&two.record.id()));
        }
        let knows_after =
            page.after().is_none_or(|after| seen.iter().any(|row| row.record.id() == Some(after)));
        if self.has(Mistake::AfterNeedsARecord) && !knows_after {
            return Vec::new();
        }
        let matches = |row: &&Row| {
            let record = &row.record;
            let is_id = page.key_id().is_none_or(|id| match self.mistake {
                Mistake::IgnoresCase => record.id().unwrap().eq_ignore_ascii_case(id),
                _ => record.id() == Some(id),
            });
            let is_client = page.client().is_none_or(|client| self.is_client(row, client));
            let is_after = page.after().is_none_or(|after| match self.mistake {
                Mistake::AfterIsInclusive => record.id() >= Some(after),
                _ => record.id() > Some(after),
            });
            let ends = match self.mistake {
                Mistake::ForgetsRetires => [record.expires(), None],
                _ => [record.expires(), record.retires()],
            };
            let is_soon = page
                .ends_before()
                .is_none_or(|time| ends.into_iter().flatten().any(|end| end < time));
            if self.has(Mistake::OneFilterOnly) && page.client().is_some() {
                return is_client;
            }
            is_id && is_client && is_after && is_soon
        };
        let limit = match (self.mistake, page.limit()) {
            (Mistake::NoLimit, _) | (Mistake::ZeroIsAll, 0) => usize::MAX,
            (_, limit) => limit,
        };
        let found = seen.into_iter().filter(matches).take(limit);
        found.map(|row| row.record.clone()).collect()
    }

    /// Returns the records that a change reads.
    pub(super) fn select(&self, rows: &Rows, target: &Target) -> Vec<Record> {
        let is_recent =
            |row: &Row| row.written.elapsed().is_ok_and(|age| age < Duration::from_millis(20));
        let matches = |row: &&Row| match (self.mistake, target) {
            (Mistake::ReadsNothing, _) => false,
            (Mistake::StaleSelection, _) if !row.is_new && is_recent(row) => false,
            (Mistake::PruneForgetsExpired, Target::DeadBefore(_)) => {
                row.record.revoked().is_some() && target.contains(&row.record)
            }
            (Mistake::ClientByPattern, Target::Client(client)) => {
                // The rule ignores the others, so this one reads too few.
                self.is_client(row, client) && !client.contains('_')
            }
            (Mistake::ClientOfTheInsertion, Target::Client(client)) => self.is_client(row, client),
            _ => target.contains(&row.record),
        };
        let seen = self.seen(rows).into_iter().filter(matches);
        seen.map(|row| row.record.clone()).collect()
    }
}

/// `LIKE` with `_` and `%`, for short texts.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = pattern_chars.as_str();
            (0..=text.len()).any(|at| matches_pattern(&text[at..], rest))
        }
        Some(char) => {
            let mut text_chars = text.chars();
            text_chars.next().is_some_and(|it| char == '_' || it == char)
                && matches_pattern(text_chars.as_str(), pattern_chars.as_str())
        }
    }
}
