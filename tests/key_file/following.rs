//! A followed key file is applied soon if it is complete and valid, and otherwise never.

#![cfg(all(feature = "file", unix))]

use crate::support;
use crate::support::key_file as key_file_support;

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use key_file_support::{
    Events, Folder, HEADER, at_once, child, each, follow, is_root, line, line_and, make_fifo,
    millis, outcome, role, soon, stays, text, text_of,
};
use support::{KEY, OTHER, WRONG};
use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    key_file::{KeyFile, KeyFileErrorKind as Kind, KeyFileEvent},
};

at_once! {
    r45_a_save_in_place_is_applied,
    r45_a_rename_over_the_file_is_applied,
    r45_a_link_swap_as_in_kubernetes_is_applied,
    a_change_right_after_opening_is_applied,
    a_change_with_the_same_size_and_time_is_applied,
    a_change_is_not_applied_within_300_ms,
    a_file_that_keeps_changing_is_not_applied_before_it_stops,
    a_file_that_never_stops_changing_is_reported,
    unchanged_content_emits_no_event,
    a_file_that_is_deleted_and_created_again_is_reported_and_applied,
    a_file_that_is_missing_for_a_moment_is_not_reported,
    a_slowly_written_file_is_never_applied_in_the_middle_of_a_line,
    every_kind_of_broken_file_keeps_the_keys_and_is_reported_once,
    a_problem_and_its_start_are_reported_until_the_file_is_valid,
    an_emptied_file_rejects_every_key_after_two_unchanged_polls,
    a_broken_file_that_is_then_emptied_rejects_every_key,
    r45_no_valid_request_is_rejected_while_the_file_is_rewritten,
    clones_share_the_keys_and_handles_are_independent,
    a_world_writable_file_is_reported,
    a_world_writable_folder_anywhere_on_the_path_is_reported,
    a_folder_that_becomes_world_writable_later_is_reported,
    the_layout_of_a_kubernetes_secret_is_not_reported,
    a_second_hard_link_is_reported,
    an_observer_can_use_the_file,

    a_panicking_observer_does_not_end_the_follower,
    a_file_that_is_not_followed_keeps_its_keys,
    an_optional_file_is_applied_when_it_appears,

    an_optional_file_that_is_missing_is_no_problem,

    a_recovery_is_reported_even_if_a_change_finds_it,
    r49_formats_and_clock_stay_after_a_reload,
    #[cfg_attr(not(feature = "tracing"), ignore = "there is no log")]
    the_log_reports_events_and_never_the_content,
}

/// Returns a folder with a key file of this text.
fn with(text: impl AsRef<[u8]>) -> Folder {
    let folder = Folder::quick();
    folder.save(text);
    folder
}

const GOOD: &str = "200 mobile-app";
const UNKNOWN: &str = "401 unknown";

fn is(file: &KeyFile, key: &str, outcome_: &str) -> bool {
    outcome(file, key) == outcome_
}

/// Two keys: `KEY`, and `OTHER` of the client `ci`.
fn two() -> String {
    text([line(1, "mobile-app", KEY), line(2, "ci", OTHER)])
}

fn r45_a_save_in_place_is_applied() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    folder.save(two());
    soon("a new key works", || is(&file, OTHER, "200 ci"));
    assert!(is(&file, KEY, GOOD));
    folder.save(text([line(2, "ci", OTHER)]));
    soon("a removed key is rejected", || is(&file, KEY, UNKNOWN));
    let more = ",\"revoked\":\"2026-12-01T00:00:00Z\"";
    folder.save(text([line_and(2, "ci", OTHER, more)]));
    soon("a revoked key is rejected", || is(&file, OTHER, "401 revoked"));
    soon("all events arrived", || events.count() == 4);
    assert_eq!(events.all(), ["loaded 1", "loaded 2", "loaded 1", "emptied"]);
}

fn r45_a_rename_over_the_file_is_applied() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    for (round, key) in [OTHER, KEY, OTHER].into_iter().enumerate() {
        folder.swap(text_of(key));
        soon("the new key works", || is(&file, key, GOOD));
        soon("it is reported", || events.count() == 2 + round);
    }
    assert!(is(&file, KEY, UNKNOWN));
    assert_eq!(events.all(), ["loaded 1"; 4]);
    assert_eq!(folder.names(), ["keys.jsonl"]);
}

