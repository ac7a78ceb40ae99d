//! Undoes a change if the new key cannot be printed.

use std::{
    io::Write as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Folder,
    fixtures::{OWN, open_broken_pipe, open_failing_outputs},
    record_line,
};

#[test]
fn a_key_that_cannot_be_printed_is_removed() {
    for json in ["", " --json"] {
        for (why, stdout) in open_failing_outputs() {
            let folder = Folder::new();
            folder.issue("before");
            let before = folder.text();
            let outcome = folder.apikey(&format!("issue ci{json}")).stdout(stdout).exits(1);
            let so = "cannot write the new key to standard output, so the change was undone";
            let start = match json {
                "" => format!("error: {so}: {why}"),
                _ => format!(r#"{{"kind":"output","message":"{so}: {why}"#),
            };
            assert!(outcome.err.starts_with(&start), "{outcome:?}");
            assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
            assert_eq!(folder.text(), before);
        }
    }
    for (_, stdout) in open_failing_outputs() {
        let folder = Folder::new();
        folder.apikey("issue ci").stdout(stdout).exits(1);
        assert!(folder.records().is_empty());
    }
}

#[test]
fn a_rotation_that_cannot_be_printed_is_undone() {
    for json in ["", " --json"] {
        for (why, stdout) in open_failing_outputs() {
            let folder = Folder::new();
            folder.issue("before");
            let old = folder.issue("ci --scope a --expires 90d --note n");
            folder.issue("behind");
            let (before, record) = (folder.text(), folder.record(&old.id));
            let words = format!("rotate {} --overlap 0{json}", old.id);
            let outcome = folder.apikey(&words).stdout(stdout).exits(1);
            let so = "cannot write the new key to standard output, so the change was undone";
            let start = match json {
                "" => format!("error: {so}: {why}"),
                _ => format!(r#"{{"kind":"output","message":"{so}: {why}"#),
            };
            assert!(outcome.err.starts_with(&start), "{outcome:?}");
            assert_eq!((folder.record(&old.id), folder.text()), (record, before));
            assert_eq!(folder.verify(&old.text), Ok("ci".to_owned()));
        }
    }
}

#[test]
fn an_undone_rotation_keeps_every_field_of_the_old_key() {
    let more = r#","expires":"2500-01-01T00:00:00Z","retires":"2400-01-01T00:00:00Z","scopes":["a"],"name":"N","note":"n""#;
    let folder = Folder::with(&[record_line("aaaaaaaa", "ci", OWN, more)]);
    let (before, record) = (folder.text(), folder.record("aaaaaaaa"));
    folder.apikey("rotate aaaaaaaa --overlap 1d").stdout(open_broken_pipe()).exits(1);
    assert_eq!((folder.record("aaaaaaaa"), folder.text()), (record, before));
}

#[test]
fn an_undone_rotation_keeps_a_revoked_key_revoked() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    // The reader does not read, so the command waits with the key.
    let (mut full, reader) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[b'.'; 4096]).is_ok() {}
    while full.write(b".").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let rotation = folder.apikey(&format!("rotate {} --overlap 7d", old.id));
    let rotation = rotation.stdout(OwnedFd::from(full)).start();
    let started = Instant::now();
    while folder.records().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not rotated");
        thread::sleep(Duration::from_millis(5));
    }
    folder.apikey(&format!("revoke {} --yes", old.id)).exits(0);
    assert_eq!(folder.verify(&old.text), Err("revoked"));
    drop(reader);
    rotation.exits(1);
    assert_eq!(folder.verify(&old.text), Err("revoked"));
}

#[test]
fn no_key_is_issued_if_standard_output_discards_it() {
    let folder = Folder::new();
    let lost = "error: standard output is closed or discarded, so the new key would be lost\n";
    for redirect in [">&-", ">/dev/null"] {
        let outcome = folder.shell(&format!(r#""$0" issue ci {redirect}"#)).exits(1);
        assert_eq!(outcome.err, lost, "{redirect}");
        assert!(folder.file_names().is_empty(), "{:?}", folder.file_names());
    }
    let old = folder.issue("ci");
    let before = folder.text();
    for redirect in [">&-", ">/dev/null"] {
        let script = format!(r#""$0" rotate {} --overlap 7d {redirect}"#, old.id);
        assert_eq!(folder.shell(&script).exits(1).err, lost, "{redirect}");
        assert_eq!(folder.text(), before);
    }
    // The other subcommands need no output.
    for words in ["list", "prune", "completions bash"] {
        folder.shell(&format!(r#""$0" {words} >/dev/null"#)).exits(0);
    }
}

#[test]
fn no_key_is_issued_if_standard_output_is_open_for_reading() {
    let folder = Folder::new();
    folder.issue("before");
    let before = folder.text();
    folder.shell(r#""$0" issue ci 1<keys.jsonl"#).exits(1);
    assert_eq!(folder.text(), before);
}

#[test]
fn the_command_works_if_standard_error_is_closed() {
    let folder = Folder::new();
    let outcome = folder.shell(r#"exec "$0" "$@" 2>&-"#).arg("issue").arg("ci").exits(0);
    assert_eq!(outcome.out, format!("{}\n", outcome.key().text));
    folder.shell(r#"exec "$0" revoke nobody 2>&-"#).exits(1);
    folder.shell(r#"exec "$0" revoke --client ci --yes 2>/dev/full"#).exits(0);
    assert_eq!(folder.verify(&outcome.key().text), Err("revoked"));
}
