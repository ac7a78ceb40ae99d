//! A change of a key file takes effect at once here and soon elsewhere, and is written whole.

#![cfg(all(feature = "file", unix))]

use crate::support;
use crate::support::key_file as key_file_support;

use std::{
    collections::BTreeSet,
    error::Error,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::{Child, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use key_file_support::{
    Folder, HEADER, Mount, NOBODY, as_nobody, at_once, child, each, follow, id, is_root, line,
    line_and, make_fifo, millis, outcome, read, role, soon, stays, text, text_of, within,
};
use support::{KEY, OTHER, WRONG};
use tower_api_key::{
    Client, KeyDigest,
    error::{KeyringError, KeyringErrorKind},
    key::{KeyFormat, MintedKey},
    key_file::{KeyFile, KeyFileErrorKind as Kind},
    record::Record,
};

at_once! {
    r44_a_change_takes_effect_at_once_here_and_soon_elsewhere,
    r45_a_revoked_key_stays_revoked_while_others_write,
    comments_and_unchanged_lines_stay_byte_for_byte,
    the_version_is_2_as_long_as_a_key_has_a_field_of_version_2,
    each_new_field_of_a_record_is_written_in_version_2_and_the_version_falls_with_the_last,
    a_key_that_is_paused_in_the_file_is_rejected_until_it_is_resumed,
    a_change_without_effect_does_not_touch_the_file,
    a_rejected_change_does_not_touch_the_file,
    a_broken_file_is_not_changed,
    a_missing_file_is_not_created_again,
    mode_owner_and_group_stay_and_a_new_file_is_private,
    a_symbolic_link_stays_and_leads_to_the_new_file,
    a_leftover_of_a_crash_does_not_prevent_a_change,
    r47_the_folder_holds_only_digests_after_issue_and_rotate,
    a_reader_finds_a_whole_file_during_a_change,
    changes_by_threads_and_processes_are_all_written,
    a_writer_waits_for_another,
    a_held_lock_is_an_error_after_ten_seconds,
    a_link_that_changes_while_a_writer_waits_is_followed,
    a_lock_that_is_a_link_is_an_error_and_is_not_followed,
    a_lock_that_is_a_pipe_is_an_error_and_does_not_hang,
    a_change_that_leaves_no_key_is_reported_by_its_own_process,
    a_file_that_stays_empty_is_reported_once,
    a_pipe_instead_of_the_file_is_an_error_and_does_not_hang,
    a_full_disk_leaves_the_old_file_whole,
    a_read_only_file_system_is_an_error_that_names_the_remedy,
    a_file_that_is_mounted_by_itself_is_an_error_that_names_the_remedy,
    the_owner_can_change_the_file_after_root,
    a_read_only_file_can_be_changed_repeatedly,
}

/// The creation time of each line that the tests write.
fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_521_600)
}

fn format() -> KeyFormat {
    KeyFormat::new("sk_live").unwrap()
}

fn reveal(minted: MintedKey) -> (String, String) {
    (minted.id().to_owned(), minted.reveal(str::to_owned))
}

fn issue(file: &KeyFile, client: &str) -> (String, String) {
    reveal(file.issue(&format(), Client::new(client)).unwrap())
}

fn is(file: &KeyFile, key: &str, outcome_: &str) -> bool {
    outcome(file, key) == outcome_
}

/// Returns the ids of the keys, and fails if the file is not complete.
#[track_caller]
fn ids(text: &str) -> Vec<String> {
    let lines = text.strip_prefix(HEADER).unwrap_or_else(|| panic!("no header: {text}"));
    assert!(lines.is_empty() || lines.ends_with('\n'), "cut off: {text}");
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["id"].as_str().unwrap().to_owned()
    };
    lines.lines().filter(|line| !line.starts_with('#')).map(id).collect()
}

/// Returns metadata that every write of a file changes.
fn stamp(path: &Path) -> (u64, u64, i64, i64, i64, i64) {
    let it = fs::metadata(path).unwrap();
    (it.ino(), it.len(), it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec())
}

fn r44_a_change_takes_effect_at_once_here_and_soon_elsewhere() {
    let folder = Folder::with(HEADER);
    let (here, (elsewhere, events)) = (follow(&folder).0, follow(&folder));
    let at_once = |key: &str, expected: &str| {
        assert_eq!(outcome(&here, key), expected);
        soon("it takes effect elsewhere", || is(&elsewhere, key, expected));
    };

    let client = Client::new("mobile-app").with_name("Mobile app").with_scopes(["a", "b"]);
    let (first_id, first) = reveal(here.issue(&format(), client).unwrap());
    at_once(&first, "200 mobile-app");
    assert_eq!(elsewhere.record(&first_id), here.record(&first_id));
    let record = elsewhere.record_by_digest(&KeyDigest::of(&first)).unwrap();
    assert_eq!(record.client().scopes().collect::<Vec<_>>(), ["a", "b"]);

    let (second_id, second) = reveal(here.rotate(&first_id, Duration::from_secs(3600)).unwrap());
    at_once(&second, "200 mobile-app");
    at_once(&first, "200 mobile-app");
    assert!(elsewhere.record(&first_id).unwrap().retires().is_some());

    let third = reveal(here.rotate(&second_id, Duration::ZERO).unwrap());
    at_once(&third.1, "200 mobile-app");
    at_once(&second, "401 expired");

    assert!(here.revoke_key(&first_id).unwrap());
    at_once(&first, "401 revoked");
    assert!(!here.revoke_key(&first_id).unwrap() && !here.revoke_key("NoSuchId").unwrap());

    assert_eq!(here.prune().unwrap(), 2);
    at_once(&first, "401 unknown");
    at_once(&second, "401 unknown");

    let insert = |key, client| here.update(|keys| keys.insert(key, Client::new(client)));
    insert(KEY, "mobile-app").unwrap();
    insert(OTHER, "ci").unwrap();
    at_once(KEY, "200 mobile-app");
    at_once(OTHER, "200 ci");
    assert_eq!(
        (here.revoke_client("mobile-app").unwrap(), here.revoke_client("no-such-client").unwrap()),
        (2, 0)
    );
    at_once(KEY, "401 revoked");
    at_once(&third.1, "401 revoked");
    at_once(OTHER, "200 ci");

    // A change can return a value, and can remove a key completely.
    assert_eq!(here.update(|keys| Ok(keys.records().count())).unwrap(), 3);
    assert!(here.update(|keys| Ok(keys.remove(&KeyDigest::of(OTHER)))).unwrap().is_some());
    at_once(OTHER, "401 unknown");

    // A change by the other handle reads the file first.
    let (_, fourth) = issue(&elsewhere, "web");
    assert!(is(&elsewhere, &fourth, "200 web"));
    soon("it takes effect here", || is(&here, &fourth, "200 web"));
    assert_eq!(here.status().keys(), 1);
    assert!(here.status().problem().is_none() && elsewhere.status().problem().is_none());
    assert!(events.kinds().iter().all(|kind| kind != "broken"), "{:?}", events.all());
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
}