fn r45_a_link_swap_as_in_kubernetes_is_applied() {
    let folder = Folder::quick();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let swap = |version: &str, key: &str| {
        let data = folder.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("keys.jsonl"), text_of(key)).unwrap();
        // Only the inode differs, because size and time are the same.
        File::options()
            .write(true)
            .open(data.join("keys.jsonl"))
            .unwrap()
            .set_modified(hour_ago)
            .unwrap();
        symlink(&data, folder.join("..data_tmp")).unwrap();
        let old = fs::read_link(folder.join("..data"));
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if let Ok(old) = old {
            fs::remove_dir_all(old).unwrap();
        }
    };
    swap("1", KEY);
    symlink("..data/keys.jsonl", folder.file()).unwrap();
    let (file, events) = follow(&folder);
    for (version, key, not) in [("2", OTHER, KEY), ("3", KEY, OTHER), ("4", OTHER, KEY)] {
        swap(version, key);
        soon("the new key works", || is(&file, key, GOOD));
        assert!(is(&file, not, UNKNOWN));
    }
    soon("all events arrived", || events.count() == 4);
    assert_eq!(events.all(), ["loaded 1"; 4]);
    assert_eq!(file.path(), folder.file());
}

fn a_change_right_after_opening_is_applied() {
    each(0..8, |round| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        assert_eq!(events.all(), ["loaded 1"], "reported before open returns");
        thread::sleep(millis(round * 2));
        // The size is the same, and on some file systems the time as well.
        folder.save(text_of(OTHER));
        soon("the new key works", || is(&file, OTHER, GOOD));
        assert!(is(&file, KEY, UNKNOWN));
    });
}

fn a_change_with_the_same_size_and_time_is_applied() {
    let folder = with(text_of(KEY));
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let set = || {
        File::options().write(true).open(folder.file()).unwrap().set_modified(hour_ago).unwrap();
        fs::metadata(folder.file()).unwrap()
    };
    let before = set();
    let (file, _) = follow(&folder);
    thread::sleep(millis(700));
    folder.save(text_of(OTHER));
    let after = set();
    assert_eq!(before.len(), after.len());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    soon("the new key works", || is(&file, OTHER, GOOD));
}

fn a_change_is_not_applied_within_300_ms() {
    // The time of a poll is random, so one of several rounds would detect an early read.
    each(0..6, |round| {
        let folder = with(text_of(KEY));
        let (file, _) = follow(&folder);
        thread::sleep(millis(round * 80));
        let started = Instant::now();
        folder.save(two());
        soon("the file is applied", || is(&file, OTHER, "200 ci"));
        assert!(started.elapsed() >= millis(300), "{:?}", started.elapsed());
    });
}

fn a_file_that_keeps_changing_is_not_applied_before_it_stops() {
    let folder = with(text_of(KEY));
    let (file, _) = follow(&folder);
    let mut writer = OpenOptions::new().append(true).open(folder.file()).unwrap();
    writer.write_all((line(2, "ci", OTHER) + "\n").as_bytes()).unwrap();
    let (mut last, mut is_late) = (Instant::now(), false);
    for _ in 0..25 {
        thread::sleep(millis(80));
        writer.write_all(b"#\n").unwrap();
        // On a busy machine the pause can be longer than the debounce time.
        is_late |= last.elapsed() > millis(250);
        last = Instant::now();
        assert!(is_late || is(&file, OTHER, UNKNOWN));
    }
    soon("the file is applied", || is(&file, OTHER, "200 ci"));
}

/// Takes ten seconds, because the follower waits so long for the file to stop changing.
fn a_file_that_never_stops_changing_is_reported() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    let mut writer = OpenOptions::new().append(true).open(folder.file()).unwrap();
    writer.write_all((line(2, "ci", OTHER) + "\n").as_bytes()).unwrap();
    let started = Instant::now();
    while file.status().problem().is_none() && started.elapsed() < Duration::from_secs(15) {
        writer.write_all(b"#\n").unwrap();
        thread::sleep(millis(60));
    }
    // On a busy machine the pause can be longer than the debounce time.
    if is(&file, OTHER, UNKNOWN) {
        let problem = file.status().problem().expect("it is reported").clone();
        assert_eq!(problem.error().kind(), Kind::Locked, "{:?}", problem.error());
        assert!(is(&file, KEY, GOOD));
        soon("the file is applied after it stops", || is(&file, OTHER, "200 ci"));
        soon("it is reported", || events.count() == 3);
        assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
    }
}

fn unchanged_content_emits_no_event() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    let loaded = file.status().loaded_at();
    for change in [
        |_| {},
        |folder: &Folder| folder.save(text_of(KEY)),
        |folder: &Folder| folder.swap(text_of(KEY)),
        |folder: &Folder| {
            fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o640)).unwrap()
        },
    ] as [fn(&Folder); 4]
    {
        change(&folder);
        thread::sleep(millis(900));
    }
    // The follower reads the file again after the resolution of file times.
    thread::sleep(millis(3500));
    assert_eq!(events.all(), ["loaded 1"]);
    assert_eq!(file.status().loaded_at(), loaded);
    assert!(is(&file, KEY, GOOD));
}

