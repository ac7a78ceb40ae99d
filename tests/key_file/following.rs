//! A file of keys is followed: every whole and good one is taken soon, and nothing else ever is.

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
    r45_a_save_in_place_is_seen,
    r45_a_rename_over_it_is_seen,
    r45_the_swap_of_a_link_is_seen_as_kubernetes_does_it,
    a_change_right_after_the_start_is_seen,
    a_change_of_the_same_size_and_time_is_seen,
    a_change_is_not_read_before_it_has_stood_still,
    a_file_that_goes_on_changing_is_not_read_before_it_stops,
    a_file_that_never_stops_changing_is_told,
    what_is_the_same_is_no_event,
    deleting_and_making_it_anew_is_seen,
    a_file_that_is_gone_for_a_moment_is_not_gone,
    a_file_that_is_written_slowly_is_never_taken_in_the_middle_of_a_line,
    every_kind_of_broken_file_leaves_the_keys_and_is_told_once,
    what_is_wrong_and_since_when_is_told_until_it_is_mended,
    a_file_that_was_emptied_refuses_everybody_after_two_quiet_looks,
    a_broken_file_that_is_emptied_then_refuses_everybody,
    r45_no_good_request_is_refused_while_the_file_is_rewritten,
    clones_share_the_keys_and_handles_do_not_disturb_one_another,
    a_file_that_everybody_may_write_is_told,
    a_folder_anywhere_on_the_path_that_every_user_may_write_is_told,
    a_folder_that_is_opened_to_every_user_later_is_told,
    a_file_laid_out_like_a_kubernetes_secret_is_not_told,
    a_second_hard_link_is_told,
    an_observer_may_use_the_file,

    an_observer_that_panics_does_not_end_the_following,
    a_file_that_is_not_followed_stays_as_it_was_read,
    a_file_that_may_be_missing_is_seen_when_it_comes,

    a_file_that_may_be_missing_is_not_broken_while_it_is,

    a_file_that_was_broken_is_told_as_recovered_whoever_finds_it_so,
    r49_the_formats_and_the_clock_stay_when_the_file_changes,
    #[cfg_attr(not(feature = "tracing"), ignore = "there is no log")]
    the_log_tells_what_happens_and_never_what_the_file_holds,
}

/// A folder with such a file in it.
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

fn r45_a_save_in_place_is_seen() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    folder.save(two());
    soon("a new key works", || is(&file, OTHER, "200 ci"));
    assert!(is(&file, KEY, GOOD));
    folder.save(text([line(2, "ci", OTHER)]));
    soon("a key that was taken out is refused", || is(&file, KEY, UNKNOWN));
    let more = ",\"revoked\":\"2026-12-01T00:00:00Z\"";
    folder.save(text([line_and(2, "ci", OTHER, more)]));
    soon("a key that was revoked is refused", || is(&file, OTHER, "401 revoked"));
    soon("all was told", || events.count() == 4);
    assert_eq!(events.all(), ["loaded 1", "loaded 2", "loaded 1", "emptied"]);
}

fn r45_a_rename_over_it_is_seen() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    for (round, key) in [OTHER, KEY, OTHER].into_iter().enumerate() {
        folder.swap(text_of(key));
        soon("the new key works", || is(&file, key, GOOD));
        soon("it is told", || events.count() == 2 + round);
    }
    assert!(is(&file, KEY, UNKNOWN));
    assert_eq!(events.all(), ["loaded 1"; 4]);
    assert_eq!(folder.names(), ["keys.jsonl"]);
}

fn r45_the_swap_of_a_link_is_seen_as_kubernetes_does_it() {
    let folder = Folder::quick();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let swap = |version: &str, key: &str| {
        let data = folder.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("keys.jsonl"), text_of(key)).unwrap();
        // Of the same size and time: what differs is the file.
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
    soon("all was told", || events.count() == 4);
    assert_eq!(events.all(), ["loaded 1"; 4]);
    assert_eq!(file.path(), folder.file());
}