fn r45_a_revoked_key_stays_revoked_while_others_write() {
    let folder = Folder::with(text_of(KEY));
    let (file, other) = (follow(&folder).0, follow(&folder).0);
    let is_over = AtomicBool::new(false);
    let change = || {
        // The pauses let the followers read the file in between.
        for _ in 0..12 {
            let (id, key) = issue(&file, "ci");
            assert_eq!(outcome(&file, &key), "200 ci");
            stays(millis(120), "issued", || is(&file, &key, "200 ci"));
            assert!(file.revoke_key(&id).unwrap());
            assert_eq!(outcome(&file, &key), "401 revoked");
            stays(millis(200), "revoked", || is(&file, &key, "401 revoked"));
        }
        is_over.store(true, SeqCst);
    };
    let disturb = || {
        while !is_over.load(SeqCst) {
            let (id, _) = issue(&other, "web");
            thread::sleep(millis(170));
            other.revoke_key(&id).unwrap();
            thread::sleep(millis(330));
        }
    };
    each([&change as &(dyn Fn() + Sync), &disturb], |run| run());
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
}

fn comments_and_unchanged_lines_stay_byte_for_byte() {
    let odd = line(1, "mobile-app", KEY).replace(':', ": ").replace("12: 00: 00", "12:00:00");
    let odd = odd.replace("sha256: ", "sha256:") + " \t\r";
    let escaped = line_and(2, "caf\\u00e9", OTHER, r#","note":null,"scopes":[]"#);
    let old = line_and(3, "ci", WRONG, ",\"expires\":\"2026-11-24T12:00:00.000Z\"");
    let before = format!(
        " {{\"v\" : 1}}\r\n# Keys of \u{1f511}\n\n{odd}\n   # {{}}\n{escaped}\n\t\n{old}\n# The end\n\n"
    );
    let folder = Folder::with(&before);
    let file = read(folder.file()).unwrap();
    let parts =
        |text: &str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };

    // A new line is the last.
    let (new, _) = issue(&file, "web");
    let with_new = folder.text();
    let line = with_new.strip_prefix(&before).unwrap();
    assert!(line.starts_with(&format!("{{\"id\":\"{new}\"")) && line.ends_with("}\n"), "{line}");
    assert_eq!(line.lines().count(), 1);

    // If a key changes, only its line changes.
    assert!(file.revoke_key(&id(2)).unwrap());
    let (lines, now) = (parts(&with_new), parts(&folder.text()));
    let changed: Vec<_> = (0..lines.len()).filter(|at| lines[*at] != now[*at]).collect();
    assert_eq!((lines.len(), now.len(), changed), (11, 11, vec![5]));
    assert!(now[5].contains("caf\u{e9}") && now[5].contains("\"revoked\":\""), "{}", now[5]);

    let (rotated, _) = reveal(file.rotate(&id(1), Duration::from_secs(9)).unwrap());
    let (lines, now) = (now, parts(&folder.text()));
    let changed: Vec<_> = (0..lines.len()).filter(|at| lines[*at] != now[*at]).collect();
    // The first line changes as well, because a rotation has fields of version 2.
    assert_eq!((lines.len(), now.len(), changed), (11, 12, vec![0, 3]));
    assert_eq!(now[0], " {\"v\":2}\r\n");
    assert!(now[3].contains("\"retires\":\"") && now[11].contains(&rotated));

    // If a key is removed, only its line is removed. The rotated key still has its overlap.
    assert_eq!(file.prune().unwrap(), 2);
    let mut left = now.clone();
    left.remove(7);
    left.remove(5);
    assert_eq!(parts(&folder.text()), left);
    assert!(folder.text().contains("# The end") && folder.text().contains("\r\n# Keys of"));
    assert_eq!(read(folder.file()).unwrap().records().count(), 3);
}