fn a_file_that_is_deleted_and_created_again_is_reported_and_applied() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    fs::remove_file(folder.file()).unwrap();
    soon("it is a problem", || file.status().problem().is_some());
    let problem = file.status().problem().unwrap().clone();
    assert_eq!((problem.error().kind(), problem.error().line()), (Kind::Missing, None));
    assert!(is(&file, KEY, GOOD) && file.status().keys() == 1);
    folder.put(two());
    soon("the file is applied", || is(&file, OTHER, "200 ci"));
    soon("all events arrived", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
    assert_eq!(events.all()[2], "recovered 2");

    // The same content again.
    fs::remove_file(folder.file()).unwrap();
    soon("it is a problem", || file.status().problem().is_some());
    folder.put(two());
    soon("the file is applied", || file.status().problem().is_none());
    soon("all events arrived", || events.count() == 5);
    assert_eq!(events.all()[4], "recovered 2");
}

fn a_file_that_is_missing_for_a_moment_is_not_reported() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    for number in 0..60 {
        let key = format!("key-number-{number}");
        fs::remove_file(folder.file()).unwrap();
        thread::sleep(millis(3));
        folder.put(text([line(1, "mobile-app", KEY), line(2, "ci", &key)]));
        thread::sleep(millis(if number % 20 == 19 { 900 } else { 7 }));
        assert!(is(&file, KEY, GOOD));
    }
    soon("the last key is accepted", || is(&file, "key-number-59", "200 ci"));
    assert!(events.kinds().iter().all(|kind| kind == "loaded"), "{:?}", events.all());
}

fn a_slowly_written_file_is_never_applied_in_the_middle_of_a_line() {
    let folder = with(text_of(WRONG));
    let (file, events) = follow(&folder);
    let mut writer = File::create(folder.file()).unwrap();
    let mut write = |text: &str| writer.write_all(text.as_bytes()).unwrap();
    let (one, two) = (line(1, "mobile-app", KEY), line(2, "ci", OTHER));

    write(&HEADER[..3]);
    stays(millis(1300), "cut off in the header", || is(&file, WRONG, GOOD));
    assert_eq!(file.status().problem().unwrap().error().line(), Some(1));
    write(&HEADER[3..]);
    write(&one);
    // The line is complete except for its line break, so it may be a part of a longer line.
    stays(millis(1300), "cut off behind a line", || is(&file, WRONG, GOOD));
    assert_eq!(file.status().problem().unwrap().error().line(), Some(2));
    assert!(is(&file, KEY, UNKNOWN));
    // The follower cannot know that more lines will come.
    write("\n");
    soon("the first lines are applied", || is(&file, KEY, GOOD));
    assert!(is(&file, WRONG, UNKNOWN));
    let (start, end) = two.split_at(two.len() / 2);
    write(start);
    stays(millis(1300), "cut off in a line", || is(&file, KEY, GOOD) && is(&file, OTHER, UNKNOWN));
    let error = file.status().problem().unwrap().error().clone();
    assert_eq!((error.kind(), error.line()), (Kind::Content, Some(3)));
    assert!(error.to_string().contains("line break"), "{error}");
    write(end);
    stays(millis(1300), "cut off behind a line", || is(&file, OTHER, UNKNOWN));
    write("\n");
    soon("the whole file is applied", || is(&file, OTHER, "200 ci"));
    soon("all events arrived", || events.count() == 6);
    let kinds = ["loaded", "broken", "broken", "recovered", "broken", "recovered"];
    assert_eq!(events.kinds(), kinds, "{:?}", events.all());
    assert!(is(&file, KEY, GOOD) && file.status().problem().is_none());
}

