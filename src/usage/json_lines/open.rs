//! Opens the file of this process, and repairs its beginning and its end.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    error::Fault,
    file,
    line::{Header, MAX_LINE},
    slots::Slot,
};

/// Opens a file for this process alone. If the file is empty, this writes its start.
pub(super) fn open_own(
    path: &Path,
    start: impl FnOnce() -> String,
) -> Result<(File, Header), Fault> {
    let mut file = file::open_to_append(path)?;
    let failed = |doing| Fault::io(doing);
    let len = file.metadata().map_err(failed("read the size of the file"))?.len();
    let is_cut_off = has_only_part_of_header(&file, len).map_err(failed("read the file"))?;
    if is_cut_off {
        file.set_len(0).map_err(failed("remove the line that is cut off"))?;
    }
    if len == 0 || is_cut_off {
        let text = start();
        file.write_all(text.as_bytes()).map_err(|error| {
            _ = file.set_len(0);
            failed("write the file")(error)
        })?;
    }
    let header = read_header(&file)?;
    cut_off_rest(&file).map_err(failed("remove the line that is cut off"))?;
    Ok((file, header))
}

fn read_header(mut file: &File) -> Result<Header, Fault> {
    let failed = |doing| Fault::io(doing);
    file.seek(SeekFrom::Start(0)).map_err(failed("read the file"))?;
    let mut first = Vec::new();
    let mut lines = BufReader::new(file).take(MAX_LINE as u64);
    io::BufRead::read_until(&mut lines, b'\n', &mut first).map_err(failed("read the file"))?;
    let first = std::str::from_utf8(&first).map_err(|_| Fault::Header)?;
    Header::read(first)
}

/// Returns the time since which the other processes know every use, if this process has no older file.
pub(super) fn inherited(slot: &Slot) -> Option<SystemTime> {
    let since = |path: &PathBuf| {
        let file = file::open_to_read(path).ok().flatten()?;
        read_header(&file).ok().map(|header| header.since)
    };
    let times: Option<Vec<_>> = slot.others.as_ref()?.iter().map(since).collect();
    times?.into_iter().max()
}

/// Returns whether a crash cut off the first line of a file, so that the file has no other content.
fn has_only_part_of_header(mut file: &File, len: u64) -> io::Result<bool> {
    const BEGIN: &[u8] = b"{\"v\":1,\"kind\":\"usage\"";
    const MAX_HEADER: u64 = 256;

    if len > MAX_HEADER {
        return Ok(false);
    }
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_HEADER).read_to_end(&mut text)?;
    let is_begin = text.iter().zip(BEGIN).all(|(one, other)| one == other);
    Ok(is_begin && !text.is_empty() && !text.contains(&b'\n'))
}

/// Removes a last line without a line break, which a crash left. No writer has counted it as written.
fn cut_off_rest(mut file: &File) -> io::Result<()> {
    const BLOCK: u64 = 4096;

    let mut end = file.metadata()?.len();
    loop {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        match block.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                let len = start + at as u64 + 1;
                return if len < file.metadata()?.len() { file.set_len(len) } else { Ok(()) };
            }
            None if start == 0 => return Ok(()),
            None => end = start,
        }
    }
}