fn the_version_is_2_as_long_as_a_key_has_a_field_of_version_2() {
    let (rotated, other) = (line(1, "mobile-app", KEY), line(2, "ci", OTHER));
    let folder = Folder::with(format!("\t{{\"v\":1}} \n# Keys\n{rotated}\n{other}\n"));
    let before = folder.text();
    let file = read(folder.file()).unwrap();
    let header = || folder.text().lines().next().unwrap().to_owned();
    assert!(file.revoke_key(&id(2)).unwrap());
    assert_eq!(header(), "\t{\"v\":1} ");
    reveal(file.rotate(&id(1), Duration::ZERO).unwrap());
    assert_eq!(header(), "\t{\"v\":2} ");
    let line = folder.text().lines().nth(2).unwrap().to_owned();
    assert!(line.contains("\"rotated\":\"") && line.contains("\"replaced_by\":\""), "{line}");
    for file in [file.clone(), read(folder.file()).unwrap()] {
        let (old, new) = (
            file.record(&id(1)).unwrap(),
            file.records()
                .find(|it| it.rotated().is_none() && it.client().id() == "mobile-app")
                .unwrap(),
        );
        assert_eq!((old.rotated(), old.replaced_by()), (old.retires(), new.id()));
        assert!(old.rotated().is_some());
    }
    assert_eq!(file.prune().unwrap(), 2);
    assert_eq!(header(), "\t{\"v\":1} ");
    // A higher version that was in the file before stays.
    folder.save(before.replace("\"v\":1", "\"v\": 2"));
    file.update(|_| Ok(())).unwrap();
    issue(&file, "web");
    assert_eq!(header(), "\t{\"v\": 2} ");
}

fn each_new_field_of_a_record_is_written_in_version_2_and_the_version_falls_with_the_last() {
    type Set = fn(Record) -> Record;
    let folder = Folder::with(text([line(1, "ci", KEY), line(2, "ci", OTHER)]));
    let before = folder.text();
    let file = read(folder.file()).unwrap();
    let header = || folder.text().lines().next().unwrap().to_owned();
    for (field, set) in [
        ("\"issued_by\":\"alice\"", (|it| it.with_issued_by("alice")) as Set),
        ("\"rotated\":\"", |it| it.with_rotated(start())),
        ("\"replaced_by\":\"Key00002\"", |it| it.with_replaced_by("Key00002").unwrap()),
        ("\"rotated_reason\":\"yearly\"", |it| it.with_rotated_reason("yearly")),
        ("\"paused\":\"", |it| it.with_paused(start())),
        ("\"revoked_by\":\"bob\"", |it| it.with_revoked_by("bob")),
        ("\"revoked_reason\":\"leaked\"", |it| it.with_revoked_reason("leaked")),
        ("\"metadata\":{\"a\":\"b\",\"plan\":\"pro\"}", |it| {
            let client = it.client().clone().with_metadata("plan", "pro").with_metadata("a", "b");
            it.with_client(client)
        }),
    ] {
        file.update(|keys| keys.update(&id(1), set)).unwrap();
        assert_eq!(header(), "{\"v\":2}");
        assert!(folder.text().contains(field), "{field}: {}", folder.text());
        let again = read(folder.file()).unwrap();
        assert_eq!(again.record(&id(1)), file.record(&id(1)), "{field}");
        let plain = Record::new(KeyDigest::of(KEY), Client::new("ci")).with_created(start());
        let plain = plain.with_id(&id(1)).unwrap();
        file.update(|keys| keys.update(&id(1), |_| plain)).unwrap();
        assert_eq!(header(), "{\"v\":1}", "{field}");
        assert_eq!(folder.text(), before, "{field}");
    }
}

fn a_key_that_is_paused_in_the_file_is_rejected_until_it_is_resumed() {
    let folder = Folder::with(text([line(1, "ci", KEY)]));
    let file = read(folder.file()).unwrap();
    file.update(|keys| keys.pause(&id(1))).unwrap();
    for file in [&file, &read(folder.file()).unwrap()] {
        assert_eq!(outcome(file, KEY), "401 paused");
    }
    file.update(|keys| keys.resume(&id(1))).unwrap();
    for file in [&file, &read(folder.file()).unwrap()] {
        assert_eq!(outcome(file, KEY), "200 ci");
    }
    assert_eq!(folder.text(), text([line(1, "ci", KEY)]));
}

fn a_change_without_effect_does_not_touch_the_file() {
    let folder = Folder::with(text_of(KEY));
    let file = read(folder.file()).unwrap();
    let before = stamp(&folder.file());
    thread::sleep(millis(20));
    assert_eq!(file.revoke_client("no-such-client").unwrap(), 0);
    assert!(!file.revoke_key("NoSuchId").unwrap());
    assert_eq!(file.prune().unwrap(), 0);
    assert_eq!(file.update(|_| Ok(7)).unwrap(), 7);
    assert_eq!(stamp(&folder.file()), before);
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
    // The change still reads the current file.
    folder.save(text([line(2, "ci", OTHER)]));
    file.update(|_| Ok(())).unwrap();
    assert_eq!([outcome(&file, KEY), outcome(&file, OTHER)], ["401 unknown", "200 ci"]);
}

