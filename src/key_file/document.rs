use std::{collections::HashMap, str};

use super::{
    error::Fault,
    line::{self, HEADER, Reader},
};
use crate::verify::Record;

/// What a file holds, line by line, so that a change leaves all other lines as they are.
#[derive(Default)]
pub(super) struct Document<'t> {
    /// Each with its line break, and its key if it is no comment.
    lines: Vec<(&'t str, Option<Record>)>,
}

/// A fault, and the line it is on, if it is on one.
pub(super) type At = (Fault, Option<usize>);

/// Reads all keys of a file.
pub(super) fn records(text: &[u8]) -> Result<Vec<Record>, At> {
    let mut records = Vec::with_capacity(text.iter().filter(|byte| **byte == b'\n').count());
    each_line(text, |_, record| records.extend(record))?;
    Ok(records)
}

/// The line of a key by its number; both count from 1.
pub(super) fn line_of(text: &[u8], key: usize) -> Option<usize> {
    let mut keys = Vec::new();
    let mut number = 0;
    each_line(text, |_, record| {
        number += 1;
        keys.extend(record.map(|_| number));
    })
    .ok()?;
    keys.get(key.checked_sub(1)?).copied()
}

fn each_line<'t>(text: &'t [u8], mut take: impl FnMut(&'t str, Option<Record>)) -> Result<(), At> {
    if text.is_empty() {
        return Err((Fault::Empty, None));
    }
    let text = str::from_utf8(text).map_err(|error| {
        let (good, _) = text.split_at(error.valid_up_to());
        (Fault::NotUtf8, Some(1 + good.iter().filter(|byte| **byte == b'\n').count()))
    })?;
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let wrong = |fault| (fault, Some(number));
        if !line.ends_with('\n') {
            return Err(wrong(Fault::CutOff));
        }
        let content = line.trim();
        let record = if number == 1 {
            line::check_header(content).map_err(wrong)?;
            None
        } else if content.is_empty() || content.starts_with('#') {
            None
        } else {
            Some(reader.read(content).map_err(wrong)?)
        };
        take(line, record);
    }
    Ok(())
}

impl<'t> Document<'t> {
    pub(super) fn read(text: &'t [u8]) -> Result<Self, At> {
        let mut lines = Vec::new();
        each_line(text, |line, record| lines.push((line, record)))?;
        Ok(Self { lines })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.lines.iter().filter_map(|(_, record)| record.as_ref())
    }

    /// The file with other records: comments and unchanged keys byte for byte, new ones at the end.
    pub(super) fn with(&self, records: &[Record]) -> String {
        let mut left: HashMap<_, _> = records.iter().map(|record| (record.id(), record)).collect();
        let mut text = String::with_capacity(self.lines.iter().map(|(line, _)| line.len()).sum());
        if self.lines.is_empty() {
            text.push_str(HEADER);
            text.push('\n');
        }
        for (line, before) in &self.lines {
            match before.as_ref().map(|before| (before, left.remove(&before.id()))) {
                None => text.push_str(line),
                Some((before, Some(after))) if after == before => text.push_str(line),
                Some((_, Some(after))) => line::write(&mut text, after),
                Some((_, None)) => {}
            }
        }
        let mut new: Vec<_> = left.into_values().collect();
        new.sort_by_key(|record| (record.created(), record.client().id(), record.id()));
        new.into_iter().for_each(|record| line::write(&mut text, record));
        text
    }
}
