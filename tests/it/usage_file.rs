//! `usage::JsonLines`: the file of one process and of several, full disks, crashes and removed files.

#![cfg(all(unix, feature = "usage"))]

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tower_api_key::{
    Client,
    observe::{Decision, Observe as _},
    usage::{
        Counts, JsonLines, LastUse, Subject, Usage, UsageBatch, UsageFileErrorKind, UsageHistory,
        UsageRow, UsageSink as _,
    },
};

const HOUR: u64 = 3600;
const NOON: u64 = 1_795_953_600;
const MIN_SIZE: u64 = 64 << 10;

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("usage-file-{}-{next}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("usage.jsonl")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until so many locks are held. A process that another test starts inherits all locks until its program runs.
    fn settle(&self, held: usize) {
        let entries = fs::read_dir(&self.0).unwrap().map(|it| it.unwrap());
        let locks = entries.filter(|it| it.file_name().to_str().unwrap().ends_with(".lock"));
        let locks: Vec<_> = locks.map(|it| format!(":{} ", it.metadata().unwrap().ino())).collect();
        let is_held = |all: &str| locks.iter().filter(|lock| all.contains(*lock)).count() > held;
        while fs::read_to_string("/proc/locks").is_ok_and(|all| is_held(&all)) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn accepted(accepted: u64) -> Counts {
    let mut counts = Counts::default();
    counts.accepted = accepted;
    counts
}

/// One accepted request of a key in an hour after noon.
fn row(key: &str, hour: u64) -> UsageRow {
    let hour = NOON + hour * HOUR;
    UsageRow::new(Subject::key(key, Some("ci")), at(hour), accepted(1), Some(at(hour + 60)))
}

/// Writes rows as a new batch.
fn write(sink: &JsonLines, rows: Vec<UsageRow>) -> Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    write_batch(sink, &UsageBatch::new("instance", NEXT.fetch_add(1, Ordering::Relaxed), rows))
}

fn write_batch(sink: &JsonLines, batch: &UsageBatch) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(sink.write(batch)).map_err(|error| error.to_string())
}

fn read(path: &Path) -> UsageHistory {
    JsonLines::read([path]).unwrap()
}

fn total(path: &Path) -> u64 {
    read(path).rows().iter().map(|row| row.counts().accepted).sum()
}

