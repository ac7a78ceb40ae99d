//! A broken key file takes little memory, and a service with little memory survives it.

#![cfg(all(feature = "file", unix))]
#![allow(unsafe_code, reason = "a global allocator that counts is unsafe to write")]

mod support;

use support::key_file as key_file_support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write as _,
    fs::File,
    io::Write as _,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use key_file_support::{
    Folder, HEADER, child, follow, line, millis, outcome, role, stays, text_of,
};
use support::{KEY, OTHER};
use tower_api_key::key_file::{KeyFile, KeyFileErrorKind as Kind};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System`, and only counters change besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(BYTES.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the maximum number of bytes that were allocated at once, beyond those before the call.
fn most(act: impl FnOnce()) -> usize {
    let before = BYTES.load(SeqCst);
    MOST.store(before, SeqCst);
    act();
    MOST.load(SeqCst) - before
}

const MIB: usize = 1 << 20;

/// The allowance for a line of 64 KiB and for allocations that do not depend on the size of the file.
const BESIDE: usize = MIB;

/// Returns a file with many valid keys.
fn many(more: &str) -> String {
    let mut text = HEADER.to_owned();
    for number in 0..10_000 {
        let line = line(number, "c", &format!("key-{number}"));
        let open = line.strip_suffix('}').unwrap();
        writeln!(text, "{open}{more}}}").unwrap();
    }
    text
}

/// All cases are one test, because the allocator counts the whole process.
#[test]
fn a_broken_file_takes_at_most_twice_its_size_in_memory() {
    if role().is_some() {
        return;
    }
    let folder = Folder::quick();
    let scopes = format!(",\"scopes\":[{}\"a\"]", "\"a\",".repeat(100));
    let good = many("");
    for (case, text, line) in [
        ("line breaks", "\n".repeat(3 * MIB), Some(1)),
        (
            "comments, then a cut-off line",
            format!("{HEADER}{}{{", "\n#".repeat(3 * MIB / 2)),
            Some(3 * MIB / 2 + 2),
        ),
        ("one long line", format!("{HEADER}{}\n", "[0,".repeat(MIB)), Some(2)),
        ("one long string", format!("{HEADER}{{\"id\":\"{}\"}}\n", "x".repeat(3 * MIB)), Some(2)),
        (
            "lines of small values",
            format!("{HEADER}{}", format!("[{}0]\n", "0,".repeat(30_000)).repeat(50)),
            Some(2),
        ),
        ("many keys, then a bad line", format!("{good}{{}}\n"), Some(10_002)),
        (
            "many keys, then one of them again",
            format!("{good}{}\n", self::line(0, "c", "key-0")),
            Some(10_002),
        ),
        (
            "many keys, then an id again",
            format!("{good}{}\n", self::line(0, "c", "another")),
            Some(10_002),
        ),
        (
            "many keys with scopes, then a bad line",
            format!("{}{{}}\n", many(&scopes)),
            Some(10_002),
        ),
        ("many keys, cut off", good.trim_end().to_owned(), Some(10_001)),
    ] {
        folder.put(text_of(KEY));
        let file = KeyFile::options().follow(false).open(folder.file()).unwrap();
        folder.put(&text);
        let allowed = 2 * text.len() + BESIDE;
        let is_broken = |result: Result<(), tower_api_key::key_file::KeyFileError>| {
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.line()), (Kind::Content, line), "{case}: {error}");
        };
        let opened = most(|| {
            is_broken(KeyFile::options().follow(false).open(folder.file()).map(drop));
        });
        let changed = most(|| is_broken(file.update(|_| Ok(()))));
        println!("{case}: {} bytes, {opened} to open it, {changed} to change it", text.len());
        assert!(opened.max(changed) <= allowed, "{case}: {opened}, {changed} of {allowed}");
        assert!(opened.min(changed) >= text.len(), "{case}: the allocator does not count");
        assert_eq!(outcome(&file, KEY), "200 mobile-app", "{case}");
    }

    // A file without keys is valid. A change holds the old and the new text.
    let text = format!("{HEADER}{}", "\n".repeat(3 * MIB));
    folder.put(&text);
    let opened = most(|| {
        let file = KeyFile::options().follow(false).open(folder.file()).unwrap();
        file.update(|keys| keys.insert(KEY, tower_api_key::Client::new("ci"))).unwrap();
    });
    assert!(opened <= 2 * text.len() + BESIDE, "{opened}");

    // A file above the maximum size is not read.
    File::create(folder.file()).unwrap().set_len(3 << 30).unwrap();
    let file = KeyFile::options().follow(false);
    let opened = most(|| assert_eq!(file.open(folder.file()).unwrap_err().kind(), Kind::Content));
    assert!(opened <= MIB, "{opened}");
}

fn wait(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60));
        thread::sleep(millis(20));
    }
}

/// The ways in which a file becomes broken, one for each child.
const BREAKS: [fn(&mut File); 4] = [
    |file| file.write_all(&vec![b'\n'; 25 * MIB]).unwrap(),
    |file| file.set_len(30 << 20).unwrap(),
    |file| file.set_len(900 << 20).unwrap(),
    |file| file.set_len(3 << 30).unwrap(),
];

/// Runs in a child with little memory, and follows a file that becomes broken.
#[test]
fn child_that_follows() {
    let Some(folder) = role() else { return };
    let file = KeyFile::open(folder.join("keys.jsonl")).unwrap();
    let is_up = || outcome(&file, KEY) == "200 mobile-app";
    assert!(is_up());
    let number: usize = std::fs::read_to_string(folder.join("break")).unwrap().parse().unwrap();
    let path = folder.join("keys.jsonl");
    std::fs::remove_file(&path).unwrap();
    BREAKS[number](&mut File::create(&path).unwrap());
    // A debug build needs a while for 30 MiB.
    wait(|| file.status().problem().is_some());
    stays(millis(1500), "the keys stay", is_up);
    std::fs::write(&path, text_of(KEY)).unwrap();
    wait(|| file.status().problem().is_none());
    std::fs::write(folder.join("done"), OTHER).unwrap();
}

#[test]
fn a_service_with_little_memory_survives_a_broken_file_and_keeps_its_keys() {
    if role().is_some() {
        return;
    }
    thread::scope(|scope| {
        for number in 0..BREAKS.len() {
            scope.spawn(move || survives(number));
        }
    });
}

fn survives(number: usize) {
    let folder = Folder::with(text_of(KEY));
    std::fs::write(folder.join("break"), number.to_string()).unwrap();
    drop(follow(&folder));
    let it = child("child_that_follows", &folder);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 600000 && exec \"$0\" \"$@\""]).arg(it.get_program());
    limited.args(it.get_args());
    limited.envs(it.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && folder.join("done").exists(), "{}\n{stderr}", output.status);
}