fn a_rejected_change_does_not_touch_the_file() {
    let folder = Folder::with(text_of(KEY));
    let file = KeyFile::options().follow(false).format(format()).open(folder.file()).unwrap();
    let (minted, _) = issue(&file, "ci");
    let (before, text) = (stamp(&folder.file()), folder.text());
    thread::sleep(millis(20));
    let rejects = |error: tower_api_key::key_file::KeyFileError, kind| {
        assert_eq!((error.kind(), error.line()), (Kind::Refused, None), "{error}");
        assert!(error.to_string().starts_with(&folder.file().display().to_string()), "{error}");
        let source = error.source().unwrap().downcast_ref::<KeyringError>().unwrap();
        assert_eq!(source.kind(), kind);
    };
    rejects(file.rotate("NoSuchId", Duration::ZERO).unwrap_err(), KeyringErrorKind::UnknownKeyId);
    rejects(file.issue(&format(), Client::new(" ")).unwrap_err(), KeyringErrorKind::ClientId);
    let foreign = file.issue(&KeyFormat::default(), Client::new("ci"));
    rejects(foreign.unwrap_err(), KeyringErrorKind::ForeignKey);
    let scopes = Client::new("ci").with_scopes(["a b"]);
    rejects(file.issue(&format(), scopes).unwrap_err(), KeyringErrorKind::Scope);
    let late = file.update(|keys| {
        // The changes before the error have no effect.
        assert_eq!((keys.revoke_client("mobile-app"), keys.revoke_key(&minted)), (1, true));
        keys.insert_digest(KeyDigest::of(OTHER), Client::new("web"))?;
        keys.insert_digest(KeyDigest::of(OTHER), Client::new("web"))
    });
    rejects(late.unwrap_err(), KeyringErrorKind::DuplicateKey);
    assert_eq!((stamp(&folder.file()), folder.text()), (before, text));
    assert_eq!(file.records().count(), 2);
    assert!(file.records().all(|record| record.revoked().is_none()));

    // A panic also releases the lock and has no effect.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        file.update(|keys| -> Result<(), _> {
            panic!("on purpose, of {}", keys.revoke_client("mobile-app"))
        })
    }));
    assert!(panicked.is_err() && stamp(&folder.file()) == before);
    assert!(file.revoke_key(&minted).unwrap());
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
}

fn a_broken_file_is_not_changed() {
    for (broken, line) in [
        (text_of(OTHER) + "{}\n", Some(3)),
        (text_of(OTHER).trim_end().to_owned(), Some(2)),
        (text([line(1, "a", OTHER), line(2, "b", OTHER)]), Some(3)),
        (line(1, "a", OTHER) + "\n", Some(1)),
        // Another program may be about to write the file.
        (String::new(), None),
    ] {
        let folder = Folder::with(text_of(KEY));
        let file = read(folder.file()).unwrap();
        folder.save(&broken);
        let before = stamp(&folder.file());
        for error in [
            file.issue(&format(), Client::new("ci")).map(drop).unwrap_err(),
            file.revoke_client("mobile-app").map(drop).unwrap_err(),
            file.prune().map(drop).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.line()), (Kind::Content, line), "{error}");
        }
        assert_eq!((stamp(&folder.file()), folder.text()), (before, broken));
        assert_eq!(outcome(&file, KEY), "200 mobile-app");
        folder.save(text_of(KEY));
        assert_eq!(file.revoke_client("mobile-app").unwrap(), 1);
    }
}

