//! A key file in a folder that another user can write, and on a mount. `.ci/run` runs these tests as root,
//! with `-- --ignored`.

#![cfg(all(feature = "file", feature = "tracing", target_os = "linux"))]

mod support;

use support::key_file as key_file_support;

use std::{
    fs::{self, Permissions},
    io::Read as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use key_file_support::{
    Events, Folder, Mount, NOBODY, follow, is_root, line, outcome, read, role, soon, text, text_of,
};
use support::{KEY, OTHER, log::Log};
use tower_api_key::{
    Client,
    key::KeyFormat,
    key_file::{KeyFile, KeyFileError, KeyFileErrorKind as Kind},
};

/// The duration of a race between root and the other user.
const RACE: Duration = Duration::from_secs(12);

#[track_caller]
fn needs_root() {
    assert!(is_root(), "this test needs root");
}

#[track_caller]
fn mount(arguments: &[&str], at: &Path) -> Mount {
    Mount::new(arguments, at).expect("root cannot mount on this machine")
}

fn give(path: impl AsRef<Path>, mode: u32, owner: u32) {
    chown(&path, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn issue(path: &Path) -> Result<String, KeyFileError> {
    let minted = read(path)?.issue(&KeyFormat::new("sk_live").unwrap(), Client::new("ci"))?;
    Ok(minted.reveal(str::to_owned))
}

/// Returns a command that runs one test of this program as a user other than root.
fn as_another_user(test: &str, folder: &Path) -> (Command, Folder) {
    // A copy, because the user may not have access to the folder of this program.
    let at = Folder::new();
    let program = at.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(&program);
    command.args([test, "--exact", "--nocapture", "--include-ignored"]).current_dir("/");
    command.env("TOWER_API_KEY_TEST_FOLDER", folder).uid(NOBODY).gid(NOBODY);
    (command, at)
}

const NO_OTHER_USER: &str = "root cannot run a program as another user on this machine";

/// A process of another user, which is killed on drop.
struct Attacker {
    process: Child,
    _program: Folder,
}

impl Attacker {
    /// Runs [`attack`] as a user other than root.
    #[track_caller]
    fn start(attack: &str, folder: &Path, leads_to: &Path) -> Self {
        let (mut command, at) = as_another_user("attack", folder);
        command.env("ATTACK", attack).env("LEADS_TO", leads_to).stdout(Stdio::null());
        let process = command.spawn().expect(NO_OTHER_USER);
        Self { process, _program: at }
    }

    /// Runs an operation as root again and again, and fails if the attack succeeds.
    #[track_caller]
    fn race(mut self, run: impl Fn() -> bool, is_lost: impl Fn() -> Option<String>) {
        let (started, mut runs, mut done) = (Instant::now(), 0_u32, 0_u32);
        while started.elapsed() < RACE {
            runs += 1;
            done += u32::from(run());
            if let Some(how) = is_lost() {
                panic!("the attack succeeded in run {runs}: {how}");
            }
        }
        assert_eq!(
            self.process.try_wait().unwrap(),
            None,
            "the process of the other user has ended"
        );
        println!("{runs} runs, of which {done} issued a key");
        assert!(runs > 20, "only {runs} runs");
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The part of the other user.
#[test]
fn attack() {
    let Some(folder) = role() else { return };
    let leads_to = PathBuf::from(std::env::var_os("LEADS_TO").unwrap());
    let named = |name: &str| folder.join(name);
    let (file, lock) = (named("keys.jsonl"), named("keys.jsonl.lock"));
    let swap = |one: &str, other: &str| fs::rename(named(one), named(other));
    let attack = std::env::var("ATTACK").unwrap();
    fs::write(named("mine"), text([line(2, "mallory", OTHER)])).unwrap();
    _ = symlink(&leads_to, named("link"));
    loop {
        _ = match &*attack {
            "lock" => {
                // A hard link to the symbolic link is faster than a new symbolic link.
                _ = fs::hard_link(named("link"), &lock);
                fs::remove_file(&lock)
            }
            "file" => {
                _ = symlink(&leads_to, named("link"));
                _ = swap("link", "keys.jsonl");
                _ = fs::copy(named("mine"), named("copy"));
                swap("copy", "keys.jsonl")
            }
            "owner" => {
                _ = swap("keys.jsonl", "real");
                _ = fs::copy(named("mine"), &file);
                _ = fs::set_permissions(&file, Permissions::from_mode(0o666));
                swap("real", "keys.jsonl")
            }
            other => panic!("no such attack: {other}"),
        };
    }
}

/// Returns the metadata of the files of a folder.
fn stamps(folder: &Path) -> Vec<(String, u32, u32, u32, u64)> {
    let stamp = |entry: std::io::Result<fs::DirEntry>| {
        let (entry, name) = entry.map(|it| (it.metadata().unwrap(), it.file_name())).unwrap();
        let name = name.into_string().unwrap();
        (name, entry.uid(), entry.gid(), entry.mode(), entry.ino())
    };
    let mut stamps: Vec<_> = fs::read_dir(folder).unwrap().map(stamp).collect();
    stamps.sort();
    stamps
}

/// Returns a folder of the other user with a key file, and a folder that only root can read.
fn folders() -> (Folder, Folder) {
    let (folder, secret) = (Folder::quick(), Folder::quick());
    folder.save(text_of(KEY));
    give(folder.file(), 0o600, NOBODY);
    give(&*folder, 0o755, NOBODY);
    fs::write(secret.join("shadow"), "root's own").unwrap();
    fs::write(secret.file(), text([line(3, "roots-own", "a-key-of-roots-own-service")])).unwrap();
    give(secret.join("shadow"), 0o600, 0);
    give(secret.file(), 0o600, 0);
    give(&*secret, 0o700, 0);
    (folder, secret)
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn a_user_who_replaces_the_lock_by_a_link_gets_no_file_of_root() {
    needs_root();
    for victim in ["shadow", "new"] {
        let (folder, secret) = folders();
        let before = stamps(&secret);
        let attacker = Attacker::start("lock", &folder, &secret.join(victim));
        attacker.race(
            || issue(&folder.file()).is_ok(),
            || {
                let now = stamps(&secret);
                (now != before).then(|| format!("{victim}: {before:?} became {now:?}"))
            },
        );
    }
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn only_a_new_lock_gets_the_owner_of_the_file() {
    needs_root();
    let (folder, secret) = folders();
    let lock = folder.join("keys.jsonl.lock");
    let owner = |path: &Path| {
        let it = fs::symlink_metadata(path).unwrap();
        (it.uid(), it.mode() & 0o777)
    };
    // A hard link to a file of root, which every user can create on some systems.
    fs::hard_link(secret.join("shadow"), &lock).unwrap();
    issue(&folder.file()).unwrap();
    assert_eq!(owner(&secret.join("shadow")), (0, 0o600));
    assert_eq!(fs::read_to_string(secret.join("shadow")).unwrap(), "root's own");

    fs::remove_file(&lock).unwrap();
    issue(&folder.file()).unwrap();
    assert_eq!(owner(&lock), (NOBODY, 0o600));
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn a_user_who_replaces_the_file_by_a_link_cannot_make_root_change_another_file() {
    needs_root();
    let (folder, secret) = folders();
    let before = (stamps(&secret), fs::read_to_string(secret.file()).unwrap());
    let link = |leads_to: &Path| {
        _ = fs::remove_file(folder.join("keys"));
        symlink(leads_to, folder.join("keys")).unwrap();
        lchown(folder.join("keys"), Some(NOBODY), Some(NOBODY)).unwrap();
    };
    // A link of the other user leads to a file or a folder of root.
    link(&secret.file());
    let by_file = issue(&folder.join("keys")).unwrap_err();
    link(&secret);
    for error in [by_file, issue(&folder.join("keys/keys.jsonl")).unwrap_err()] {
        assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
        assert!(error.to_string().ends_with("Change the file by its own path"), "{error}");
    }
    let create = KeyFile::options().create(true).follow(false);
    let new = create.open(folder.join("keys/another.jsonl")).unwrap();
    assert_eq!(new.update(|_| Ok(())).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!((stamps(&secret), fs::read_to_string(secret.file()).unwrap()), before);
    // A link of the other user leads to a file of the same user.
    link(&folder.file());
    issue(&folder.join("keys")).unwrap();

    let attacker = Attacker::start("file", &folder, &secret.file());
    attacker.race(
        || issue(&folder.file()).is_ok(),
        || {
            let now = (stamps(&secret), fs::read_to_string(secret.file()).unwrap());
            (now != before).then(|| format!("{before:?} became {now:?}"))
        },
    );
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn a_user_who_replaces_the_file_does_not_get_its_content() {
    needs_root();
    let folder = Folder::quick();
    let text = text([line(3, "roots-own", KEY)]);
    folder.save(&text);
    give(folder.file(), 0o600, 0);
    give(&*folder, 0o777, 0);
    let is_lost = || {
        for name in fs::read_dir(&*folder).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(mut file) = fs::File::open(&name) else { continue };
            let about = file.metadata().unwrap();
            let mut held = String::new();
            file.read_to_string(&mut held).unwrap();
            if held.contains("roots-own") && (about.uid() != 0 || about.mode() & 0o077 != 0) {
                return Some(format!("{} of {}", name.display(), about.uid()));
            }
        }
        None
    };
    Attacker::start("owner", &folder, Path::new("none")).race(
        || {
            // The other user may have moved the file.
            if !["keys.jsonl", "real"].iter().any(|it| is_of_root(&folder.join(it))) {
                fs::write(folder.join("fresh"), &text).unwrap();
                give(folder.join("fresh"), 0o600, 0);
                _ = fs::rename(folder.join("fresh"), folder.file());
            }
            issue(&folder.file()).is_ok()
        },
        is_lost,
    );
}

fn is_of_root(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.uid() == 0)
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn a_file_that_is_replaced_outside_its_mount_is_a_problem() {
    needs_root();
    let (outside, inside) = (Folder::quick(), Folder::quick());
    outside.save(text_of(KEY));
    inside.save("");
    let bind = ["--bind", &outside.file().display().to_string()];
    let log = Log::default();
    tracing_subscriber::fmt().with_ansi(false).with_writer(log.writer()).init();
    let mounted = mount(&bind, &inside.file());
    let (file, events) = follow(&inside);
    assert_eq!(events.all(), ["loaded 1", "has other names"]);

    // A save in place arrives. A change by the command does not, because it renames the file.
    outside.save(text([line(1, "mobile-app", KEY), line(2, "ci", OTHER)]));
    soon("the file is applied", || outcome(&file, OTHER) == "200 ci");
    read(outside.file()).unwrap().revoke_client("mobile-app").unwrap();
    soon("it is reported", || events.count() == 4);
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
    let status = file.status();
    let problem = status.problem().unwrap();
    assert_eq!(problem.error().kind(), Kind::Unlinked);
    assert!(events.all()[3].starts_with("broken "), "{:?}", events.all());
    assert!(events.all()[3].contains("Mount its folder"), "{:?}", events.all());
    let is_logged = |level: &str, words: &str| {
        let path = inside.file().display().to_string();
        let log = log.text();
        let is_it = |line: &&str| [level, words, &path].iter().all(|it| line.contains(it));
        assert_eq!(log.lines().filter(is_it).count(), 1, "{log}");
    };
    is_logged("WARN", "key file has another name");
    is_logged("ERROR", "was deleted or replaced outside of this mount");

    // The problem stays, because a change inside cannot end it.
    for error in
        [file.update(|_| Ok(())).unwrap_err(), file.revoke_client("ci").map(drop).unwrap_err()]
    {
        assert_eq!(error.kind(), Kind::Unlinked, "{error}");
    }
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(file.status().problem().unwrap().since(), problem.since());
    assert_eq!(events.count(), 4, "it is reported once");
    assert_eq!(KeyFile::open(inside.file()).unwrap_err().kind(), Kind::Unlinked);

    drop(mounted);
    let _mounted = mount(&bind, &inside.file());
    soon("it is reported", || events.all().contains(&"recovered 1".to_owned()));
    assert_eq!(outcome(&file, KEY), "401 revoked");
    assert!(file.status().problem().is_none());
}

/// Returns the events of a file when it is opened, without the load.
#[track_caller]
fn warnings_of(path: &Path, follow: bool) -> Vec<String> {
    let (events, options) = Events::of(KeyFile::options().follow(follow));
    let _file = options.open(path).unwrap();
    let events = events.all();
    assert_eq!(events[0], "loaded 1");
    events[1..].to_vec()
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn a_part_of_the_path_that_another_user_owns_is_reported() {
    needs_root();
    let folder = Folder::quick();
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("keys.jsonl"), text_of(KEY)).unwrap();
    symlink("inner/keys.jsonl", folder.join("link")).unwrap();
    // The owners of the outer folder, the link, the inner folder and the file.
    for (outer, mode, link, inside, file, is_exposed) in [
        (0, 0o755, 0, 0, 0, false),
        (0, 0o755, 0, 0, NOBODY, true),
        (0, 0o755, 0, NOBODY, 0, true),
        (NOBODY, 0o755, 0, 0, 0, true),
        // The owner of a link can replace it only in a folder that every user can write.
        (0, 0o755, NOBODY, 0, 0, false),
        (0, 0o1777, NOBODY, 0, 0, true),
        (0, 0o1777, 0, NOBODY, 0, true),
        (NOBODY, 0o1777, 0, 0, 0, true),
        (0, 0o1777, 0, 0, 0, false),
    ] {
        give(&*folder, mode, outer);
        lchown(folder.join("link"), Some(link), Some(link)).unwrap();
        give(&inner, 0o755, inside);
        give(inner.join("keys.jsonl"), 0o644, file);
        let expected: &[&str] = if is_exposed { &["writable by others"] } else { &[] };
        let owners = format!("{outer} {mode:o} {link} {inside} {file}");
        assert_eq!(warnings_of(&folder.join("link"), true), expected, "{owners}");
        // The command can change the file of a service that runs as its owner.
        let is_owners = file == NOBODY;
        let expected = if is_owners { &[] } else { expected };
        assert_eq!(warnings_of(&folder.join("link"), false), expected, "{owners}");
    }
}

#[test]
#[ignore = "needs root, a second user and a mount; .ci/run runs it"]
fn a_mounted_secret_is_not_reported() {
    if let Some(folder) = role() {
        assert!(warnings_of(&folder.join("app/secret/keys.jsonl"), true).is_empty());
        assert!(warnings_of(&folder.join("app/own/keys.jsonl"), true).is_empty());
        return;
    }
    needs_root();
    let folder = Folder::new();
    let app = folder.join("app");
    let (secret, own) = (app.join("secret"), app.join("own"));
    fs::create_dir_all(&secret).unwrap();
    let _mounted = mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs"], &secret);
    fs::create_dir(secret.join("..2026_11_28")).unwrap();
    fs::write(secret.join("..2026_11_28/keys.jsonl"), text_of(KEY)).unwrap();
    symlink("..2026_11_28", secret.join("..data")).unwrap();
    symlink("..data/keys.jsonl", secret.join("keys.jsonl")).unwrap();
    // A container image can have a folder of one user around the mount, while the service is another user.
    give(&app, 0o755, NOBODY - 1);
    fs::create_dir(&own).unwrap();
    fs::write(own.join("keys.jsonl"), text_of(KEY)).unwrap();
    assert!(warnings_of(&secret.join("keys.jsonl"), true).is_empty());
    assert_eq!(warnings_of(&own.join("keys.jsonl"), true), ["writable by others"]);
    // A service that is not root trusts its own user.
    give(&app, 0o755, NOBODY);
    give(&own, 0o700, NOBODY);
    give(own.join("keys.jsonl"), 0o600, NOBODY);
    let (mut command, _program) = as_another_user("a_mounted_secret_is_not_reported", &folder);
    let output = command.output().expect(NO_OTHER_USER);
    assert!(output.status.success(), "{output:?}");
}