#[test]
fn rows_are_lines_that_are_read_as_they_were_written() {
    let folder = Folder::new();
    let before = SystemTime::now() - Duration::from_secs(1);
    let sink = JsonLines::open(folder.file()).unwrap();
    assert_eq!(sink.path(), folder.file());
    let mut counts = Counts::default();
    (counts.rejected, counts.limited, counts.forbidden) = (3, 2, 1);
    let client = "a \"b\"\n\u{1b}[31m\u{202e}";
    let rows = vec![
        UsageRow::new(
            Subject::key("0a1B2c3D", Some(client)),
            at(NOON),
            accepted(5),
            Some(at(NOON + 120)),
        ),
        UsageRow::new(Subject::key("4e5F6g7H", None), at(NOON), counts, None),
        UsageRow::new(Subject::client_alone("ci"), at(NOON), accepted(1), Some(at(NOON + 60))),
        UsageRow::new(Subject::Unknown, at(NOON), counts, None),
        UsageRow::new(Subject::Overflow, at(NOON), accepted(9), Some(at(NOON))),
    ];
    write(&sink, rows.clone()).unwrap();
    write(&sink, rows.clone()).unwrap();

    let text = fs::read_to_string(folder.file()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 12);
    assert!(lines[1].starts_with(r#"{"ran_from":"20"#), "{text}");
    assert!(lines[0].starts_with(r#"{"v":1,"kind":"usage","since":"20"#), "{text}");
    assert_eq!(
        lines[4],
        r#"{"client":"ci","hour":"2026-11-29T12:00:00Z","accepted":1,"last_used":"2026-11-29T12:01:00Z"}"#
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }

    let history = read(&folder.file());
    let twice: Vec<_> = { rows.iter() }
        .map(|row| {
            let counts = row.counts() + row.counts();
            UsageRow::new(row.subject().clone(), row.hour(), counts, row.last_used())
        })
        .collect();
    let mut read_rows = history.rows().to_vec();
    read_rows.sort_by_key(|row| twice.iter().position(|it| it.subject() == row.subject()));
    assert_eq!(read_rows, twice);
    let uses: Vec<_> = history.last_uses().iter().map(LastUse::at).collect();
    assert_eq!(uses, [at(NOON + 120), at(NOON + 60), at(NOON)]);
    assert!(history.since().unwrap() >= before && history.since() == history.rows_since());
    assert!(history.cut_off().is_empty());
}

#[test]
fn a_new_file_has_the_mode_0600_and_an_old_one_keeps_its_mode() {
    let folder = Folder::new();
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    let sink = JsonLines::options().max_size(0).open(folder.file()).unwrap();
    assert_eq!((mode("usage.jsonl"), mode("usage.jsonl.lock")), (0o600, 0o600));
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    (0..700).for_each(|_| write(&sink, vec![row("a", 0)]).unwrap());
    assert!(fs::metadata(folder.file()).unwrap().len() < MIN_SIZE);
    assert_eq!((mode("usage.jsonl"), total(&folder.file())), (0o640, 700));
    assert_eq!(folder.names(), ["usage.jsonl", "usage.jsonl.lock"]);
}

#[test]
fn a_path_that_is_no_usage_file_is_an_error_and_stays_as_it_is() {
    let folder = Folder::new();
    let kind = |path: &Path| JsonLines::open(path).unwrap_err().kind();
    fs::write(folder.path("other"), "an important text without a line break").unwrap();
    fs::write(folder.path("keys.jsonl"), "{\"v\":1}\n").unwrap();
    for name in ["other", "keys.jsonl"] {
        let before = fs::read(folder.path(name)).unwrap();
        assert_eq!(kind(&folder.path(name)), UsageFileErrorKind::Content);
        assert_eq!(fs::read(folder.path(name)).unwrap(), before);
    }
    // The target of a link stays, and a link to a usage file is an error too.
    symlink(folder.path("other"), folder.path("link")).unwrap();
    symlink(folder.path("nothing"), folder.path("dangling")).unwrap();
    symlink(folder.path("nothing"), folder.path("locked.lock")).unwrap();
    for name in ["link", "dangling", "locked"] {
        let error = JsonLines::open(folder.path(name)).unwrap_err();
        assert_eq!(error.kind(), UsageFileErrorKind::NotAFile, "{error}");
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
    }
    assert!(!folder.path("nothing").exists());
    assert!(Command::new("mkfifo").arg(folder.path("pipe")).status().unwrap().success());
    assert_eq!(kind(&folder.path("pipe")), UsageFileErrorKind::NotAFile);
    assert_eq!(kind(&folder.0), UsageFileErrorKind::NotAFile);
    assert_eq!(kind(&folder.path("none/usage.jsonl")), UsageFileErrorKind::Missing);
    assert_eq!(kind(Path::new("/dev/full")), UsageFileErrorKind::NotAFile);
    assert!(!Path::new("/dev/full.lock").exists());
    let missing = JsonLines::read([folder.path("nothing")]).unwrap_err();
    assert_eq!(missing.kind(), UsageFileErrorKind::Missing);
}

#[test]
fn every_process_writes_a_file_of_its_own_and_a_restart_continues_it() {
    let folder = Folder::new();
    let open = || JsonLines::open(folder.file()).unwrap();
    let (first, second, third) = (open(), open(), open());
    let names = |sink: &JsonLines| sink.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        [names(&first), names(&second), names(&third)],
        ["usage.jsonl", "usage.2.jsonl", "usage.3.jsonl"]
    );
    for sink in [&first, &second, &second, &third] {
        write(sink, vec![row("a", 0)]).unwrap();
    }
    assert_eq!(total(&folder.file()), 4);
    drop(second);
    folder.settle(2);
    let again = open();
    assert_eq!(names(&again), "usage.2.jsonl");
    write(&again, vec![row("a", 0)]).unwrap();
    assert_eq!(total(&folder.file()), 5);
    // A file counts once.
    let twice = JsonLines::read([
        folder.file(),
        folder.0.join("./usage.jsonl"),
        folder.path("usage.2.jsonl"),
    ]);
    assert_eq!(twice.unwrap().rows()[0].counts().accepted, 5);
    assert_eq!(names(&JsonLines::open(folder.path("plain")).unwrap()), "plain");
    let _plain = JsonLines::open(folder.path("plain")).unwrap();
}

#[test]
fn a_line_that_a_crash_cut_off_is_reported_and_then_removed() {
    let folder = Folder::new();
    let sink = JsonLines::open(folder.file()).unwrap();
    write(&sink, vec![row("a", 0), row("b", 0)]).unwrap();
    drop(sink);
    let whole = fs::read(folder.file()).unwrap();
    let last_line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last_line + 1..whole.len() {
        fs::write(folder.file(), &whole[..end]).unwrap();
        if end % 10 == 0 {
            let history = read(&folder.file());
            assert_eq!(history.cut_off(), [folder.file()]);
            assert_eq!(history.rows().len(), 1);
        }
        folder.settle(0);
        let sink = JsonLines::open(folder.file()).unwrap();
        write(&sink, vec![row("c", 0)]).unwrap();
        let history = read(&folder.file());
        assert_eq!((history.rows().len(), history.cut_off().len()), (2, 0));
    }
    // The rest of a large batch that is one line.
    let long = format!("{}{{\"key\":\"{}", String::from_utf8_lossy(&whole), "k".repeat(20_000));
    fs::write(folder.file(), long).unwrap();
    folder.settle(0);
    drop(JsonLines::open(folder.file()).unwrap());
    assert_eq!(fs::read(folder.file()).unwrap(), whole);
    // A header that is cut off.
    fs::write(folder.file(), &whole[..20]).unwrap();
    let history = read(&folder.file());
    assert_eq!((history.cut_off().len(), history.since()), (1, None));
}

#[test]
fn a_broken_line_is_an_error_that_names_the_line_and_no_value() {
    let folder = Folder::new();
    let sink = JsonLines::open(folder.file()).unwrap();
    write(&sink, vec![row("a", 0)]).unwrap();
    let mut file = OpenOptions::new().append(true).open(folder.file()).unwrap();
    file.write_all(b"{\"key\":\"secret-value\",,}\n").unwrap();
    let error = JsonLines::read([folder.file()]).unwrap_err();
    assert_eq!((error.kind(), error.line()), (UsageFileErrorKind::Content, Some(4)));
    assert_eq!(error.path(), folder.file());
    assert!(!error.to_string().contains("secret-value"), "{error}");
    for bytes in [&b"\xff\n"[..], b"\n", &[b'x'; (1 << 20) + 2]] {
        fs::write(
            folder.file(),
            [b"{\"v\":1,\"kind\":\"usage\",\"since\":\"2026-11-28T12:00:00Z\"}\n", bytes].concat(),
        )
        .unwrap();
        assert_eq!(JsonLines::read([folder.file()]).unwrap_err().line(), Some(2));
    }
}

#[test]
fn a_full_file_keeps_every_count_that_has_room_and_every_last_use() {
    let folder = Folder::new();
    let max = MIN_SIZE;
    let sink = JsonLines::options().max_size(max).open(folder.file()).unwrap();
    write(&sink, vec![row("first", 0)]).unwrap();
    for batch in 0..8000 {
        // Every hour has twenty batches.
        write(&sink, vec![row("a", batch / 20), row("b", batch / 20)]).unwrap();
        assert!(fs::metadata(folder.file()).unwrap().len() <= max);
    }
    let history = read(&folder.file());
    let since = history.rows_since().unwrap();
    assert!(history.since() < Some(since));
    let rows = history.rows();
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        assert_eq!(row.counts().accepted, 20, "{row:?}");
        assert!(row.hour() >= since);
    }
    assert_eq!(rows.iter().map(UsageRow::hour).max(), Some(at(NOON + 399 * HOUR)));
    let uses: Vec<_> =
        history.last_uses().iter().map(|it| (it.key_id().unwrap(), it.at())).collect();
    let last = at(NOON + 399 * HOUR + 60);
    assert_eq!(uses, [("a", last), ("b", last), ("first", at(NOON + 60))]);

    // A restart and another rotation keep them as well.
    drop(sink);
    folder.settle(0);
    let sink = JsonLines::options().max_size(1000).open(folder.file()).unwrap();
    (400..1400).for_each(|hour| write(&sink, vec![row("a", hour)]).unwrap());
    let history = read(&folder.file());
    assert_eq!(history.last_uses().len(), 3);
    assert_eq!(history.last_uses()[2].at(), at(NOON + 60));
    assert!(history.since().unwrap() <= SystemTime::now());
}

#[test]
fn a_file_that_disappears_begins_anew_with_every_last_use() {
    let folder = Folder::new();
    let sink = JsonLines::open(folder.file()).unwrap();
    write(&sink, vec![row("a", 0), row("b", 1)]).unwrap();
    let since = read(&folder.file()).since();

    // Such as `logrotate`.
    fs::rename(folder.file(), folder.path("usage.jsonl.1")).unwrap();
    write(&sink, vec![row("a", 2)]).unwrap();
    let both = JsonLines::read([folder.file(), folder.path("usage.jsonl.1")]).unwrap();
    assert_eq!(both.rows().iter().map(|row| row.counts().accepted).sum::<u64>(), 3);
    let history = read(&folder.file());
    assert_eq!((history.rows().len(), history.last_uses().len()), (1, 2));
    assert_eq!(history.since(), since);

    fs::remove_file(folder.file()).unwrap();
    write(&sink, vec![row("c", 3)]).unwrap();
    assert_eq!((total(&folder.file()), read(&folder.file()).last_uses().len()), (1, 3));

    // Another program empties it: what was there is unknown from now on.
    OpenOptions::new().write(true).truncate(true).open(folder.file()).unwrap();
    let emptied = SystemTime::now() - Duration::from_secs(1);
    write(&sink, vec![row("d", 4)]).unwrap();
    let history = read(&folder.file());
    assert_eq!((total(&folder.file()), history.last_uses().len()), (1, 1));
    assert!(history.since() >= Some(emptied));

    // A link in its place is not followed, and no count is lost.
    fs::write(folder.path("target"), "").unwrap();
    fs::remove_file(folder.file()).unwrap();
    symlink(folder.path("target"), folder.file()).unwrap();
    let batch = UsageBatch::new("another", 1, vec![row("e", 5)]);
    let error = write_batch(&sink, &batch).unwrap_err();
    assert!(error.contains("is a symbolic link"), "{error}");
    assert_eq!(fs::read_to_string(folder.path("target")).unwrap(), "");
    // The folder is away, and comes back.
    fs::remove_file(folder.file()).unwrap();
    fs::rename(&folder.0, folder.0.with_extension("away")).unwrap();
    assert!(write_batch(&sink, &batch).unwrap_err().contains("the folder does not exist"));
    fs::rename(folder.0.with_extension("away"), &folder.0).unwrap();
    write_batch(&sink, &batch).unwrap();
    write_batch(&sink, &batch).unwrap();
    let history = read(&folder.file());
    let uses: Vec<_> = history.last_uses().iter().map(LastUse::key_id).collect();
    assert_eq!((total(&folder.file()), uses), (1, vec![Some("d"), Some("e")]));
}

#[test]
fn a_disk_that_is_full_for_a_while_loses_no_count() {
    let folder = Folder::new();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&folder.0)
        .output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        return println!("skipped: this user cannot mount");
    }
    let sink = JsonLines::open(folder.file()).unwrap();
    write(&sink, vec![row("a", 0)]).unwrap();
    let filler = folder.path("filler");
    let mut full = fs::File::create(&filler).unwrap();
    while full.write_all(&[0; 512]).is_ok() {}
    // The first page of the file has room, and the batch needs more.
    let rows: Vec<_> = (0..200).map(|hour| row("b", hour)).collect();
    let batch = UsageBatch::new("another", 1, rows);
    let before = fs::read(folder.file()).unwrap();
    for _ in 0..3 {
        let error = write_batch(&sink, &batch).unwrap_err();
        assert!(error.contains("cannot write the file: No space left on device"), "{error}");
        assert_eq!(fs::read(folder.file()).unwrap(), before);
    }
    let another = JsonLines::open(folder.path("another.jsonl")).unwrap_err();
    assert_eq!(another.kind(), UsageFileErrorKind::Io);
    fs::remove_file(&filler).unwrap();
    drop(full);
    write_batch(&sink, &batch).unwrap();
    assert_eq!(total(&folder.file()), 201);
    let _ = Command::new("umount").arg("-l").arg(&folder.0).status();
}