/// Removes a file or a folder, if one exists.
fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(it) if it.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn every_kind_of_broken_file_keeps_the_keys_and_is_reported_once() {
    type Break = (&'static str, Kind, Option<usize>, fn(&Folder));
    let mut breaks: Vec<Break> = vec![
        ("a bad line", Kind::Content, Some(3), |it| {
            it.save(text([line(1, "a", KEY).as_str(), "{\"id\":7}"]));
        }),
        ("a bad digest", Kind::Content, Some(2), |it| {
            it.save(text_of(OTHER).replace("sha256:", "sha256:x"));
        }),
        ("a duplicate key", Kind::Content, Some(3), |it| {
            it.save(text([line(1, "a", OTHER), line(2, "b", OTHER)]));
        }),
        ("a duplicate id", Kind::Content, Some(3), |it| {
            it.save(text([line(1, "a", OTHER), line(1, "b", WRONG)]));
        }),
        ("a blank client", Kind::Content, Some(2), |it| it.save(text([line(1, " ", OTHER)]))),
        ("a bad scope", Kind::Content, Some(2), |it| {
            it.save(text([line_and(1, "ci", OTHER, ",\"scopes\":[\"a b\"]")]));
        }),
        ("a misspelt field", Kind::Content, Some(2), |it| {
            it.save(text([line_and(1, "ci", OTHER, ",\"expire\":\"2030-01-01T00:00:00Z\"")]));
        }),
        ("cut off", Kind::Content, Some(2), |it| it.save(text_of(OTHER).trim_end())),
        ("not UTF-8", Kind::Content, Some(2), |it| {
            it.save([HEADER.as_bytes(), b"# \xFF\n"].concat());
        }),
        ("another version", Kind::Content, Some(1), |it| {
            it.save(text_of(OTHER).replace("\"v\":1", "\"v\":3"));
        }),
        ("a field of version 2", Kind::Content, Some(2), |it| {
            it.save(text([line_and(1, "ci", OTHER, ",\"replaced_by\":\"Key00002\"")]));
        }),
        ("a paused key in version 1", Kind::Content, Some(2), |it| {
            it.save(text([line_and(1, "ci", OTHER, ",\"paused\":\"2026-12-01T00:00:00Z\"")]));
        }),
        ("a long line", Kind::Content, Some(2), |it| {
            it.save(format!("{HEADER}{}\n", "x".repeat(100_000)));
        }),
        ("sparse and far too large", Kind::Content, None, |it| {
            File::create(it.file()).unwrap().set_len(3 << 30).unwrap();
        }),
        ("no header", Kind::Content, Some(1), |it| it.save(line(1, "a", OTHER) + "\n")),
        ("blank", Kind::Content, Some(1), |it| it.save("\n")),
        ("missing", Kind::Missing, None, |it| clear(&it.file())),
        ("a link to nothing", Kind::Missing, None, |it| {
            clear(&it.file());
            symlink("nowhere", it.file()).unwrap();
        }),
        ("a folder", Kind::NotAFile, None, |it| {
            clear(&it.file());
            fs::create_dir(it.file()).unwrap();
        }),
        ("a pipe", Kind::NotAFile, None, |it| {
            clear(&it.file());
            make_fifo(&it.file());
        }),
        ("a link to itself", Kind::Io, None, |it| {
            clear(&it.file());
            symlink("keys.jsonl", it.file()).unwrap();
        }),
    ];
    if is_root() {
        println!("root can read every file, so no file is unreadable");
    } else {
        breaks.push(("unreadable", Kind::Io, None, |it| {
            fs::set_permissions(it.file(), PermissionsExt::from_mode(0o000)).unwrap();
        }));
    }
    each(breaks, |(name, kind, line, make)| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        let is_up = || is(&file, KEY, GOOD) && is(&file, OTHER, UNKNOWN);
        make(&folder);
        soon(name, || file.status().problem().is_some());
        let status = file.status();
        let problem = status.problem().unwrap();
        let error = problem.error().to_string();
        assert_eq!((problem.error().kind(), problem.error().line()), (kind, line), "{error}");
        assert!(error.starts_with(&folder.file().display().to_string()), "{error}");
        assert_eq!(status.keys(), 1);
        // The follower reads the file again within this time.
        stays(millis(4500), name, is_up);
        assert_eq!(events.all(), ["loaded 1".to_owned(), format!("broken {error}")]);
        let later = file.status();
        assert_eq!(later.problem().unwrap().since(), problem.since());
        assert_eq!(later.loaded_at(), status.loaded_at());

        clear(&folder.file());
        folder.put(two());
        soon("the file is valid again", || is(&file, OTHER, "200 ci"));
        soon("it is reported", || events.count() == 3);
        assert_eq!(events.all()[2], "recovered 2", "{name}");
        let status = file.status();
        assert!(status.problem().is_none() && status.loaded_at() > later.loaded_at());
    });
}

fn a_problem_and_its_start_are_reported_until_the_file_is_valid() {
    let before = SystemTime::now();
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    let status = file.status();
    assert!(before <= status.loaded_at() && status.loaded_at() <= SystemTime::now());
    assert!(status.keys() == 1 && status.problem().is_none());

    let broken = SystemTime::now();
    folder.save("{\"v\":1}");
    soon("it is broken", || file.status().problem().is_some());
    let first = file.status().problem().unwrap().clone();
    assert!(broken <= first.since() && first.since() <= SystemTime::now());
    assert_eq!(first.error().line(), Some(1));
    // Another error, and then the same error again.
    let now = |line| {
        soon("the error changes", || file.status().problem().unwrap().error().line() == Some(line));
        file.status().problem().unwrap().clone()
    };
    folder.save(format!("{HEADER}{{}}\n"));
    assert_eq!(now(2).since(), first.since());
    folder.save(format!("{HEADER}# {{}}\n{{}}\n"));
    assert_eq!(now(3).since(), first.since());
    folder.save(format!("{HEADER}# A comment\n{{}}\n"));
    thread::sleep(millis(1200));
    assert_eq!(now(3).since(), first.since());
    assert_eq!(file.status().loaded_at(), status.loaded_at());
    assert_eq!(events.kinds(), ["loaded", "broken", "broken", "broken"]);
    assert!(is(&file, KEY, GOOD));

    // Valid with the same content, and then broken again.
    folder.save(text_of(KEY));
    soon("the file is valid again", || file.status().problem().is_none());
    assert!(file.status().loaded_at() >= first.since());
    folder.save("{\"v\":1}");
    soon("it is broken", || file.status().problem().is_some());
    assert!(file.status().problem().unwrap().since() > first.since());
    soon("all events arrived", || events.count() == 6);
    assert_eq!(events.kinds()[4..], ["recovered", "broken"]);
    let debug = format!("{file:?}");
    assert!(debug.contains("keys.jsonl, line 1: "), "{debug}");
}