fn a_missing_file_is_not_created_again() {
    let folder = Folder::with(text_of(KEY));
    let file = read(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    assert_eq!(file.revoke_client("mobile-app").unwrap_err().kind(), Kind::Missing);
    assert!(folder.names().is_empty());
    fs::create_dir(folder.file()).unwrap();
    assert_eq!(file.revoke_client("mobile-app").unwrap_err().kind(), Kind::NotAFile);
    fs::remove_dir(folder.file()).unwrap();
    symlink("nowhere", folder.file()).unwrap();
    assert_eq!(file.revoke_client("mobile-app").unwrap_err().kind(), Kind::Missing);
    assert!(!folder.names().contains(&"nowhere".to_owned()));
    assert_eq!(outcome(&file, KEY), "200 mobile-app");

    // With `create`, a dangling link and a missing folder are still errors.
    for path in [folder.file(), folder.join("gone/keys.jsonl")] {
        let file = KeyFile::options().create(true).follow(false).open(path).unwrap();
        let error = file.issue(&format(), Client::new("ci")).unwrap_err();
        assert_eq!(error.kind(), Kind::Missing, "{error}");
        assert_eq!(file.status().keys(), 0);
    }
    assert!(!folder.join("gone").exists() && !folder.join("nowhere").exists());

    let file = KeyFile::options().create(true).follow(false).open(folder.join("new")).unwrap();
    let (_, key) = issue(&file, "ci");
    assert_eq!(outcome(&read(folder.join("new")).unwrap(), &key), "200 ci");
    // If there were keys before, a missing or empty file is an error.
    for (what, kind) in [(Some(""), Kind::Content), (None, Kind::Missing)] {
        fs::remove_file(folder.join("new")).unwrap();
        if let Some(text) = what {
            fs::write(folder.join("new"), text).unwrap();
        }
        let error = file.issue(&format(), Client::new("ci")).unwrap_err();
        assert_eq!((error.kind(), outcome(&file, &key)), (kind, "200 ci".into()), "{error}");
    }
    // With `create`, an empty file counts as missing.
    fs::write(folder.join("empty"), "").unwrap();
    let file = KeyFile::options().create(true).follow(false).open(folder.join("empty")).unwrap();
    let (_, key) = issue(&file, "ci");
    assert_eq!(outcome(&read(folder.join("empty")).unwrap(), &key), "200 ci");
}

fn mode_owner_and_group_stay_and_a_new_file_is_private() {
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    for before in [0o640, 0o600, 0o644, 0o666] {
        let folder = Folder::with(text_of(KEY));
        fs::set_permissions(folder.file(), PermissionsExt::from_mode(before)).unwrap();
        if is_root() {
            chown(folder.file(), Some(NOBODY), Some(NOBODY - 1)).unwrap();
        }
        let owner = |it: fs::Metadata| (it.uid(), it.gid());
        let old = owner(fs::metadata(folder.file()).unwrap());
        let file = read(folder.file()).unwrap();
        for client in ["ci", "web"] {
            let inode = stamp(&folder.file()).0;
            _ = issue(&file, client);
            let now = fs::metadata(folder.file()).unwrap();
            assert_ne!(now.ino(), inode, "the file was written in place");
            assert_eq!((mode(&folder.file()), owner(now)), (before, old), "{before:o}");
        }
        // Only users who can write the file can open the lock.
        assert_eq!(mode(&folder.join("keys.jsonl.lock")) & !(before | 0o600), 0, "{before:o}");
    }
    let folder = Folder::new();
    let file = KeyFile::options().create(true).follow(false).open(folder.file()).unwrap();
    for _ in 0..2 {
        _ = issue(&file, "ci");
        assert_eq!((mode(&folder.file()), mode(&folder.join("keys.jsonl.lock"))), (0o600, 0o600));
    }
}

fn a_symbolic_link_stays_and_leads_to_the_new_file() {
    let folder = Folder::new();
    for name in ["here", "there", "etc"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::write(folder.join("there/real.jsonl"), text_of(KEY)).unwrap();
    symlink("../there/real.jsonl", folder.join("here/link")).unwrap();
    symlink(folder.join("here"), folder.join("etc/service")).unwrap();
    let path = folder.join("etc/service/link");
    let (file, other) = (read(&path).unwrap(), KeyFile::open(&path).unwrap());
    let inode = stamp(&folder.join("there/real.jsonl")).0;
    let (_, key) = issue(&file, "ci");
    assert!(fs::symlink_metadata(folder.join("here/link")).unwrap().is_symlink());
    assert_eq!(fs::read_link(folder.join("here/link")).unwrap(), Path::new("../there/real.jsonl"));
    assert_ne!(stamp(&folder.join("there/real.jsonl")).0, inode);
    let names = |of: &str| -> BTreeSet<_> {
        fs::read_dir(folder.join(of)).unwrap().map(|it| it.unwrap().file_name()).collect()
    };
    assert_eq!(names("here").len(), 1);
    assert_eq!(names("there"), ["real.jsonl", "real.jsonl.lock"].map(Into::into).into());
    soon("it takes effect through the link", || is(&other, &key, "200 ci"));
    assert_eq!(file.path(), path);

    // The path and the link lead to one file with one lock.
    let real = read(folder.join("there/real.jsonl")).unwrap();
    each([&file, &real], |file| (0..10).for_each(|_| _ = issue(file, "web")));
    assert_eq!(read(&path).unwrap().records().count(), 22);
}

fn a_leftover_of_a_crash_does_not_prevent_a_change() {
    let folder = Folder::with(text_of(KEY));
    let left = folder.join(".keys.jsonl.new");
    let file = read(folder.file()).unwrap();
    for make in [
        |left: &Path| fs::write(left, "{\"v\":1}\n{\"id\":\"half").unwrap(),
        |left: &Path| fs::write(left, "x".repeat(100_000)).unwrap(),
        |left: &Path| {
            fs::write(left, "read-only").unwrap();
            fs::set_permissions(left, PermissionsExt::from_mode(0o444)).unwrap();
        },
        // A change does not write to the target of the link.
        |left: &Path| symlink("target", left).unwrap(),
    ] as [fn(&Path); 4]
    {
        fs::write(folder.join("target"), "another file").unwrap();
        make(&left);
        let (_, key) = issue(&file, "ci");
        assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock", "target"]);
        assert_eq!(outcome(&read(folder.file()).unwrap(), &key), "200 ci");
        assert_eq!(fs::read_to_string(folder.join("target")).unwrap(), "another file");
        assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o777, 0o644);
    }
    // The content of a lock file has no effect.
    fs::write(folder.join("keys.jsonl.lock"), "12345").unwrap();
    _ = issue(&file, "ci");
    assert_eq!(ids(&folder.text()).len(), 6);
}

fn r47_the_folder_holds_only_digests_after_issue_and_rotate() {
    let folder = Folder::new();
    let file = KeyFile::options().create(true).follow(false).open(folder.file()).unwrap();
    let mut keys: Vec<_> = (0..5).map(|_| issue(&file, "ci")).collect();
    keys.push(reveal(file.rotate(&keys[0].0, Duration::from_secs(9)).unwrap()));
    file.update(|keys| keys.insert(KEY, Client::new("mobile-app"))).unwrap();
    file.revoke_key(&keys[1].0).unwrap();
    let mut secrets = vec![KEY.to_owned(), KEY[4..20].to_owned()];
    for (_, key) in &keys {
        // The secret after the prefix and the id, whole and in parts.
        let secret = &key["sk_live_".len() + 8 + 1..];
        assert_eq!(secret.len(), 28);
        secrets.extend([key.clone(), secret.to_owned(), secret[..8].to_owned()]);
        secrets.extend([secret[10..18].to_owned(), secret[20..].to_owned()]);
    }
    for name in folder.names() {
        let held = fs::read(folder.join(name)).unwrap();
        let held = String::from_utf8(held).unwrap();
        assert!(secrets.iter().all(|secret| !held.contains(secret)));
    }
    let text = folder.text();
    assert!(
        keys.iter()
            .all(|(id, key)| { text.contains(id) && text.contains(&KeyDigest::of(key).encode()) })
    );
    let debug = format!("{file:?} {:?}", file.records().collect::<Vec<_>>());
    assert!(secrets.iter().all(|secret| !debug.contains(secret)));
}

fn a_reader_finds_a_whole_file_during_a_change() {
    // The file is so large that it is written in several pieces.
    let many = (0..2000).map(|number| line(number, "ci", &format!("key-number-{number}")));
    let folder = Folder::with(text(many));
    let file = read(folder.file()).unwrap();
    let is_over = AtomicBool::new(false);
    let write = || {
        for _ in 0..12 {
            _ = issue(&file, "web");
        }
        is_over.store(true, SeqCst);
    };
    let read = || {
        let (mut reads, mut last) = (0, 2000);
        while !is_over.load(SeqCst) {
            let text = folder.text();
            let lines = text.lines().count() - 1;
            assert!(text.starts_with(HEADER) && text.ends_with("}\n") && lines >= last);
            (reads, last) = (reads + 1, lines);
        }
        assert!(reads > 20, "{reads}");
    };
    each([&write as &(dyn Fn() + Sync), &read], |run| run());
    assert_eq!(ids(&folder.text()).len(), 2012);
}

/// Runs in a child. Issues keys and prints the id of each key after the change returns.
fn issue_as_child(folder: &Path, threads: usize, many: usize) {
    let file = KeyFile::open(folder.join("keys.jsonl")).unwrap();
    // The test program has already written a part of a line.
    println!("\nready");
    each(0..threads, |_| {
        for _ in 0..many {
            let (id, _) = issue(&file, "child");
            let mut out = std::io::stdout().lock();
            writeln!(out, "issued {id}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[test]
fn child_that_issues() {
    if let Some(folder) = role() {
        let many = std::env::var("MANY").unwrap().parse().unwrap();
        issue_as_child(&folder, 2, many);
    }
}

fn spawn(folder: &Path, many: usize) -> Child {
    let mut command = child("child_that_issues", folder);
    command.env("MANY", many.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Returns the ids that a child has printed in whole lines.
fn issued_by(child: &mut Child) -> Vec<String> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ids = Vec::new();
    let mut line = String::new();
    while out.read_line(&mut line).unwrap() > 0 {
        ids.extend(
            line.strip_suffix('\n').and_then(|it| it.strip_prefix("issued ")).map(str::to_owned),
        );
        line.clear();
    }
    ids
}

fn changes_by_threads_and_processes_are_all_written() {
    let folder = Folder::with(text_of(KEY));
    let issued = Mutex::new(Vec::new());
    let children: Vec<_> = (0..3).map(|_| spawn(&folder, 8)).collect();
    let own = KeyFile::open(folder.file()).unwrap();
    let of_threads = || {
        // Some threads share a handle, and some have their own.
        each(0..4, |number| {
            let file = if number < 2 { own.clone() } else { read(folder.file()).unwrap() };
            for _ in 0..8 {
                issued.lock().unwrap().push(issue(&file, "thread").0);
            }
        });
    };
    of_threads();
    for mut child in children {
        let ids = issued_by(&mut child);
        assert!(child.wait().unwrap().success());
        assert_eq!(ids.len(), 16);
        issued.lock().unwrap().extend(ids);
    }
    let mut issued = issued.into_inner().unwrap();
    issued.push(id(1));
    issued.sort();
    let mut found = ids(&folder.text());
    found.sort();
    assert_eq!((issued.len(), &found), (4 * 8 + 3 * 16 + 1, &issued));
    assert!(issued.windows(2).all(|two| two[0] != two[1]));
    soon("all changes take effect", || own.status().keys() == issued.len());
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
}

/// Returns a pseudo-random number that is the same in every run.
fn pseudo_random(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

#[test]
fn a_killed_writer_leaves_a_whole_file_with_every_issued_key() {
    const ROUNDS: usize = 60;

    let folder = Folder::with(text_of(KEY));
    let (mut reported, mut in_file, mut seed) = (BTreeSet::from([id(1)]), 0, 7);
    let (mut left_overs, mut unreported) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = spawn(&folder, 100_000);
        // Kills the child at a random time after it has started to write.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0);
        }
        thread::sleep(Duration::from_micros(pseudo_random(&mut seed, 60_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = std::io::read_to_string(out).unwrap();
        let whole = rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        reported.extend(whole.filter_map(|line| line.strip_prefix("issued ")).map(str::to_owned));

        let found = ids(&folder.text());
        let set: BTreeSet<_> = found.iter().cloned().collect();
        assert_eq!(set.len(), found.len());
        assert!(reported.is_subset(&set), "round {round}: an issued key is lost");
        // Each of the two threads has at most one key that it could not print.
        let not_printed = set.len() - reported.len();
        assert!(not_printed <= 2, "round {round}: {not_printed}");
        unreported += not_printed;
        assert!(set.len() >= in_file, "round {round}");
        left_overs += usize::from(folder.join(".keys.jsonl.new").exists());

        // The lock is free, and the next writer finds every key.
        let file = read(folder.file()).unwrap();
        assert_eq!(file.records().count(), set.len());
        let (own, _) = issue(&file, "parent");
        reported = set;
        reported.insert(own);
        in_file = reported.len();
        assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
    }
    println!("{in_file} keys, {left_overs} left-overs, {unreported} keys not printed");
    assert!(in_file > ROUNDS + 20, "the children have hardly written: {in_file}");
    assert!(left_overs > 0, "no child was killed while it wrote");
}

fn a_writer_waits_for_another() {
    let folder = Folder::with(text_of(KEY));
    let (one, two) = (read(folder.file()).unwrap(), read(folder.file()).unwrap());
    let (held, is_held) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            one.update(|keys| {
                held.send(()).unwrap();
                thread::sleep(millis(400));
                keys.insert(OTHER, Client::new("ci"))
            })
            .unwrap();
        });
        is_held.recv().unwrap();
        let started = Instant::now();
        let (_, key) = issue(&two, "web");
        assert!(started.elapsed() >= millis(350), "{:?}", started.elapsed());
        assert_eq!([outcome(&two, OTHER), outcome(&two, &key)], ["200 ci", "200 web"]);
    });
}

/// Takes ten seconds, because a writer waits so long for the lock.
fn a_held_lock_is_an_error_after_ten_seconds() {
    let folder = Folder::with(text_of(KEY));
    let (one, two) = (follow(&folder).0, follow(&folder).0);
    let (held, is_held) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Dropped with this scope, so that a panic also releases the lock.
        let (release, holder) = (release, one.clone());
        scope.spawn(move || {
            holder
                .update(|keys| {
                    held.send(()).unwrap();
                    is_released.recv().unwrap();
                    keys.insert(OTHER, Client::new("ci"))
                })
                .unwrap();
        });
        is_held.recv().unwrap();
        let (started, before) = (Instant::now(), stamp(&folder.file()));
        let error = two.issue(&format(), Client::new("web")).unwrap_err();
        let took = started.elapsed();
        assert_eq!((error.kind(), error.line()), (Kind::Locked, None), "{error}");
        assert!((10..13).contains(&took.as_secs()), "{took:?}");
        assert!(error.to_string().starts_with(&folder.file().display().to_string()), "{error}");
        assert_eq!(stamp(&folder.file()), before);
        // Requests are still accepted during the change.
        assert_eq!([outcome(&one, KEY), outcome(&two, KEY)], ["200 mobile-app"; 2]);
        assert!(two.status().problem().is_none() && one.status().problem().is_none());
        release.send(()).unwrap();
    });
    _ = issue(&two, "web");
    assert_eq!(outcome(&two, OTHER), "200 ci");
}

fn a_link_that_changes_while_a_writer_waits_is_followed() {
    let folder = Folder::new();
    for name in ["old", "new"] {
        fs::write(folder.join(name), text_of(KEY)).unwrap();
    }
    symlink("old", folder.file()).unwrap();
    let (by_link, old) = (read(folder.file()).unwrap(), read(folder.join("old")).unwrap());
    let (held, is_held) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            old.update(|_| {
                held.send(()).unwrap();
                thread::sleep(millis(500));
                Ok(())
            })
            .unwrap();
        });
        is_held.recv().unwrap();
        let writer = scope.spawn(|| issue(&by_link, "ci").0);
        thread::sleep(millis(150));
        symlink("new", folder.join("link")).unwrap();
        fs::rename(folder.join("link"), folder.file()).unwrap();
        let new = writer.join().unwrap();
        assert_eq!(ids(&fs::read_to_string(folder.join("old")).unwrap()), [id(1)]);
        assert_eq!(ids(&fs::read_to_string(folder.join("new")).unwrap()), [id(1), new]);
    });
}