fn a_change_right_after_the_start_is_seen() {
    each(0..8, |round| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        assert_eq!(events.all(), ["loaded 1"], "told before open has returned");
        thread::sleep(millis(round * 2));
        // Of the same size, and by some file systems' clocks at the same time.
        folder.save(text_of(OTHER));
        soon("the new key works", || is(&file, OTHER, GOOD));
        assert!(is(&file, KEY, UNKNOWN));
    });
}

fn a_change_of_the_same_size_and_time_is_seen() {
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

fn a_change_is_not_read_before_it_has_stood_still() {
    // When it is looked at is chance: some of several would be read too soon.
    each(0..6, |round| {
        let folder = with(text_of(KEY));
        let (file, _) = follow(&folder);
        thread::sleep(millis(round * 80));
        let started = Instant::now();
        folder.save(two());
        soon("it is read", || is(&file, OTHER, "200 ci"));
        assert!(started.elapsed() >= millis(300), "{:?}", started.elapsed());
    });
}

fn a_file_that_goes_on_changing_is_not_read_before_it_stops() {
    let folder = with(text_of(KEY));
    let (file, _) = follow(&folder);
    let mut writer = OpenOptions::new().append(true).open(folder.file()).unwrap();
    writer.write_all((line(2, "ci", OTHER) + "\n").as_bytes()).unwrap();
    let (mut last, mut is_late) = (Instant::now(), false);
    for _ in 0..25 {
        thread::sleep(millis(80));
        writer.write_all(b"#\n").unwrap();
        // On a machine that is too busy it did stand still.
        is_late |= last.elapsed() > millis(250);
        last = Instant::now();
        assert!(is_late || is(&file, OTHER, UNKNOWN));
    }
    soon("it is read", || is(&file, OTHER, "200 ci"));
}

/// Slow: it is given ten seconds.
fn a_file_that_never_stops_changing_is_told() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    let mut writer = OpenOptions::new().append(true).open(folder.file()).unwrap();
    writer.write_all((line(2, "ci", OTHER) + "\n").as_bytes()).unwrap();
    let started = Instant::now();
    while file.status().problem().is_none() && started.elapsed() < Duration::from_secs(15) {
        writer.write_all(b"#\n").unwrap();
        thread::sleep(millis(60));
    }
    // On a machine that is too busy it did stand still.
    if is(&file, OTHER, UNKNOWN) {
        let problem = file.status().problem().expect("it is told").clone();
        assert_eq!(problem.error().kind(), Kind::Locked, "{:?}", problem.error());
        assert!(is(&file, KEY, GOOD));
        soon("it stops", || is(&file, OTHER, "200 ci"));
        soon("it is told", || events.count() == 3);
        assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
    }
}

fn what_is_the_same_is_no_event() {
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
    // It is read once more when the times of the file cannot be doubted any longer.
    thread::sleep(millis(3500));
    assert_eq!(events.all(), ["loaded 1"]);
    assert_eq!(file.status().loaded_at(), loaded);
    assert!(is(&file, KEY, GOOD));
}

fn deleting_and_making_it_anew_is_seen() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    fs::remove_file(folder.file()).unwrap();
    soon("it is noticed", || file.status().problem().is_some());
    let problem = file.status().problem().unwrap().clone();
    assert_eq!((problem.error().kind(), problem.error().line()), (Kind::Missing, None));
    assert!(is(&file, KEY, GOOD) && file.status().keys() == 1);
    folder.put(two());
    soon("it is back", || is(&file, OTHER, "200 ci"));
    soon("all was told", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
    assert_eq!(events.all()[2], "recovered 2");

    // And with the very same content.
    fs::remove_file(folder.file()).unwrap();
    soon("it is noticed", || file.status().problem().is_some());
    folder.put(two());
    soon("it is back", || file.status().problem().is_none());
    soon("all was told", || events.count() == 5);
    assert_eq!(events.all()[4], "recovered 2");
}

