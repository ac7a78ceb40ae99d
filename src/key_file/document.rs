use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    str,
};

use foldhash::fast::RandomState;

use super::{
    error::Fault,
    line::{self, Reader},
};
use crate::{
    KeyDigest,
    error::KeyringErrorKind::{DuplicateKey, DuplicateKeyId},
    record::Record,
};

/// The most bytes of a line, with its line break.
const MAX_LINE: usize = 64 << 10;

/// Editors on Windows write it before the text.
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// The text of a file and its keys. A change leaves all other lines as they are.
#[derive(Default)]
pub(super) struct Document<'t> {
    /// The text without a byte order mark. A changed file loses the mark, because older versions reject it.
    text: &'t str,
    version: u64,
    /// The position of the second line.
    after_header: usize,
    /// Each key with the range of its line in the text.
    keys: Vec<(Range<usize>, Record)>,
}

/// A fault and the number of its line, if the fault is in a line.
pub(super) type At = (Fault, Option<usize>);

/// Reads all keys of a file.
pub(super) fn records(text: &[u8]) -> Result<Vec<Record>, At> {
    let mut records = Vec::with_capacity(count(text)?);
    scan(text, |_, record| {
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

/// Checks a whole file and counts its keys.
///
/// It keeps no record, because a broken file must not take several times its size in memory.
fn count(text: &[u8]) -> Result<usize, At> {
    let mut digests = HashSet::with_hasher(RandomState::default());
    let mut ids = HashSet::with_hasher(RandomState::default());
    scan(text, |_, record| {
        record.validate()?;
        if !digests.insert(slot(&record.digest())) {
            return Err(Fault::Record(DuplicateKey.into()));
        }
        if !ids.insert(record.id().and_then(|id| id.as_bytes().first_chunk::<8>().copied())) {
            return Err(Fault::Record(DuplicateKeyId.into()));
        }
        Ok(())
    })?;
    Ok(digests.len())
}

/// Returns the part of a digest by which a keyring distinguishes keys.
fn slot(digest: &KeyDigest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.to_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Reads a file, and passes each key and the range of its line to a closure.
fn scan(
    text: &[u8],
    mut take: impl FnMut(Range<usize>, Record) -> Result<(), Fault>,
) -> Result<Document<'_>, At> {
    let text = str::from_utf8(text).map_err(|error| {
        let (good, _) = text.split_at(error.valid_up_to());
        (Fault::NotUtf8, Some(1 + good.iter().filter(|byte| **byte == b'\n').count()))
    })?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if text.is_empty() {
        return Err((Fault::Empty, None));
    }
    let mut document = Document { text, ..Document::default() };
    let mut reader = Reader::default();
    let mut end = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let wrong = |fault| (fault, Some(number));
        let place = end..end + line.len();
        end = place.end;
        if line.len() > MAX_LINE {
            return Err(wrong(Fault::LongLine(MAX_LINE)));
        }
        if !line.ends_with('\n') {
            return Err(wrong(Fault::CutOff));
        }
        let content = line.trim();
        if number == 1 {
            let version = line::read_header(content).map_err(wrong)?;
            (document.version, document.after_header) = (version, end);
            reader = Reader::of_version(version);
        } else if !content.is_empty() && !content.starts_with('#') {
            let record = reader.read(content).map_err(wrong)?;
            take(place, record).map_err(wrong)?;
        }
    }
    Ok(document)
}

impl<'t> Document<'t> {
    pub(super) fn read(text: &'t [u8]) -> Result<Self, At> {
        let mut keys = Vec::with_capacity(count(text)?);
        let document = scan(text, |place, record| {
            keys.push((place, record));
            Ok(())
        })?;
        Ok(Self { keys, ..document })
    }

    /// Returns the text without a byte order mark.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.keys.iter().map(|(_, record)| record)
    }

    /// Returns the file with other records. Comments and unchanged keys stay byte for byte, and new keys
    /// are at the end.
    pub(super) fn with(&self, records: &[Record]) -> String {
        let part = |range: Range<usize>| self.text.get(range).unwrap_or_default();
        let mut left: HashMap<_, _> = records.iter().map(|record| (record.id(), record)).collect();
        // Without room for a new line, the text would be copied into twice its size.
        let mut text = String::with_capacity(self.text.len() + MAX_LINE);
        let version = line::version_of(records);
        let header = part(0..self.after_header);
        if header.is_empty() {
            text.push_str(&line::header(version));
            text.push('\n');
        } else if version > self.version || version < line::version_of(self.records()) {
            text.push_str(&header.replacen(header.trim(), &line::header(version), 1));
        } else {
            text.push_str(header);
        }
        let mut end = self.after_header;
        for (place, before) in &self.keys {
            text.push_str(part(end..place.start));
            end = place.end;
            match left.remove(&before.id()) {
                Some(after) if after == before => text.push_str(part(place.clone())),
                Some(after) => line::write(&mut text, after),
                None => {}
            }
        }
        text.push_str(part(end..self.text.len()));
        let mut new: Vec<_> = left.into_values().collect();
        new.sort_by_key(|record| (record.created(), record.client().id(), record.id()));
        new.into_iter().for_each(|record| line::write(&mut text, record));
        text
    }
}