fn a_lock_that_is_a_link_is_an_error_and_is_not_followed() {
    let folder = Folder::with(text_of(KEY));
    fs::write(folder.join("target"), "another file").unwrap();
    for target in ["target", "nowhere"] {
        symlink(target, folder.join("keys.jsonl.lock")).unwrap();
        let file = read(folder.file()).unwrap();
        let error = file.issue(&format(), Client::new("ci")).unwrap_err();
        assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
        assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock", "target"]);
        fs::remove_file(folder.join("keys.jsonl.lock")).unwrap();
    }
    assert_eq!(fs::read_to_string(folder.join("target")).unwrap(), "another file");
    assert_eq!(folder.text(), text_of(KEY));
}

fn a_lock_that_is_a_pipe_is_an_error_and_does_not_hang() {
    let folder = Folder::with(text_of(KEY));
    make_fifo(&folder.join("keys.jsonl.lock"));
    let file = read(folder.file()).unwrap();
    let error =
        within(Duration::from_secs(5), move || file.revoke_client("mobile-app")).unwrap_err();
    assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
    assert!(error.to_string().ends_with("Delete the .lock file"), "{error}");
    assert_eq!(folder.text(), text_of(KEY));
}

fn a_change_that_leaves_no_key_is_reported_by_its_own_process() {
    let folder = Folder::with(text_of(KEY));
    let (file, events) = follow(&folder);
    _ = issue(&file, "ci");
    assert_eq!(
        (file.revoke_client("mobile-app").unwrap(), file.revoke_client("ci").unwrap()),
        (1, 1)
    );
    assert_eq!(events.all(), ["loaded 1", "emptied"]);
    _ = issue(&file, "ci");
    // The follower does not report the change again.
    thread::sleep(millis(4500));
    assert_eq!(events.all(), ["loaded 1", "emptied"]);
    assert_eq!(file.status().keys(), 1);
}

