//! Files that cannot be written.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, process::Command};

use crate::support::{
    APIKEY, Folder, HEADER, Outcome,
    fixtures::{OTHER, OWN, two_records},
};

/// Returns every subcommand that changes the file, with its input.
fn list_changes(id: &str) -> Vec<(String, &'static str)> {
    vec![
        ("issue ci".to_owned(), ""),
        (format!("rotate {id} --overlap 7d"), ""),
        (format!("revoke {id} --yes"), ""),
        ("revoke --client ci --yes".to_owned(), ""),
        ("import ci".to_owned(), OTHER),
        ("import --bulk".to_owned(), "ci\tAnother-Key-that-was-there\n"),
        ("prune --yes".to_owned(), ""),
    ]
}

/// Runs every change and asserts that it fails, keeps the file and adds no other file.
fn assert_no_change(folder: &Folder, why: &str, run: impl Fn(&str, &str) -> Outcome) {
    let (before, names) = (folder.text(), folder.file_names());
    for (words, input) in list_changes("aaaaaaaa") {
        let outcome = run(&words, input);
        assert_eq!(outcome.code, 3, "{words}: {outcome:?}");
        let said = format!("error: {}: {why}", folder.file().display());
        // Some subcommands print a preview before the error.
        assert!(outcome.err.contains(&said) && outcome.err.ends_with('\n'), "{words}: {outcome:?}");
        assert_eq!((&*outcome.out, &*folder.text()), ("", &*before), "{words}");
        let left: Vec<_> =
            folder.file_names().into_iter().filter(|name| !name.ends_with(".lock")).collect();
        assert!(left.iter().eq(names.iter().filter(|name| !name.ends_with(".lock"))), "{left:?}");
    }
    folder.apikey("list").exits(0);
}

#[test]
fn a_full_disk_leaves_the_old_file_complete() {
    let folder = Folder::new();
    let is_mounted =
        folder.mount(&["-t", "tmpfs", "-o", "size=64k", "apikey-tests"], folder.path());
    if !is_mounted {
        return println!("skipped: this user may not mount a small disk");
    }
    folder.write(&(HEADER.to_owned() + &two_records().concat()));
    let mut file = fs::File::create(folder.path().join("filler")).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    assert_no_change(
        &folder,
        "cannot write the new file: No space left on device",
        |words, input| folder.apikey(words).stdin(input).finish(),
    );
    assert_eq!(folder.verify(OWN), Ok("ci".to_owned()));
    // Other tests may have inherited the file at a fork, so removing it would not free the disk at once.
    file.set_len(0).unwrap();
    folder.issue("ci");
}

#[test]
fn the_error_on_a_read_only_disk_suggests_the_source_of_the_file() {
    let folder = Folder::new();
    if !folder.mount(&["-t", "tmpfs", "apikey-tests"], folder.path()) {
        return println!("skipped: this user may not mount a disk");
    }
    folder.write(&(HEADER.to_owned() + &two_records().concat()));
    assert!(folder.mount(&["-o", "remount,ro"], folder.path()));
    let why = "the file is on a read-only file system. Change it at its source, such as the Secret";
    assert_no_change(&folder, why, |words, input| folder.apikey(words).stdin(input).finish());
}

#[test]
fn the_error_on_a_mounted_file_suggests_mounting_its_folder() {
    let folder = Folder::with(&two_records());
    let file = folder.file();
    if !folder.mount(&["--bind", file.to_str().unwrap()], &file) {
        return println!("skipped: this user may not mount a file");
    }
    let why = "the file is mounted by itself, so this process cannot replace it. Change it at its source, or \
               mount its folder";
    assert_no_change(&folder, why, |words, input| folder.apikey(words).stdin(input).finish());
}

/// Returns a user who is not root and can run the command, because file modes do not limit root.
pub(crate) fn unprivileged_user() -> Option<(u32, u32)> {
    use std::os::unix::process::CommandExt as _;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if !user.is_root() {
        return Some((user.as_raw(), group.as_raw()));
    }
    let (user, group) = (65_534, 65_534);
    let version = Command::new(APIKEY).arg("--version").uid(user).gid(group).output();
    version.is_ok_and(|version| version.status.success()).then_some((user, group))
}

#[test]
fn the_error_on_a_read_only_folder_names_the_missing_permission() {
    let Some(user) = unprivileged_user() else {
        return println!("skipped: no other user may run the command where it was built");
    };
    let folder = Folder::with(&two_records());
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let run = |words: &str, input: &str| folder.apikey(words).stdin(input).user(user).finish();
    let why = "this user may not write to the folder, and a change creates a new file and a lock there. \
               Change the file as the user who may";
    assert_no_change(&folder, why, run);
    assert_eq!(folder.file_names(), ["keys.jsonl"]);
    assert_eq!(run("list", "").code, 0);
    assert_eq!(run("check", OWN).code, 0);

    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = run("list", "");
    assert_eq!(outcome.code, 3, "{outcome:?}");
    outcome.assert_error("keys.jsonl: cannot read the file: Permission denied");
}

#[test]
fn a_file_of_another_user_is_not_changed() {
    let own = rustix::process::geteuid().as_raw();
    let Some(user) = unprivileged_user().filter(|(user, _)| *user != own) else {
        return println!("skipped: no other user may run the command");
    };
    let folder = Folder::with(&two_records());
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let why = "the file belongs to another user or group, and this process cannot keep its owner. \
               Change the file as its owner";
    assert_no_change(&folder, why, |words, input| {
        folder.apikey(words).stdin(input).user(user).finish()
    });
}
