use std::{collections::HashMap, str};

use super::{
    error::Fault,
    line::{self, HEADER, Reader},
};
use crate::verify::Record;

/// What a file holds, line by line, so that a change leaves all other lines as they are.
#[derive(Clone, Default)]
pub(super) struct Document<'t> {
    /// Each with its line break, and its key if it is no comment.
    lines: Vec<(&'t str, Option<Record>)>,
}

impl<'t> Document<'t> {
    /// Reads a file; the error says which line is wrong.
    pub(super) fn read(text: &'t [u8]) -> Result<Self, (Fault, Option<usize>)> {
        if text.is_empty() {
            return Err((Fault::Empty, None));
        }
        let text = str::from_utf8(text).map_err(|error| {
            let (good, _) = text.split_at(error.valid_up_to());
            (Fault::NotUtf8, Some(1 + good.iter().filter(|byte| **byte == b'\n').count()))
        })?;
        let mut reader = Reader::default();
        let mut lines = Vec::new();
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
            lines.push((line, record));
        }
        Ok(Self { lines })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.lines.iter().filter_map(|(_, record)| record.as_ref())
    }

    pub(super) fn into_records(self) -> impl Iterator<Item = Record> {
        self.lines.into_iter().filter_map(|(_, record)| record)
    }

    /// On which line each record stands, counted from 1.
    pub(super) fn lines(&self) -> Vec<usize> {
        let lines = (1..).zip(&self.lines).filter(|(_, (_, record))| record.is_some());
        lines.map(|(number, _)| number).collect()
    }

    /// The file with other records: comments and unchanged keys byte for byte, new ones at the end.
    pub(super) fn with(&self, records: impl Iterator<Item = Record>) -> String {
        let mut left: HashMap<_, _> =
            records.map(|record| (record.id().map(str::to_owned), record)).collect();
        let mut text = String::new();
        if self.lines.is_empty() {
            text.push_str(HEADER);
            text.push('\n');
        }
        for (line, before) in &self.lines {
            let Some(before) = before else {
                text.push_str(line);
                continue;
            };
            match left.remove(&before.id().map(str::to_owned)) {
                Some(after) if after == *before => text.push_str(line),
                Some(after) => line::write(&mut text, &after),
                None => {}
            }
        }
        let mut new: Vec<_> = left.into_values().collect();
        let order = |record: &Record| {
            let client = record.client().id().to_owned();
            (record.created(), client, record.id().map(str::to_owned))
        };
        new.sort_by_cached_key(order);
        new.iter().for_each(|record| line::write(&mut text, record));
        text
    }
}