fn a_file_that_stays_empty_is_reported_once() {
    let folder = Folder::with(HEADER);
    let (file, events) = follow(&folder);
    assert_eq!((file.revoke_client("ci").unwrap(), file.prune().unwrap()), (0, 0));
    file.update(|_| Ok(())).unwrap();
    assert_eq!(events.all(), ["emptied"]);
}

fn a_pipe_instead_of_the_file_is_an_error_and_does_not_hang() {
    let folder = Folder::with(text_of(KEY));
    let file = read(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    make_fifo(&folder.file());
    let own = file.clone();
    let error =
        within(Duration::from_secs(5), move || own.revoke_client("mobile-app")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotAFile, "{error}");
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
}

fn a_full_disk_leaves_the_old_file_whole() {
    let folder = Folder::new();
    let disk = folder.join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], &disk) else {
        return;
    };
    let path = disk.join("keys.jsonl");
    let lines = (0..100).map(|number| line(number, "ci", &format!("key-number-{number}")));
    fs::write(&path, text(lines)).unwrap();
    // Not followed, because a reader of the old file keeps its space on the disk.
    let (file, before) = (read(&path).unwrap(), fs::read_to_string(&path).unwrap());
    let _lock = issue(&file, "web");
    fs::write(&path, &before).unwrap();
    // Only a part of the file fits on the disk.
    let mut filler = File::create(disk.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    filler.set_len(filler.metadata().unwrap().len() - 8192).unwrap();
    let stamped = stamp(&path);
    let error = file.issue(&format(), Client::new("web")).unwrap_err();
    assert_eq!((error.kind(), error.line()), (Kind::Io, None), "{error}");
    let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert_eq!((stamp(&path), fs::read_to_string(&path).unwrap()), (stamped, before));
    let names: BTreeSet<_> =
        fs::read_dir(&disk).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["filler", "keys.jsonl", "keys.jsonl.lock"].map(Into::into).into());
    assert_eq!(outcome(&file, "key-number-7"), "200 ci");

    drop(filler);
    fs::remove_file(disk.join("filler")).unwrap();
    let (_, key) = issue(&file, "web");
    assert_eq!(outcome(&file, &key), "200 web");
}