fn a_file_that_is_gone_for_a_moment_is_not_gone() {
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
    soon("the last one is seen", || is(&file, "key-number-59", "200 ci"));
    assert!(events.kinds().iter().all(|kind| kind == "loaded"), "{:?}", events.all());
}

fn a_file_that_is_written_slowly_is_never_taken_in_the_middle_of_a_line() {
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
    // All of the line but its end: nobody can tell that from a part of it.
    stays(millis(1300), "cut off behind a line", || is(&file, WRONG, GOOD));
    assert_eq!(file.status().problem().unwrap().error().line(), Some(2));
    assert!(is(&file, KEY, UNKNOWN));
    // Nobody can see that more is to come.
    write("\n");
    soon("the first lines are there", || is(&file, KEY, GOOD));
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
    soon("all of it is there", || is(&file, OTHER, "200 ci"));
    soon("all was told", || events.count() == 6);
    let told = ["loaded", "broken", "broken", "recovered", "broken", "recovered"];
    assert_eq!(events.kinds(), told, "{:?}", events.all());
    assert!(is(&file, KEY, GOOD) && file.status().problem().is_none());
}

/// Takes away whatever is there.
fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(it) if it.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn every_kind_of_broken_file_leaves_the_keys_and_is_told_once() {
    type Break = (&'static str, Kind, Option<usize>, fn(&Folder));
    let mut breaks: Vec<Break> = vec![
        ("a bad line", Kind::Content, Some(3), |it| {
            it.save(text([line(1, "a", KEY).as_str(), "{\"id\":7}"]));
        }),
        ("a bad digest", Kind::Content, Some(2), |it| {
            it.save(text_of(OTHER).replace("sha256:", "sha256:x"));
        }),
        ("a key that is there twice", Kind::Content, Some(3), |it| {
            it.save(text([line(1, "a", OTHER), line(2, "b", OTHER)]));
        }),
        ("an id that is there twice", Kind::Content, Some(3), |it| {
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
        ("a long line", Kind::Content, Some(2), |it| {
            it.save(format!("{HEADER}{}\n", "x".repeat(100_000)));
        }),
        ("sparse and far too large", Kind::Content, None, |it| {
            File::create(it.file()).unwrap().set_len(3 << 30).unwrap();
        }),
        ("no header", Kind::Content, Some(1), |it| it.save(line(1, "a", OTHER) + "\n")),
        ("blank", Kind::Content, Some(1), |it| it.save("\n")),
        ("gone", Kind::Missing, None, |it| clear(&it.file())),
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
        println!("root may read every file, so that none is unreadable");
    } else {
        breaks.push(("unreadable", Kind::Io, None, |it| {
            fs::set_permissions(it.file(), PermissionsExt::from_mode(0o000)).unwrap();
        }));
    }
    each(breaks, |(what, kind, line, make)| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        let is_up = || is(&file, KEY, GOOD) && is(&file, OTHER, UNKNOWN);
        make(&folder);
        soon(what, || file.status().problem().is_some());
        let status = file.status();
        let problem = status.problem().unwrap();
        let told = problem.error().to_string();
        assert_eq!((problem.error().kind(), problem.error().line()), (kind, line), "{told}");
        assert!(told.starts_with(&folder.file().display().to_string()), "{told}");
        assert_eq!(status.keys(), 1);
        // Through the time when it is read once more.
        stays(millis(4500), what, is_up);
        assert_eq!(events.all(), ["loaded 1".to_owned(), format!("broken {told}")]);
        let later = file.status();
        assert_eq!(later.problem().unwrap().since(), problem.since());
        assert_eq!(later.loaded_at(), status.loaded_at());

        clear(&folder.file());
        folder.put(two());
        soon("it is mended", || is(&file, OTHER, "200 ci"));
        soon("it is told", || events.count() == 3);
        assert_eq!(events.all()[2], "recovered 2", "{what}");
        let status = file.status();
        assert!(status.problem().is_none() && status.loaded_at() > later.loaded_at());
    });
}

fn what_is_wrong_and_since_when_is_told_until_it_is_mended() {
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
    // In another way, and once more in that way.
    let now = |line| {
        soon("it is broken in another way", || {
            file.status().problem().unwrap().error().line() == Some(line)
        });
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

    // Mended as it was, and broken anew.
    folder.save(text_of(KEY));
    soon("it is mended", || file.status().problem().is_none());
    assert!(file.status().loaded_at() >= first.since());
    folder.save("{\"v\":1}");
    soon("it is broken", || file.status().problem().is_some());
    assert!(file.status().problem().unwrap().since() > first.since());
    soon("all was told", || events.count() == 6);
    assert_eq!(events.kinds()[4..], ["recovered", "broken"]);
    let debug = format!("{file:?}");
    assert!(debug.contains("keys.jsonl, line 1: "), "{debug}");
}

fn a_file_that_was_emptied_refuses_everybody_after_two_quiet_looks() {
    each(0..10, |round| {
        let folder = with(text_of(KEY));
        let (file, events) = follow(&folder);
        // When it is looked at is chance: some of several would be taken too soon.
        thread::sleep(millis(round * 50));
        let started = Instant::now();
        folder.save(if round % 2 == 0 { "" } else { "{\"v\":1}\n# None.\n" });
        soon("it is empty", || is(&file, KEY, UNKNOWN));
        assert!(started.elapsed() >= millis(600), "{:?}", started.elapsed());
        soon("it is told", || events.count() == 2);
        assert_eq!(events.all(), ["loaded 1", "emptied"]);
        assert!(file.status().keys() == 0 && file.status().problem().is_none());
        stays(millis(4000), "it is empty", || is(&file, KEY, UNKNOWN));
        assert_eq!(events.count(), 2);
        folder.save(text_of(KEY));
        soon("it is back", || is(&file, KEY, GOOD));
        soon("it is told", || events.count() == 3);
        assert_eq!(events.all()[2], "loaded 1");
    });
}

fn a_broken_file_that_is_emptied_then_refuses_everybody() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    folder.save("{\"v\":1");
    soon("it is broken", || file.status().problem().is_some());
    folder.save("");
    soon("it is empty", || is(&file, KEY, UNKNOWN));
    assert!(file.status().problem().is_none());
    soon("it is told", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "emptied"]);
}

fn r45_no_good_request_is_refused_while_the_file_is_rewritten() {
    /// Cut off first, then in two parts, with time to be seen.
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
        let (asked, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = || {
            while !is_over.load(SeqCst) {
                let is_refused = outcome(&file, KEY) != GOOD;
                refused.fetch_add(usize::from(is_refused), SeqCst);
                asked.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_micros(300));
            }
        };
        let rewrite = || {
            for number in 0..100 {
                // The good key is now here, now there, and other than it was.
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
        soon("the last one is seen", || is(&file, "key-number-99", "200 ci"));
        let loaded = events.all();
        if is_late.load(SeqCst) {
            println!("skipped: on this machine it stood still, cut off, for too long");
            return;
        }
        assert_eq!(refused.load(SeqCst), 0, "of {asked:?}: {loaded:?}");
        assert!(loaded.len() >= 4 && asked.load(SeqCst) > 1000, "{loaded:?} {asked:?}");
        assert!(events.kinds().iter().all(|kind| kind == "loaded"), "{loaded:?}");
    });
}

fn clones_share_the_keys_and_handles_do_not_disturb_one_another() {
    let folder = with(text_of(KEY));
    let (one, two) = (follow(&folder).0, follow(&folder).0);
    let clone = one.clone();
    let minted = clone.issue(&KeyFormat::default(), Client::new("web")).unwrap();
    let (id, key) = (minted.id().to_owned(), minted.reveal(str::to_owned));
    assert!(is(&one, &key, "200 web") && is(&clone, &key, "200 web"));
    soon("the other handle sees it", || is(&two, &key, "200 web"));
    drop(one);
    assert!(two.revoke_key(&id).unwrap());
    assert!(is(&two, &key, "401 revoked"));
    soon("a clone is followed still", || is(&clone, &key, "401 revoked"));
}

/// The threads of this process that follow a file.
fn followers() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|it| it.unwrap().path());
    // One may end meanwhile.
    let names = threads.filter_map(|it| fs::read_to_string(it.join("comm")).ok());
    names.filter(|name| name.trim() == "key-file").count()
}

