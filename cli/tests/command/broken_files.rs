//! Files that are broken, empty, folders or links.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::support::{
    Folder, HEADER,
    fixtures::{OTHER, OWN, parse_error},
    record_line,
};

#[test]
fn the_error_on_a_broken_file_names_line_and_reason() {
    let good = record_line("aaaaaaaa", "ci", OWN, "");
    let twice = good.replace("aaaaaaaa", "bbbbbbbb");
    let cut = good.trim_end();
    for (text, place, why) in [
        ("nonsense\n".to_owned(), ", line 1", "the first line of a key file is {\"v\":1}"),
        (good.clone(), ", line 1", "the first line of a key file is {\"v\":1}"),
        ("{\"v\":3}\n".to_owned(), ", line 1", "unknown version of the key file format"),
        (format!("{HEADER}\n# x\n{{oops\n"), ", line 4", "not JSON from column 2 on"),
        (format!("{HEADER}[]\n"), ", line 2", "not a JSON object"),
        (format!("{HEADER}{good}{cut}"), ", line 3", "the last line has no line break"),
        (HEADER.to_owned() + &good.replace("client", "klient"), ", line 2", "`client` is missing"),
        (
            HEADER.to_owned() + &record_line("aaaaaaaa", "ci", OWN, r#","expire":"x""#),
            ", line 2",
            "unknown or repeated field",
        ),
        (HEADER.to_owned() + &good.replace("sha256", "sha1"), ", line 2", "a digest is `sha256:`"),
        (HEADER.to_owned() + &good.replace("aaaaaaaa", "a"), ", line 2", "a key's id is eight"),
        (
            HEADER.to_owned() + &good.replace("\"ci\"", "\" \""),
            ", line 2",
            "the client's id is blank",
        ),
        (
            HEADER.to_owned() + &good.replace("2020-01", "2020-13"),
            ", line 2",
            "`created` is not a time",
        ),
        (format!("{HEADER}{good}{twice}"), ", line 3", "the key is in the keyring already"),
        (format!("{HEADER}{good}{good}"), ", line 3", ""),
    ] {
        let folder = Folder::new();
        folder.write(&text);
        for words in [
            "list",
            "list --json",
            "check",
            "issue ci",
            "rotate aaaaaaaa --overlap 7d",
            "revoke aaaaaaaa --yes",
            "revoke --client ci --yes",
            "import ci",
            "import --bulk",
            "prune --yes",
        ] {
            let outcome = folder.apikey(words).stdin(format!("ci\t{OTHER}")).exits(3);
            let said = format!("{}{place}: {why}", folder.file().display());
            let is_said = match words.contains("--json") {
                true => parse_error(&outcome)["message"].as_str().unwrap().starts_with(&said),
                false => outcome.err.starts_with(&format!("error: {said}")),
            };
            assert!(is_said, "{words}: {outcome:?} instead of {said}");
            assert_eq!((outcome.err.lines().count(), &*outcome.out), (1, ""), "{words}");
            assert_eq!(
                (folder.text(), folder.file_names()),
                (text.clone(), vec!["keys.jsonl".into()])
            );
        }
    }
}

#[test]
fn an_empty_file_is_an_error_except_for_issue() {
    let folder = Folder::new();
    folder.write("");
    for words in ["list", "check", "rotate aaaaaaaa --overlap 0", "revoke aaaaaaaa", "prune"] {
        let outcome = folder.apikey(words).stdin(OWN).exits(3);
        outcome.assert_error("keys.jsonl: the file is empty. Without the first line {\"v\":1}");
        assert_eq!(
            (folder.text(), folder.file_names()),
            (String::new(), vec!["keys.jsonl".into()])
        );
    }
    // `issue` and `import` accept an empty file as a new one.
    let key = folder.issue("ci");
    assert_eq!(folder.verify(&key.text), Ok("ci".to_owned()));
}

#[test]
fn a_folder_is_not_a_key_file() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for words in ["list", "issue ci", "import ci", "prune --yes", "check"] {
        for path in ["sub", "sub/", "."] {
            let outcome = folder.apikey(words).stdin(OWN).arg("--file").arg(path).exits(3);
            outcome.assert_error("error: ");
            outcome.assert_error(": not a regular file\n");
            assert_eq!(folder.file_names(), ["sub"]);
        }
    }
    assert!(fs::read_dir(folder.path().join("sub")).unwrap().next().is_none());
}

#[test]
fn a_symbolic_link_stays_a_link() {
    let folder = Folder::new();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("live.jsonl"), HEADER).unwrap();
    symlink(Path::new("real/live.jsonl"), folder.file()).unwrap();
    let key = folder.issue("ci");
    folder.apikey(&format!("rotate {} --overlap 7d", key.id)).exits(0);
    assert_eq!(fs::read_link(folder.file()).unwrap(), Path::new("real/live.jsonl"));
    assert!(fs::symlink_metadata(real.join("live.jsonl")).unwrap().is_file());
    assert_eq!(folder.verify(&key.text), Ok("ci".to_owned()));
    assert_eq!(folder.file_names(), ["keys.jsonl", "real"]);

    fs::remove_file(folder.file()).unwrap();
    symlink(Path::new("real/nothing.jsonl"), folder.file()).unwrap();
    for words in ["list", "issue ci"] {
        folder.apikey(words).exits(3).assert_error("");
        assert!(!real.join("nothing.jsonl").exists());
    }
}