/// Fails unless a change is an error of the kind `ReadOnly` with these words.
#[track_caller]
fn is_read_only(path: &Path, words: &str) {
    let (file, before) = (read(path).unwrap(), fs::read_to_string(path).unwrap());
    for error in [
        file.issue(&format(), Client::new("ci")).map(drop).unwrap_err(),
        file.revoke_client("mobile-app").map(drop).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.line()), (Kind::ReadOnly, None), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&path.display().to_string()) && text.contains(words), "{text}");
    }
    assert_eq!(fs::read_to_string(path).unwrap(), before);
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
}

fn a_read_only_file_system_is_an_error_that_names_the_remedy() {
    let folder = Folder::new();
    let Some(mount) = Mount::new(&["-t", "tmpfs", "tmpfs"], &folder) else { return };
    fs::write(folder.file(), text_of(KEY)).unwrap();
    let file = read(folder.file()).unwrap();
    mount.again("remount,ro");
    is_read_only(&folder.file(), "Change it at its source");
    assert_eq!(folder.names(), ["keys.jsonl"]);
    // The lock exists already.
    mount.again("remount,rw");
    _ = issue(&file, "ci");
    mount.again("remount,ro");
    is_read_only(&folder.file(), "Change it at its source");
}

fn a_file_that_is_mounted_by_itself_is_an_error_that_names_the_remedy() {
    let folder = Folder::with("");
    fs::write(folder.join("outside"), text_of(KEY)).unwrap();
    let outside = folder.join("outside").display().to_string();
    let Some(_mount) = Mount::new(&["--bind", &outside], &folder.file()) else { return };
    is_read_only(&folder.file(), "mount its folder");
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock", "outside"]);
}

#[test]
fn a_missing_write_permission_is_an_error_that_names_the_remedy() {
    if let Some(folder) = role() {
        is_read_only(&folder.join("closed/keys.jsonl"), "Change the file as the user who may");
        is_read_only(&folder.join("half/keys.jsonl"), "Change the file as the user who may");
        if folder.join("foreign").exists() {
            is_read_only(&folder.join("foreign/keys.jsonl"), "Change the file as its owner");
        }
        println!("child done");
        return;
    }
    let folder = Folder::new();
    let own = if is_root() { NOBODY } else { fs::metadata(&*folder).unwrap().uid() };
    let make = |name: &str, owner: u32, mode: u32| {
        let inner = folder.join(name);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("keys.jsonl"), text_of(KEY)).unwrap();
        if name == "half" {
            fs::write(inner.join("keys.jsonl.lock"), "").unwrap();
        }
        for name in ["keys.jsonl", "keys.jsonl.lock"].map(|name| inner.join(name)) {
            if is_root() && name.exists() {
                chown(name, Some(owner), Some(owner)).unwrap();
            }
        }
        if is_root() {
            chown(&inner, Some(own), Some(own)).unwrap();
        }
        fs::set_permissions(&inner, PermissionsExt::from_mode(mode)).unwrap();
    };
    make("closed", own, 0o555);
    make("half", own, 0o555);
    if is_root() {
        // A readable file of another user in a folder of this user.
        make("foreign", 0, 0o755);
    }
    let test = "a_missing_write_permission_is_an_error_that_names_the_remedy";
    if let Some(output) = as_nobody(test, &folder) {
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("child done"), "{output:?}");
    }
    for (name, left) in [("closed", 1), ("half", 2)] {
        assert_eq!(fs::read_dir(folder.join(name)).unwrap().count(), left);
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn child_that_issues_one() {
    if let Some(folder) = role() {
        let (_, key) = issue(&read(folder.join("keys.jsonl")).unwrap(), "child");
        assert_eq!(outcome(&read(folder.join("keys.jsonl")).unwrap(), &key), "200 child");
        println!("child done");
    }
}

/// Issues a key as the owner of the folder, who is not root.
#[track_caller]
fn issue_as_nobody(folder: &Folder) {
    if let Some(output) = as_nobody("child_that_issues_one", folder) {
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("child done"), "{output:?}");
    }
}

/// Returns a folder of a user who is not root, with a file of this mode.
fn of_nobody(mode: u32) -> Folder {
    let folder = Folder::with(text_of(KEY));
    fs::set_permissions(folder.file(), PermissionsExt::from_mode(mode)).unwrap();
    if is_root() {
        for path in [folder.to_path_buf(), folder.file()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    folder
}

fn the_owner_can_change_the_file_after_root() {
    if !is_root() {
        println!("skipped: this test needs root");
        return;
    }
    let folder = of_nobody(0o640);
    _ = issue(&read(folder.file()).unwrap(), "root");
    issue_as_nobody(&folder);
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
}

fn a_read_only_file_can_be_changed_repeatedly() {
    for mode in [0o400, 0o440] {
        let folder = of_nobody(mode);
        for _ in 0..3 {
            issue_as_nobody(&folder);
            assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o777, mode);
        }
    }
}