#[cfg(target_os = "linux")]
#[test]
fn the_thread_that_follows_ends_with_the_last_handle() {
    let Some(folder) = role() else {
        // In a process that follows nothing else.
        let folder = with(text_of(KEY));
        let test = "the_thread_that_follows_ends_with_the_last_handle";
        let output = child(test, &folder).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("child done"), "{output:?}");
        return;
    };
    let open = || KeyFile::open(folder.join("keys.jsonl")).unwrap();
    // A thread takes its name after it has begun.
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
    assert!(took < millis(400), "it waits for its next look: {took:?}");
    drop(two);
    is_soon(0);

    // Whenever the next look of each would be.
    let many: Vec<_> = (0..40)
        .map(|_| {
            thread::sleep(millis(15));
            open()
        })
        .collect();
    is_soon(40);
    drop(many);
    let took = is_soon(0);
    assert!(took < millis(300), "some wait for their next look: {took:?}");

    _ = KeyFile::options().follow(false).open(folder.join("keys.jsonl")).unwrap();
    _ = KeyFile::open(folder.join("gone")).unwrap_err();
    assert_eq!(followers(), 0);
    println!("child done");
}

fn a_file_that_everybody_may_write_is_told() {
    let folder = with(text_of(KEY));
    let set = |mode| fs::set_permissions(folder.file(), PermissionsExt::from_mode(mode)).unwrap();
    set(0o666);
    let (file, events) = follow(&folder);
    assert_eq!(events.all(), ["loaded 1", "writable by others"]);
    set(0o660);
    thread::sleep(millis(1200));
    set(0o602);
    soon("it is told", || events.count() == 3);
    assert_eq!(events.all()[2], "writable by others");
    folder.save(two());
    soon("it is read", || is(&file, OTHER, "200 ci"));
    thread::sleep(millis(600));
    assert_eq!(events.all()[3..], ["loaded 2"], "and told once");

    // Or to put another in its place, which a sticky folder forbids.
    for (mode, told) in [(0o1777, 0), (0o777, 1), (0o775, 0)] {
        set(0o600);
        fs::set_permissions(&*folder, PermissionsExt::from_mode(mode)).unwrap();
        let (_, events) = follow(&folder);
        let is_told = events.all().iter().filter(|event| *event == "writable by others").count();
        assert_eq!(is_told, told, "{mode:o}");
    }
    assert!(file.status().problem().is_none());
}