#[test]
fn a_reader_beside_a_writer_sees_whole_lines() {
    let folder = Folder::new();
    let sink = JsonLines::options().max_size(MIN_SIZE).open(folder.file()).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for batch in 0..500 {
                let rows = (0..20).map(|key| row(&format!("key-{key}"), batch / 400)).collect();
                write(&sink, rows).unwrap();
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let now = total(&folder.file());
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    });
    assert_eq!(total(&folder.file()), 10_000);
}

#[test]
fn the_time_that_data_goes_back_is_that_of_the_youngest_file() {
    let folder = Folder::new();
    let write = |name: &str, since: &str, rows_since: Option<&str>| {
        let rows =
            rows_since.map_or(String::new(), |it| format!(r#","rows_since":"{it}T00:00:00Z""#));
        let text =
            format!("{{\"v\":1,\"kind\":\"usage\",\"since\":\"{since}T00:00:00Z\"{rows}}}\n");
        fs::write(folder.path(name), text).unwrap();
    };
    let day = |history: &UsageHistory| {
        [history.since(), history.rows_since()].map(|time| {
            let days = time.unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs() / (24 * HOUR);
            days as i64 - 20_454 + 1
        })
    };
    write("usage.jsonl", "2026-01-03", None);
    write("usage.2.jsonl", "2026-01-05", None);
    assert_eq!(day(&read(&folder.file())), [5, 5]);
    write("usage.2.jsonl", "2026-01-02", Some("2026-01-04"));
    assert_eq!(day(&read(&folder.file())), [3, 4]);
    write("other.jsonl", "2026-01-07", None);
    let both = JsonLines::read([folder.path("other.jsonl"), folder.file()]).unwrap();
    assert_eq!(day(&both), [7, 7]);
}

/// Creates the files of two processes that began in 2020.
fn create_two_files(folder: &Folder) -> [JsonLines; 2] {
    let sinks = [0, 1].map(|_| JsonLines::open(folder.file()).unwrap());
    for (sink, key) in sinks.iter().zip(["a", "b"]) {
        let header = "{\"v\":1,\"kind\":\"usage\",\"since\":\"2020-01-01T00:00:00Z\"}\n";
        fs::write(sink.path(), header).unwrap();
        write(sink, vec![row(key, 0)]).unwrap();
    }
    sinks
}

#[test]
fn a_new_process_knows_as_many_uses_as_the_others() {
    let folder = Folder::new();
    let sinks = create_two_files(&folder);
    let since = read(&folder.file()).since();
    assert!(since < Some(at(NOON - 365 * 24 * HOUR)));
    let third = JsonLines::open(folder.file()).unwrap();
    assert_eq!(third.path(), folder.path("usage.3.jsonl"));
    assert_eq!(read(&folder.path("usage.3.jsonl")).since(), since);
    write(&third, vec![row("c", 0)]).unwrap();
    assert_eq!(read(&folder.file()).since(), since);
    // Its file disappears while it runs, and begins anew with the last uses.
    fs::remove_file(third.path()).unwrap();
    write(&third, vec![row("d", 0)]).unwrap();
    assert_eq!((read(&folder.file()).since(), read(&folder.file()).last_uses().len()), (since, 4));
    drop((sinks, third));
    folder.settle(0);
    let again: Vec<_> = (0..3).map(|_| JsonLines::open(folder.file()).unwrap()).collect();
    assert_eq!((again.len(), read(&folder.file()).since()), (3, since));
}

#[test]
fn a_file_that_is_deleted_while_its_process_is_stopped_has_lost_its_uses() {
    for (name, deletes_lock, leaves_empty_file) in [
        ("usage.jsonl", false, false),
        ("usage.jsonl", true, false),
        ("usage.2.jsonl", false, false),
        ("usage.2.jsonl", true, true),
    ] {
        let folder = Folder::new();
        drop(create_two_files(&folder));
        folder.settle(0);
        let deleted = SystemTime::now() - Duration::from_secs(1);
        fs::remove_file(folder.path(name)).unwrap();
        if deletes_lock {
            fs::remove_file(folder.path(&format!("{name}.lock"))).unwrap();
        }
        if leaves_empty_file {
            fs::write(folder.path(name), "").unwrap();
        } else if name == "usage.jsonl" {
            assert!(read(&folder.file()).since() >= Some(deleted), "{name}");
        }
        for _ in 0..2 {
            folder.settle(0);
            let _sinks = [0, 1].map(|_| JsonLines::open(folder.file()).unwrap());
            assert!(read(&folder.file()).since() >= Some(deleted), "{name} {deletes_lock}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_made_smaller_grows_to_twice_its_size() {
    let folder = Folder::new();
    let sink = JsonLines::options().max_size(0).open(folder.file()).unwrap();
    let mut file = OpenOptions::new().append(true).open(folder.file()).unwrap();
    file.write_all(b"not json\n").unwrap();
    let written = (0..2000).take_while(|_| write(&sink, vec![row("a", 0)]).is_ok()).count();
    let size = fs::metadata(folder.file()).unwrap().len();
    assert!(size > 2 * MIN_SIZE - 200 && size <= 2 * MIN_SIZE, "{size}");
    let text = fs::read_to_string(folder.file()).unwrap();
    assert_eq!(text.matches("\"accepted\":1").count(), written);
    let error = write(&sink, vec![row("a", 0)]).unwrap_err();
    assert!(
        error.ends_with("usage.jsonl, line 2: not JSON of a usage file from column 2 on"),
        "{error}"
    );
}

#[tokio::test]
async fn the_last_error_says_why_a_file_cannot_be_made_smaller() {
    let folder = Folder::new();
    let sink = JsonLines::options().max_size(0).open(folder.file()).unwrap();
    let usage = Usage::new();
    let writer = usage.flush_to(sink.clone()).every(Duration::from_secs(3600)).in_thread().unwrap();
    let mut file = OpenOptions::new().append(true).open(folder.file()).unwrap();
    file.write_all(&[&[b'x'; MIN_SIZE as usize][..], b"\n"].concat()).unwrap();
    for number in 1..4 {
        use_key(&usage);
        let error = writer.flush().await.unwrap_err().to_string();
        assert!(error.starts_with("the usage was written, but: "), "{error}");
        assert!(error.contains(": not JSON of a usage file"), "{error}");
        let text = fs::read_to_string(folder.file()).unwrap();
        assert_eq!(text.matches("\"accepted\":1").count(), number);
    }
    // An operator removes the file, and the counts go on.
    fs::remove_file(folder.file()).unwrap();
    use_key(&usage);
    writer.flush().await.unwrap();
    assert!(writer.last_error().is_none());
    assert_eq!(total(&folder.file()), 1);
}

fn use_key(usage: &Usage) {
    let client = Client::new("ci").with_key_id("0a1B2c3D");
    usage.on_decision(&Decision::accepted(&client));
}

#[tokio::test]
async fn a_time_without_a_process_is_a_gap_and_an_idle_process_is_none() {
    let folder = Folder::new();
    let header = "{\"v\":1,\"kind\":\"usage\",\"since\":\"2020-01-01T00:00:00Z\"}\n";
    let ran = "{\"ran_from\":\"2020-01-01T00:00:00Z\",\"ran_until\":\"2020-02-01T00:00:00Z\"}\n";
    fs::write(folder.file(), format!("{header}{ran}")).unwrap();
    let before = SystemTime::now() - Duration::from_secs(1);
    let until_now = |history: &UsageHistory| {
        let gap = &history.gaps()[0];
        gap.start == at(1_580_515_200) && gap.end >= before && history.gaps().len() == 1
    };
    assert!(until_now(&read(&folder.file())));
    // The writer says that the process counts, although no key is used.
    let usage = Usage::new();
    let sink = JsonLines::options().max_size(0).open(folder.file()).unwrap();
    let writer = usage.flush_to(sink.clone()).every(Duration::from_secs(3600)).in_thread().unwrap();
    writer.flush().await.unwrap();
    writer.flush().await.unwrap();
    let text = fs::read_to_string(folder.file()).unwrap();
    assert_eq!(text.matches("ran_from").count(), 2);
    assert!(until_now(&read(&folder.file())));
    // The runs stay if the file gets smaller or begins anew.
    (0..700).for_each(|_| use_key_of(&sink));
    assert!(fs::metadata(folder.file()).unwrap().len() < MIN_SIZE);
    assert!(until_now(&read(&folder.file())));
    fs::remove_file(folder.file()).unwrap();
    use_key_of(&sink);
    assert!(until_now(&read(&folder.file())));
}

fn use_key_of(sink: &JsonLines) {
    let sink = sink.clone();
    thread::spawn(move || write(&sink, vec![row("a", 0)]).unwrap()).join().unwrap();
}

#[test]
fn the_client_of_a_rejected_key_comes_from_other_lines() {
    let folder = Folder::new();
    let sink = JsonLines::open(folder.file()).unwrap();
    let mut rejected = Counts::default();
    rejected.rejected = 1;
    let without = |key: &str| UsageRow::new(Subject::key(key, None), at(NOON), rejected, None);
    write(&sink, vec![without("a"), without("b"), without("c")]).unwrap();
    let of = |key: &str, client: &str| {
        UsageRow::new(Subject::key(key, Some(client)), at(NOON), accepted(1), Some(at(NOON)))
    };
    write(&sink, vec![of("a", "ci"), of("b", "ci"), of("b", "other")]).unwrap();
    let history = read(&folder.file());
    let clients: Vec<_> = { history.rows().iter() }
        .filter(|row| row.counts().rejected == 1)
        .map(|row| (row.key_id().unwrap(), row.client()))
        .collect();
    assert_eq!(clients, [("b", None), ("c", None), ("a", Some("ci"))]);
}

#[test]
fn a_file_that_disappears_and_cannot_be_read_begins_anew_without_older_uses() {
    let folder = Folder::new();
    let header = "{\"v\":1,\"kind\":\"usage\",\"since\":\"2020-01-01T00:00:00Z\"}\n";
    fs::write(folder.file(), format!("{header}no JSON\n")).unwrap();
    let sink = JsonLines::open(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    let before = SystemTime::now() - Duration::from_secs(1);
    write(&sink, vec![row("a", 0)]).unwrap();
    // The last uses of the old file are lost.
    assert!(read(&folder.file()).since() >= Some(before));
}

#[test]
fn a_first_line_that_a_crash_cut_off_begins_anew() {
    let header = "{\"v\":1,\"kind\":\"usage\",\"since\":\"2020-01-01T00:00:00Z\"}";
    for len in [1, 20, header.len() - 1, header.len()] {
        let folder = Folder::new();
        fs::write(folder.file(), &header[..len]).unwrap();
        let before = SystemTime::now() - Duration::from_secs(1);
        for number in 0..2 {
            let sink = JsonLines::open(folder.file()).unwrap();
            write(&sink, vec![row("a", number)]).unwrap();
        }
        let history = read(&folder.file());
        assert_eq!((total(&folder.file()), history.cut_off().len()), (2, 0), "{len}");
        assert!(history.since() >= Some(before));
    }
    // The file of another program stays as it is.
    let folder = Folder::new();
    fs::write(folder.file(), "{\"v\":1,\"kind\":\"keys\"").unwrap();
    assert!(JsonLines::open(folder.file()).is_err());
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), "{\"v\":1,\"kind\":\"keys\"");
}

#[test]
fn a_time_after_the_year_9999_is_written_as_its_last_second() {
    let folder = Folder::new();
    let sink = JsonLines::open(folder.file()).unwrap();
    let late = at(1_000_000_000_000);
    let subject = Subject::key("k", Some("ci"));
    write(&sink, vec![UsageRow::new(subject, late, accepted(1), Some(late))]).unwrap();
    assert_eq!(read(&folder.file()).last_uses()[0].at(), at(253_402_300_799));
}