fn an_emptied_file_rejects_every_key_after_two_unchanged_polls() {
    each(0..10, |round| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        // The time of a poll is random, so one of several rounds would detect an early read.
        thread::sleep(millis(round * 50));
        let started = Instant::now();
        folder.save(if round % 2 == 0 { "" } else { "{\"v\":1}\n# None.\n" });
        soon("it is empty", || is(&file, KEY, UNKNOWN));
        assert!(started.elapsed() >= millis(600), "{:?}", started.elapsed());
        soon("it is reported", || events.count() == 2);
        assert_eq!(events.all(), ["loaded 1", "emptied"]);
        assert!(file.status().keys() == 0 && file.status().problem().is_none());
        stays(millis(4000), "it is empty", || is(&file, KEY, UNKNOWN));
        assert_eq!(events.count(), 2);
        folder.save(text_of(KEY));
        soon("the file is applied", || is(&file, KEY, GOOD));
        soon("it is reported", || events.count() == 3);
        assert_eq!(events.all()[2], "loaded 1");
    });
}

fn a_broken_file_that_is_then_emptied_rejects_every_key() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    folder.save("{\"v\":1");
    soon("it is broken", || file.status().problem().is_some());
    folder.save("");
    soon("it is empty", || is(&file, KEY, UNKNOWN));
    assert!(file.status().problem().is_none());
    soon("it is reported", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "emptied"]);
}

fn r45_no_valid_request_is_rejected_while_the_file_is_rewritten() {
    /// Truncates the file and writes it in two parts, with time for a poll in between.
    fn in_place(folder: &Folder, text: &str) {
        let (start, end) = text.split_at(text.len() / 2);
        let mut writer = File::create(folder.file()).unwrap();
        thread::sleep(millis(2));
        writer.write_all(start.as_bytes()).unwrap();
        thread::sleep(millis(2));
        writer.write_all(end.as_bytes()).unwrap();
    }

    each([in_place as fn(&Folder, &str), |folder, text| folder.swap(text)], |write| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        let (is_over, is_late) = (AtomicBool::new(false), AtomicBool::new(false));
        let (requests, rejected) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = || {
            while !is_over.load(SeqCst) {
                let is_rejected = outcome(&file, KEY) != GOOD;
                rejected.fetch_add(usize::from(is_rejected), SeqCst);
                requests.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_micros(300));
            }
        };
        let rewrite = || {
            for number in 0..100 {
                // The line of the valid key changes its position and its content.
                let more = if number % 3 == 0 { "" } else { ",\"note\":\"a note\"" };
                let one = line_and(1, "mobile-app", KEY, more);
                let two = line(2, "ci", &format!("key-number-{number}"));
                let started = Instant::now();
                write(&folder, &text(if number % 2 == 0 { [one, two] } else { [two, one] }));
                is_late.fetch_or(started.elapsed() > millis(250), SeqCst);
                thread::sleep(millis(if number % 20 == 19 { 900 } else { 4 }));
            }
            is_over.store(true, SeqCst);
        };
        each([&ask as &(dyn Fn() + Sync), &rewrite], |run| run());
        soon("the last key is accepted", || is(&file, "key-number-99", "200 ci"));
        let loaded = events.all();
        if is_late.load(SeqCst) {
            println!("skipped: this machine was too busy to write within the debounce time");
            return;
        }
        assert_eq!(rejected.load(SeqCst), 0, "of {requests:?}: {loaded:?}");
        assert!(loaded.len() >= 4 && requests.load(SeqCst) > 1000, "{loaded:?} {requests:?}");
        assert!(events.kinds().iter().all(|kind| kind == "loaded"), "{loaded:?}");
    });
}

fn clones_share_the_keys_and_handles_are_independent() {
    let folder = with(text_of(KEY));
    let (one, two) = (follow(&folder).0, follow(&folder).0);
    let clone = one.clone();
    let minted = clone.issue(&KeyFormat::default(), Client::new("web")).unwrap();
    let (id, key) = (minted.id().to_owned(), minted.reveal(str::to_owned));
    assert!(is(&one, &key, "200 web") && is(&clone, &key, "200 web"));
    soon("the other handle applies it", || is(&two, &key, "200 web"));
    drop(one);
    assert!(two.revoke_key(&id).unwrap());
    assert!(is(&two, &key, "401 revoked"));
    soon("a clone still follows the file", || is(&clone, &key, "401 revoked"));
}