/// What is told of a file when it is opened, beside that it was loaded.
#[track_caller]
fn told_of(path: &Path) -> Vec<String> {
    let (events, options) = Events::of(KeyFile::options());
    let _file = options.open(path).unwrap();
    let told = events.all();
    assert_eq!(told[0], "loaded 1");
    told[1..].to_vec()
}

fn a_folder_anywhere_on_the_path_that_every_user_may_write_is_told() {
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
    for (mode, told) in [(0o755, false), (0o777, true), (0o1777, false), (0o775, false)] {
        fs::set_permissions(folder.join("outer"), PermissionsExt::from_mode(mode)).unwrap();
        for path in exposed {
            let expected: &[&str] = if told { &["writable by others"] } else { &[] };
            assert_eq!(told_of(&folder.join(path)), expected, "{mode:o} {path}");
        }
        // In these only the name of the folder itself is looked up, in a folder that is safe.
        for path in ["safe/keys.jsonl", "links/by-outer/keys.jsonl"] {
            assert!(told_of(&folder.join(path)).is_empty(), "{mode:o} {path}");
        }
    }
}

fn a_folder_that_is_opened_to_every_user_later_is_told() {
    let folder = with(text_of(KEY));
    let (_file, events) = follow(&folder);
    for count in [2, 3] {
        fs::set_permissions(&*folder, PermissionsExt::from_mode(0o777)).unwrap();
        soon("it is told", || events.count() == count);
        fs::set_permissions(&*folder, PermissionsExt::from_mode(0o755)).unwrap();
        thread::sleep(millis(1200));
    }
    assert_eq!(events.all(), ["loaded 1", "writable by others", "writable by others"]);
}

