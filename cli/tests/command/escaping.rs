//! Text from the file cannot control a terminal or imitate other text.

use crate::support::{
    Folder, HEADER,
    fixtures::{OTHER, OWN, open_failing_outputs},
    record_line,
};

#[test]
fn a_note_cannot_control_the_terminal() {
    let folder = Folder::new();
    let note =
        "bell\x07 red\x1b[31m title\x1b]0;x\x07 csi\u{9b}2J\nnew line\ttab\rback \u{202e}right";
    folder.apikey("issue ci --note").arg(note).exits(0);
    let escaped = r"bell\u{7} red\u{1b}[31m title\u{1b}]0;x\u{7} csi\u{9b}2J\nnew line\ttab\rback \u{202e}right";

    let piped = folder.apikey("list").exits(0);
    let row = piped.out.lines().nth(1).unwrap();
    assert_eq!(row.split('\t').nth(7), Some(escaped), "{piped:?}");
    assert_eq!(piped.out.lines().count(), 2);
    let shown = folder.apikey("list").env("NO_COLOR", "1").on_terminal().exits(0);
    assert!(shown.contains(escaped), "{shown}");
    assert!(!shown.contains(|char: char| char.is_control() && char != '\n'), "{shown}");
    assert_eq!(shown.lines().count(), 2);

    // JSON has the whole note, with JSON's own escapes.
    let listed = folder.apikey("list --json").exits(0);
    let raw = |char: char| char != '\n' && char.is_control() || char == '\u{202e}';
    assert!(!listed.out.contains(raw), "{listed:?}");
    assert_eq!(listed.json()[0]["note"], note);
}

/// Client ids that look alike, and their form in the list.
const SIMILAR: [(&str, &str); 8] = [
    ("admin", "admin"),
    ("admin\u{200b}", r"admin\u{200b}"),
    ("admin\u{a0}", r"admin\u{a0}"),
    ("\u{feff}admin", r"\u{feff}admin"),
    ("admin\u{e0061}", r"admin\u{e0061}"),
    ("admin\u{3164}", r"admin\u{3164}"),
    ("admin\u{fe0f}", r"admin\u{fe0f}"),
    (r"admin\\u{200b}", r"admin\\u{200b}"),
];

#[test]
fn list_makes_similar_clients_distinguishable() {
    let lines = (1..).zip(SIMILAR).map(|(number, (client, _))| {
        record_line(&format!("Alike00{number}"), client, &format!("Key-of-{number}"), "")
    });
    let folder = Folder::with(&lines.collect::<Vec<_>>());
    let piped = folder.apikey("list").exits(0);
    let shown = folder.apikey("list").on_terminal().exits(0);
    let json = folder.apikey("list --json").exits(0);
    for (client, escaped) in SIMILAR {
        let is_listed = |line: &str| line.split('\t').nth(1) == Some(escaped);
        assert!(piped.out.lines().any(is_listed), "{escaped} is not in {piped:?}");
        assert!(shown.contains(&format!("{escaped} ")), "{escaped} is not in {shown}");
        let client = client.replace("\\\\", "\\");
        let clients = json.json();
        assert!(clients.as_array().unwrap().iter().any(|it| it["client"] == client), "{json:?}");
    }
    for out in [&piped.out, &shown, &json.out] {
        assert!(!out.contains(|char: char| !char.is_ascii()), "{out}");
    }
}

#[test]
fn a_client_that_looks_like_another_gets_no_key_but_can_rotate_its_key() {
    let folder = Folder::with(&[record_line("Odd00001", "admin\u{200b}", OWN, "")]);
    let before = folder.text();
    let why =
        "the client's id begins or ends with a blank, or holds a character that cannot be seen";
    folder.apikey("issue").arg("admin\u{200b}").exits(1).assert_error(why);
    folder.apikey("issue").arg(" admin").exits(1).assert_error(why);
    folder.apikey("import").arg("admin\u{a0}").stdin(OTHER).exits(1).assert_error(why);
    folder.apikey("import --bulk").stdin(format!("admin \t{OTHER}\n")).exits(1).assert_error(why);
    let outcome = folder.apikey("issue").arg("a".repeat(129)).exits(1);
    outcome.assert_error("the client's id has more than 128 characters");
    let outcome = folder.apikey("issue ci --name").arg("CI\u{200b}").exits(1);
    outcome.assert_error("the client's name begins or ends with a blank");
    assert_eq!(folder.text(), before);

    for (_, stdout) in open_failing_outputs() {
        let outcome = folder.apikey("rotate Odd00001 --overlap 1d").stdout(stdout).exits(1);
        outcome.assert_error("so the change was undone");
        assert_eq!(folder.text(), before);
    }
    let new = folder.apikey("rotate Odd00001 --overlap 1d").exits(0).key();
    for key in [OWN, &new.text] {
        assert_eq!(folder.verify(key), Ok("admin\u{200b}".to_owned()));
    }
}

#[test]
fn a_client_id_cannot_control_the_terminal() {
    let folder = Folder::new();
    // Such a client is only in a file that was written by hand or by an older version.
    folder.write(&(HEADER.to_owned() + &record_line("Odd00001", "c\u{202e}i\u{2066}", OWN, "")));
    let escaped = r"c\u{202e}i\u{2066}";
    assert!(folder.apikey("list").exits(0).out.contains(escaped));
    let checked = folder.apikey("check").stdin(OWN).exits(0);
    assert_eq!(checked.out, format!("valid: key Odd00001 of {escaped}\n"));
    let outcome = folder.apikey("revoke --yes Odd00001").exits(0);
    assert!(outcome.err.contains(escaped) && !outcome.err.contains('\u{202e}'), "{outcome:?}");
    let outcome = folder.apikey("revoke --client").arg("x\x1b[31m\u{202e}").exits(1);
    outcome.assert_error("this client has no key");
    let outcome = folder.apikey("list --file").arg("x\x1b[31m\n").exits(3);
    outcome.assert_error(r"x\u{1b}[31m\n: ");
}
