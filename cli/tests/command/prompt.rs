//! The prompt that hides a key.

use crate::support::{
    Folder,
    fixtures::{OWN, PROMPT, create_every_state},
};

#[test]
fn the_prompt_does_not_show_a_typed_key() {
    let folder = create_every_state();
    let valid = format!("{PROMPT}\nvalid: key gggggggg of zeta\n");
    for typed in [
        "Key-that-works\n",
        "Key-that-works\r",
        // The two codes of Backspace, then Ctrl-U, then Ctrl-D after the key.
        "Key-that-wy\x7forkz\x08s\r",
        "\x7f\x08Key-that-works\r",
        "nonsense\x15Key-that-works\n",
        "Key-that-works\x04",
    ] {
        let terminal = folder.apikey("check").on_terminal().expect(PROMPT);
        assert_eq!(terminal.type_secret(typed).exits(0), valid, "{typed:?}");
    }
    let terminal = folder.apikey("check").on_terminal().expect(PROMPT);
    let shown = terminal.type_secret("Key-revoked\n").exits(1);
    assert!(
        shown.starts_with(&format!("{PROMPT}\nerror: invalid: key bbbbbbbb of ci was")),
        "{shown}"
    );
}

#[test]
fn the_prompt_of_import_accepts_a_key() {
    let folder = Folder::new();
    let terminal = folder.apikey("import ci").on_terminal().expect(PROMPT);
    let shown = terminal.type_secret(&format!("{OWN}\n")).exits(0);
    let [record] = &*folder.records() else { panic!("{}", folder.text()) };
    let said =
        format!("Imported as {}.\nCreated {}.\n", record.id().unwrap(), folder.file().display());
    assert_eq!(shown, format!("{PROMPT}\n{said}"));
    assert_eq!(folder.verify(OWN), Ok("ci".to_owned()));
}

#[test]
fn an_interrupted_prompt_exits_with_130_and_changes_nothing() {
    for typed in ["\x03", "Key-that-w\x03", "\x1c", "Key\x1c", "\x04", "Key\x7f\x7f\x7f\x04"] {
        let folder = create_every_state();
        let before = folder.text();
        for words in ["import ci", "check"] {
            let terminal = folder.apikey(words).on_terminal().expect(PROMPT);
            let shown = terminal.type_secret(typed).exits(130);
            assert_eq!(shown, format!("{PROMPT}\n"), "{typed:?}");
            assert_eq!(
                (folder.text(), folder.file_names()),
                (before.clone(), vec!["keys.jsonl".into()])
            );
        }
    }
    let folder = Folder::new();
    folder.apikey("import ci").on_terminal().expect(PROMPT).type_text("\x03").exits(130);
    assert!(folder.file_names().is_empty());
}

#[test]
fn an_empty_or_overlong_key_at_the_prompt_is_not_imported() {
    let folder = Folder::new();
    let long = format!("{}\n", "L".repeat(4097));
    for (typed, why) in [
        ("\n", "error: the key is empty or blank"),
        (&*long, "error: the input is too long for a key"),
    ] {
        let terminal = folder.apikey("import ci").on_terminal().expect(PROMPT);
        let shown = terminal.type_secret(typed).exits(1);
        assert!(shown.starts_with(&format!("{PROMPT}\n{why}")), "{shown}");
        assert!(!folder.file().exists());
    }
}

#[test]
fn the_prompt_does_not_show_the_rest_of_an_overlong_line() {
    let folder = Folder::new();
    folder.keep_secret("-and-the-rest");
    let line = format!("{}\n", "-and-the-rest".repeat(600));
    let terminal = folder.apikey("import ci").on_terminal().expect(PROMPT);
    let shown = terminal.type_secret(&line).exits(1);
    assert_eq!(shown, format!("{PROMPT}\nerror: the input is too long for a key\n"));
}