fn a_file_laid_out_like_a_kubernetes_secret_is_not_told() {
    let folder = Folder::quick();
    fs::create_dir(folder.join("..2026_11_28")).unwrap();
    fs::write(folder.join("..2026_11_28/keys.jsonl"), text_of(KEY)).unwrap();
    symlink("..2026_11_28", folder.join("..data")).unwrap();
    symlink("..data/keys.jsonl", folder.file()).unwrap();
    for (mode, file) in [(0o1777, 0o644), (0o3777, 0o440)] {
        fs::set_permissions(&*folder, PermissionsExt::from_mode(mode)).unwrap();
        fs::set_permissions(folder.file(), PermissionsExt::from_mode(file)).unwrap();
        assert!(told_of(&folder.file()).is_empty(), "{mode:o}");
    }
}

fn a_second_hard_link_is_told() {
    let folder = with(text_of(KEY));
    fs::hard_link(folder.file(), folder.join("another-name")).unwrap();
    assert_eq!(told_of(&folder.file()), ["has other names"]);
    // Once for each time that it comes, and no problem of the file.
    let (file, events) = follow(&folder);
    fs::remove_file(folder.join("another-name")).unwrap();
    thread::sleep(millis(1200));
    fs::hard_link(folder.file(), folder.join("another-name")).unwrap();
    soon("it is told", || events.count() == 3);
    folder.save(two());
    soon("it is read", || is(&file, OTHER, "200 ci"));
    assert_eq!(events.all()[1..], ["has other names", "has other names", "loaded 2"]);
    assert!(file.status().problem().is_none());
}

