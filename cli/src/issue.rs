//! Issues a key.

use std::{path::Path, time::SystemTime};

use tower_api_key::{key::KeyFormat, key_file::KeyFile, record::Record};

use crate::{
    Failure,
    args::KeyArgs,
    output,
    print_key::{print_key, report_unprinted, require_stdout},
};

pub(crate) fn issue(
    file: &KeyFile,
    json: bool,
    client: &str,
    format: &KeyFormat,
    args: &KeyArgs,
) -> Result<(), Failure> {
    require_stdout()?;
    let (minted, is_new) = file.update(|keys| {
        let minted = format.mint()?;
        keys.insert_record(args.complete(Record::of(&minted, args.build_client(client))))?;
        Ok((minted, is_missing(file.path())))
    })?;
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    let issued = file.record(&id).filter(|_| json).map(|record| {
        let mut issued = output::add_path(output::to_json(&record, SystemTime::now()), file);
        issued["file_created"] = is_new.into();
        issued
    });
    if let Err(error) = print_key(minted, issued) {
        let undone = file.update(|keys| Ok(keys.remove(&digest))).map(drop);
        return Err(report_unprinted(&error, &id, undone));
    }
    if !json {
        output::print_message(&format!(
            "Issued {id}. The key cannot be shown again, because the file stores only its digest."
        ));
        let verb = if is_new { "Created" } else { "Wrote" };
        output::print_message(&format!("{verb} {}.", output::format_path(file)));
    }
    Ok(())
}

/// Returns whether the change creates the file. Call this inside the change, which holds the lock.
pub(crate) fn is_missing(path: &Path) -> bool {
    !path.exists()
}