/// Counts the threads of this process that follow a file.
fn followers() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|it| it.unwrap().path());
    // A thread can end meanwhile.
    let names = threads.filter_map(|it| fs::read_to_string(it.join("comm")).ok());
    names.filter(|name| name.trim() == "key-file").count()
}

#[cfg(target_os = "linux")]
#[test]
fn the_follower_ends_with_the_last_handle() {
    let Some(folder) = role() else {
        // A child process follows no other file.
        let folder = with(text_of(KEY));
        let test = "the_follower_ends_with_the_last_handle";
        let output = child(test, &folder).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("child done"), "{output:?}");
        return;
    };
    let open = || KeyFile::open(folder.join("keys.jsonl")).unwrap();
    // A thread sets its name after it has started.
    let is_soon = |many: usize| soon(&format!("{many} threads"), || followers() == many);
    is_soon(0);
    let one = open();
    is_soon(1);
    let (clone, two) = (one.clone(), open());
    is_soon(2);
    let layer = tower_api_key::ApiKeyLayer::new(tower_api_key::extract::bearer(), clone);
    drop(one);
    stays(millis(700), "a layer is a handle", || followers() == 2);
    drop(layer);
    let took = is_soon(1);
    assert!(took < millis(400), "the thread waits for its next poll: {took:?}");
    drop(two);
    is_soon(0);

    // The next polls are at different times.
    let many: Vec<_> = (0..40)
        .map(|_| {
            thread::sleep(millis(15));
            open()
        })
        .collect();
    is_soon(40);
    drop(many);
    let took = is_soon(0);
    assert!(took < millis(300), "some threads wait for their next poll: {took:?}");

    _ = KeyFile::options().follow(false).open(folder.join("keys.jsonl")).unwrap();
    _ = KeyFile::open(folder.join("gone")).unwrap_err();
    assert_eq!(followers(), 0);
    println!("child done");
}

fn a_world_writable_file_is_reported() {
    let folder = with(text_of(KEY));
    let set = |mode| fs::set_permissions(folder.file(), PermissionsExt::from_mode(mode)).unwrap();
    set(0o666);
    let (file, events) = follow(&folder);
    assert_eq!(events.all(), ["loaded 1", "writable by others"]);
    set(0o660);
    thread::sleep(millis(1200));
    set(0o602);
    soon("it is reported", || events.count() == 3);
    assert_eq!(events.all()[2], "writable by others");
    folder.save(two());
    soon("the file is applied", || is(&file, OTHER, "200 ci"));
    thread::sleep(millis(600));
    assert_eq!(events.all()[3..], ["loaded 2"], "the event is reported once");

    // A user who can write the folder can replace the file, unless the folder is sticky.
    for (mode, expected) in [(0o1777, 0), (0o777, 1), (0o775, 0)] {
        set(0o600);
        fs::set_permissions(&*folder, PermissionsExt::from_mode(mode)).unwrap();
        let (_, events) = follow(&folder);
        let count = events.all().iter().filter(|event| *event == "writable by others").count();
        assert_eq!(count, expected, "{mode:o}");
    }
    assert!(file.status().problem().is_none());
}

/// Returns the events of a file when it is opened, without the load.
#[track_caller]
fn warnings_of(path: &Path) -> Vec<String> {
    let (events, options) = Events::of(KeyFile::options());
    let _file = options.open(path).unwrap();
    let events = events.all();
    assert_eq!(events[0], "loaded 1");
    events[1..].to_vec()
}

fn a_world_writable_folder_anywhere_on_the_path_is_reported() {
    let folder = Folder::quick();
    for name in ["safe", "outer", "outer/inner", "links"] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    for file in ["safe/keys.jsonl", "outer/inner/keys.jsonl"] {
        fs::write(folder.join(file), text_of(KEY)).unwrap();
    }
    symlink("../safe/keys.jsonl", folder.join("outer/to-file")).unwrap();
    symlink(folder.join("safe"), folder.join("outer/to-folder")).unwrap();
    symlink("outer/to-folder/keys.jsonl", folder.join("to-link")).unwrap();
    symlink("../outer/../safe", folder.join("links/by-outer")).unwrap();

    let exposed = [
        "outer/inner/keys.jsonl",
        "outer/to-file",
        "outer/to-folder/keys.jsonl",
        "to-link",
        "outer/../outer/inner/keys.jsonl",
    ];
    for (mode, is_exposed) in [(0o755, false), (0o777, true), (0o1777, false), (0o775, false)] {
        fs::set_permissions(folder.join("outer"), PermissionsExt::from_mode(mode)).unwrap();
        for path in exposed {
            let expected: &[&str] = if is_exposed { &["writable by others"] } else { &[] };
            assert_eq!(warnings_of(&folder.join(path)), expected, "{mode:o} {path}");
        }
        // On these paths the name of the folder is looked up only in a safe folder.
        for path in ["safe/keys.jsonl", "links/by-outer/keys.jsonl"] {
            assert!(warnings_of(&folder.join(path)).is_empty(), "{mode:o} {path}");
        }
    }
}