fn an_observer_may_use_the_file() {
    let folder = with(text_of(KEY));
    let file = Arc::new(OnceLock::<KeyFile>::new());
    let (events, own) = (Events::default(), Arc::clone(&file));
    let told = events.clone();
    let options = KeyFile::options().observe(move |event| {
        if let Some(file) = own.get() {
            let status = file.status();
            assert_eq!(status.problem().is_some(), matches!(event, KeyFileEvent::Broken(_)));
            assert_eq!(file.records().count(), status.keys());
            assert_eq!(outcome(file, KEY), GOOD);
            if status.keys() == 2 {
                // Even a change, which takes the lock.
                file.update(|keys| Ok(keys.remove(&KeyDigest::of(OTHER)))).unwrap();
            }
        }
        told.push(event);
    });
    file.set(options.open(folder.file()).unwrap()).unwrap();
    folder.save("{\"v\":1");
    soon("it is broken", || events.count() == 2);
    folder.save(two());
    soon("it is mended", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
    assert_eq!(folder.text(), text_of(KEY));
    assert!(is(file.get().unwrap(), OTHER, UNKNOWN));
}

fn an_observer_that_panics_does_not_end_the_following() {
    let folder = with(text_of(KEY));
    let options = KeyFile::options().observe(|event| {
        assert!(!matches!(event, KeyFileEvent::Broken(_)), "an observer's own mistake");
    });
    let file = options.open(folder.file()).unwrap();
    folder.save("{\"v\":1");
    soon("it is broken", || file.status().problem().is_some());
    thread::sleep(millis(100));
    folder.save(text([line(2, "ci", OTHER)]));
    soon("a key that was taken out is refused", || is(&file, KEY, UNKNOWN));
}

fn a_file_that_is_not_followed_stays_as_it_was_read() {
    let folder = with(text_of(KEY));
    let (events, options) = Events::of(KeyFile::options().follow(false));
    let file = options.open(folder.file()).unwrap();
    folder.save(text([line(2, "ci", OTHER)]));
    stays(millis(1500), "it is as before", || is(&file, KEY, GOOD) && is(&file, OTHER, UNKNOWN));
    assert_eq!(events.all(), ["loaded 1"]);
    // A change is made to the file as it is.
    assert_eq!(file.revoke("mobile-app").unwrap(), 0);
    assert!(is(&file, KEY, UNKNOWN) && is(&file, OTHER, "200 ci"));
}

fn a_file_that_may_be_missing_is_seen_when_it_comes() {
    for before in [None, Some("")] {
        let folder = Folder::quick();
        if let Some(text) = before {
            folder.put(text);
        }
        let (events, options) = Events::of(KeyFile::options().create(true));
        let file = options.open(folder.file()).unwrap();
        assert_eq!((file.status().keys(), outcome(&file, KEY)), (0, UNKNOWN.into()));
        folder.put(text_of(KEY));
        soon("it is seen", || is(&file, KEY, GOOD));
        soon("it is told", || events.count() == 1);
        assert_eq!(events.all(), ["loaded 1"]);
        // From now on it may not go.
        clear(&folder.file());
        soon("it is noticed", || file.status().problem().is_some());
        assert!(is(&file, KEY, GOOD));
    }
}

fn a_file_that_may_be_missing_is_not_broken_while_it_is() {
    let folder = Folder::quick();
    let (events, options) = Events::of(KeyFile::options().create(true));
    let file = options.open(folder.file()).unwrap();
    stays(millis(5000), "all is well", || file.status().problem().is_none());
    assert!(events.all().is_empty(), "{:?}", events.all());
}

fn a_file_that_was_broken_is_told_as_recovered_whoever_finds_it_so() {
    let folder = with(text_of(KEY));
    let (file, events) = follow(&folder);
    folder.save("{\"v\":1");
    soon("it is broken", || events.count() == 2);
    folder.save(text_of(KEY));
    _ = file.issue(&KeyFormat::default(), Client::new("ci")).unwrap();
    assert!(file.status().problem().is_none());
    soon("it is told", || events.count() == 3);
    assert_eq!(events.kinds(), ["loaded", "broken", "recovered"]);
}

fn r49_the_formats_and_the_clock_stay_when_the_file_changes() {
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
    soon("it is read", || is(&file, &own, "200 b"));
    assert!(is(&file, &foreign, UNKNOWN));
    assert_eq!(file.records().count(), 2);
}

/// The log of all of this process: only one can be set that threads elsewhere write to.
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

fn the_log_tells_what_happens_and_never_what_the_file_holds() {
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
        soon("it is told", || events.count() == number + 2);
    }
    fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o666)).unwrap();
    soon("it is told", || events.count() == 7);
    assert_eq!(outcome(&file, SECRET), format!("200 {SECRET}"));
    let log = log_of(&path);
    let all = log.join("\n");
    for secret in [SECRET, "Canary", KEY, &digest[7..20]] {
        assert!(!all.contains(secret), "{all}");
    }
    let told = [
        (" INFO", "keys loaded"),
        ("ERROR", "line 3: the key is in the keyring already"),
        ("ERROR", "line 2: a field that is not known"),
        (" INFO", "keys loaded, after they could not be"),
        ("ERROR", "everybody is refused"),
        (" INFO", "keys loaded"),
        (" WARN", "another user may write or replace the key file"),
    ];
    assert_eq!(log.len(), told.len(), "{all}");
    for (line, (level, words)) in log.iter().zip(told) {
        let is_so = line.contains(level) && line.contains(words) && line.contains("key_file");
        assert!(is_so, "{line}, not {level} {words}");
    }
}