fn a_folder_that_becomes_world_writable_later_is_reported() {
    let folder = with(text_of(KEY));
    let (_file, events) = follow(&folder);
    for count in [2, 3] {
        fs::set_permissions(&*folder, PermissionsExt::from_mode(0o777)).unwrap();
        soon("it is reported", || events.count() == count);
        fs::set_permissions(&*folder, PermissionsExt::from_mode(0o755)).unwrap();
        thread::sleep(millis(1200));
    }
    assert_eq!(events.all(), ["loaded 1", "writable by others", "writable by others"]);
}

fn the_layout_of_a_kubernetes_secret_is_not_reported() {
    let folder = Folder::quick();
    fs::create_dir(folder.join("..2026_11_28")).unwrap();
    fs::write(folder.join("..2026_11_28/keys.jsonl"), text_of(KEY)).unwrap();
    symlink("..2026_11_28", folder.join("..data")).unwrap();
    symlink("..data/keys.jsonl", folder.file()).unwrap();
    for (mode, file) in [(0o1777, 0o644), (0o3777, 0o440)] {
        fs::set_permissions(&*folder, PermissionsExt::from_mode(mode)).unwrap();
        fs::set_permissions(folder.file(), PermissionsExt::from_mode(file)).unwrap();
        assert!(warnings_of(&folder.file()).is_empty(), "{mode:o}");
    }
}

fn a_second_hard_link_is_reported() {
    let folder = with(text_of(KEY));
    fs::hard_link(folder.file(), folder.join("another-name")).unwrap();
    assert_eq!(warnings_of(&folder.file()), ["has other names"]);
    // Each new link is reported once, and the file has no problem.
    let (file, events) = follow(&folder);
    fs::remove_file(folder.join("another-name")).unwrap();
    thread::sleep(millis(1200));
    fs::hard_link(folder.file(), folder.join("another-name")).unwrap();
    soon("it is reported", || events.count() == 3);
    folder.save(two());
    soon("the file is applied", || is(&file, OTHER, "200 ci") && events.count() == 4);
    assert_eq!(events.all()[1..], ["has other names", "has other names", "loaded 2"]);
    assert!(file.status().problem().is_none());
}

fn an_observer_can_use_the_file() {
    let folder = with(text_of(KEY));
    let file = Arc::new(OnceLock::<KeyFile>::new());
    let (events, own) = (Events::default(), Arc::clone(&file));
    let sink = events.clone();
    let options = KeyFile::options().observe(move |event| {
        if let Some(file) = own.get() {
            let status = file.status();
            assert_eq!(status.problem().is_some(), matches!(event, KeyFileEvent::Broken(_)));
            assert_eq!(file.records().count(), status.keys());
            assert_eq!(outcome(file, KEY), GOOD);
            if status.keys() == 2 {
                // A change takes the lock.
                file.update(|keys| Ok(keys.remove(&KeyDigest::of(OTHER)))).unwrap();
            }
        }
        sink.push(event);
    });
    file.set(options.open(folder.file()).unwrap()).unwrap();
    folder.save("{\"v\":1");
    soon("it is broken", || events.count() == 2);
    folder.save(two());
    soon("the file is valid again", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
    assert_eq!(folder.text(), text_of(KEY));
    assert!(is(file.get().unwrap(), OTHER, UNKNOWN));
}

fn a_panicking_observer_does_not_end_the_follower() {
    let folder = with(text_of(KEY));
    let options = KeyFile::options().observe(|event| {
        assert!(!matches!(event, KeyFileEvent::Broken(_)), "a panic of the observer");
    });
    let file = options.open(folder.file()).unwrap();
    folder.save("{\"v\":1");
    soon("it is broken", || file.status().problem().is_some());
    thread::sleep(millis(100));
    folder.save(text([line(2, "ci", OTHER)]));
    soon("a removed key is rejected", || is(&file, KEY, UNKNOWN));
}

fn a_file_that_is_not_followed_keeps_its_keys() {
    let folder = with(text_of(KEY));
    let (events, options) = Events::of(KeyFile::options().follow(false));
    let file = options.open(folder.file()).unwrap();
    folder.save(text([line(2, "ci", OTHER)]));
    stays(millis(1500), "the keys stay", || is(&file, KEY, GOOD) && is(&file, OTHER, UNKNOWN));
    assert_eq!(events.all(), ["loaded 1"]);
    // A change reads the current file.
    assert_eq!(file.revoke_client("mobile-app").unwrap(), 0);
    assert!(is(&file, KEY, UNKNOWN) && is(&file, OTHER, "200 ci"));
}

fn an_optional_file_is_applied_when_it_appears() {
    for before in [None, Some("")] {
        let folder = Folder::quick();
        if let Some(text) = before {
            folder.put(text);
        }
        let (events, options) = Events::of(KeyFile::options().create(true));
        let file = options.open(folder.file()).unwrap();
        assert_eq!((file.status().keys(), outcome(&file, KEY)), (0, UNKNOWN.into()));
        folder.put(text_of(KEY));
        soon("the file is applied", || is(&file, KEY, GOOD));
        soon("it is reported", || events.count() == 1);
        assert_eq!(events.all(), ["loaded 1"]);
        // After the first load the file must not disappear.
        clear(&folder.file());
        soon("it is a problem", || file.status().problem().is_some());
        assert!(is(&file, KEY, GOOD));
    }
}

fn an_optional_file_that_is_missing_is_no_problem() {
    let folder = Folder::quick();
    let (events, options) = Events::of(KeyFile::options().create(true));
    let file = options.open(folder.file()).unwrap();
    stays(millis(5000), "there is no problem", || file.status().problem().is_none());
    assert!(events.all().is_empty(), "{:?}", events.all());
}

fn a_recovery_is_reported_even_if_a_change_finds_it() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    folder.save("{\"v\":1");
    soon("it is broken", || events.count() == 2);
    folder.save(text_of(KEY));
    _ = file.issue(&KeyFormat::default(), Client::new("ci")).unwrap();
    assert!(file.status().problem().is_none());
    soon("it is reported", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
}

fn r49_formats_and_clock_stay_after_a_reload() {
    let format = KeyFormat::new("sk_live").unwrap();
    let mint = |format: &KeyFormat| format.mint().unwrap().reveal(str::to_owned);
    let (own, foreign) = (mint(&format), mint(&KeyFormat::default()));
    let expires = ",\"expires\":\"2001-01-01T00:00:00Z\",\"created\":\"2000-01-01T00:00:00Z\"";
    let lines = |client: &str| {
        let mut expiring = line_and(3, client, &own, expires);
        expiring = expiring.replacen(",\"created\":\"2026-11-24T12:00:00Z\"", "", 1);
        text([line(1, client, &foreign), expiring])
    };
    let folder = with(lines("a"));
    let year_2000 = SystemTime::UNIX_EPOCH + Duration::from_secs(960_000_000);
    let options = KeyFile::options().format(format).clock(move || year_2000);
    let file = options.open(folder.file()).unwrap();
    assert_eq!([outcome(&file, &own), outcome(&file, &foreign)], ["200 a", UNKNOWN]);
    folder.save(lines("b"));
    soon("the file is applied", || is(&file, &own, "200 b"));
    assert!(is(&file, &foreign, UNKNOWN));
    assert_eq!(file.records().count(), 2);
}

/// Returns the log lines with this path. A process has only one log that all threads write to.
fn log_of(path: &str) -> Vec<String> {
    use std::sync::Mutex;

    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    struct Log;
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LOG.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static SET: std::sync::Once = std::sync::Once::new();
    SET.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains(path)).map(str::to_owned).collect()
}

fn the_log_reports_events_and_never_the_content() {
    const SECRET: &str = "kx9QCanary7zPw";

    let folder = with(text_of(KEY));
    let path = folder.file().display().to_string();
    assert!(log_of(&path).is_empty());
    let (file, events) = follow(&folder);
    let digest = KeyDigest::of(SECRET).encode();
    for (number, text) in [
        text([line(1, SECRET, SECRET), line(2, SECRET, SECRET)]),
        text([line_and(1, SECRET, SECRET, &format!(",\"{SECRET}\":\"{SECRET}\""))]),
        text([line_and(1, SECRET, SECRET, ",\"note\":\"once\""), line(2, "ci", OTHER)]),
        HEADER.to_owned(),
        text([line(1, SECRET, SECRET)]),
    ]
    .into_iter()
    .enumerate()
    {
        folder.save(text);
        soon("it is reported", || events.count() == number + 2);
    }
    fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o666)).unwrap();
    soon("it is reported", || events.count() == 7);
    assert_eq!(outcome(&file, SECRET), format!("200 {SECRET}"));
    let log = log_of(&path);
    let all = log.join("\n");
    for secret in [SECRET, "Canary", KEY, &digest[7..20]] {
        assert!(!all.contains(secret), "{all}");
    }
    let expected = [
        (" INFO", "keys loaded"),
        ("ERROR", "line 3: the key is in the keyring already"),
        ("ERROR", "line 2: unknown or repeated field"),
        (" INFO", "keys loaded, the key file is valid again"),
        ("ERROR", "every key is rejected"),
        (" INFO", "keys loaded"),
        (" WARN", "another user can write or replace the key file"),
    ];
    assert_eq!(log.len(), expected.len(), "{all}");
    for (line, (level, words)) in log.iter().zip(expected) {
        let is_so = line.contains(level) && line.contains(words) && line.contains("key_file");
        assert!(is_so, "{line}, not {level} {words}");
    }
}
