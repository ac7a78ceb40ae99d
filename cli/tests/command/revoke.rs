//! Revokes keys.

use serde_json::json;

use crate::support::{
    Exit, Folder,
    fixtures::{count_years, create_every_state},
};

#[test]
fn without_a_terminal_revoke_needs_yes() {
    let folder = Folder::new();
    let [one, two, other] = ["ci", "ci", "other"].map(|client| folder.issue(client));
    let before = folder.text();
    let needs_yes = "error: cannot ask for confirmation without a terminal: add --yes to confirm\n";
    for (words, ids) in [
        (format!("revoke {}", one.id), &[&one][..]),
        ("revoke --client ci".to_owned(), &[&one, &two]),
    ] {
        for answer in ["", "y\n"] {
            let outcome = folder.apikey(&words).stdin(answer).exits(2);
            assert_eq!((&*outcome.out, folder.text()), ("", before.clone()));
            assert!(
                outcome.err.starts_with("These keys will be revoked permanently:\n"),
                "{outcome:?}"
            );
            assert!(outcome.err.ends_with(needs_yes), "{outcome:?}");
            for id in ids {
                assert!(outcome.err.contains(&format!("  {}  ci  active\n", id.id)), "{outcome:?}");
            }
            assert_eq!(outcome.err.lines().count(), 2 + ids.len(), "{outcome:?}");
            assert!(!outcome.err.contains(&other.id));
        }
    }
}

#[test]
fn with_yes_revoke_revokes_one_key_or_all_keys_of_a_client() {
    let folder = Folder::new();
    let keys = ["ci", "ci", "ci", "other"].map(|client| folder.issue(client));
    let outcome = folder.apikey("revoke --yes").arg(&keys[0].id).exits(0);
    assert!(outcome.err.ends_with("Revoked 1 key.\n"), "{outcome:?}");
    let valid = || keys.clone().map(|key| folder.verify(&key.text).is_ok());
    assert_eq!(valid(), [false, true, true, true]);
    assert_eq!(folder.verify(&keys[0].text), Err("revoked"));
    assert!(folder.record(&keys[0].id).revoked().is_some());

    let outcome = folder.apikey("revoke --client ci -y").exits(0);
    assert!(outcome.err.ends_with("Revoked 2 keys.\n"), "{outcome:?}");
    assert!(!outcome.err.contains(&keys[0].id), "{outcome:?}");
    assert_eq!(valid(), [false, false, false, true]);

    let outcome = folder.apikey("revoke --client other --yes --json").exits(0);
    assert_eq!(outcome.json(), json!({ "revoked": 1 }));
    assert_eq!(valid(), [false; 4]);
    assert_eq!(folder.records().len(), 4);
}

#[test]
fn revoking_twice_succeeds_and_keeps_the_first_time() {
    let folder = create_every_state();
    let before = folder.text();
    let outcome = folder.apikey("revoke bbbbbbbb").exits(0);
    outcome.assert_error("Already revoked.\n");
    let outcome = folder.apikey("revoke bbbbbbbb --json --yes").exits(0);
    assert_eq!(outcome.json(), json!({ "revoked": 0 }));
    assert_eq!(folder.text(), before);
    folder.apikey("revoke --client ci --yes").exits(0);
    let once = folder.text();
    folder.apikey("revoke --client ci --yes").exits(0).assert_error("Already revoked.\n");
    assert_eq!(folder.text(), once);
    assert_eq!(folder.record("bbbbbbbb").revoked().map(count_years), Some(51));
}

#[test]
fn revoke_rejects_invalid_arguments_and_changes_nothing() {
    let folder = create_every_state();
    let before = folder.text();
    for (words, code, why) in [
        ("revoke 00000000", 1, "no key has this id: `apikey list` shows all ids"),
        ("revoke ci", 1, "no key has this id"),
        ("revoke --client nobody", 1, "this client has no key: `apikey list` shows all"),
        ("revoke --client CI", 1, "this client has no key"),
        ("revoke --client aaaaaaaa", 1, "this client has no key"),
        ("revoke aaaaaaaa --client ci", 2, "cannot be used with"),
        ("revoke aaaaaaaa bbbbbbbb", 2, "unexpected argument"),
        ("revoke", 2, "<KEY_ID|--client <ID>>"),
        ("revoke --client", 2, "a value is required"),
    ] {
        for yes in ["", " --yes"] {
            folder.apikey(&format!("{words}{yes}")).exits(code).assert_error(why);
            assert_eq!(folder.text(), before, "{words}");
        }
    }
    folder.apikey("revoke --yes --client").arg("").exits(1).assert_error("has no key");
}

#[test]
fn on_a_terminal_only_yes_revokes() {
    for (answer, is_yes) in [
        ("y\n", true),
        ("Y\n", true),
        (" yes \n", true),
        ("\n", false),
        ("n\n", false),
        ("no\n", false),
        ("yeah\n", false),
        ("\x04", false),
    ] {
        let folder = Folder::new();
        let keys = ["ci", "ci", "other"].map(|client| folder.issue(client));
        let before = folder.text();
        let terminal = folder.apikey("revoke --client ci").on_terminal();
        let terminal = terminal.expect("Revoke 2 keys? [y/N] ");
        assert_eq!(folder.text(), before);
        let shown = terminal.type_text(answer).exits(i32::from(!is_yes));
        assert!(shown.contains(&format!("  {}  ci  active\n", keys[0].id)), "{shown}");
        let valid = keys.map(|key| folder.verify(&key.text).is_ok());
        assert_eq!(valid, [!is_yes, !is_yes, true], "{answer:?}");
        let last = if is_yes { "Revoked 2 keys.\n" } else { "error: nothing was changed\n" };
        assert!(shown.ends_with(last), "{shown}");
        assert_eq!(is_yes, folder.text() != before);
    }
}

#[test]
fn an_interrupt_at_the_question_changes_nothing() {
    for (words, question) in [
        ("revoke aaaaaaaa", "Revoke 1 key? [y/N] "),
        ("revoke --client ci", "Revoke 5 keys? [y/N] "),
        ("prune", "Delete 3 keys? [y/N] "),
    ] {
        let folder = create_every_state();
        let before = folder.text();
        let terminal = folder.apikey(words).on_terminal().expect(question);
        let (ended, shown) = terminal.interrupt().finish();
        assert!(matches!(ended, Exit::Signal(2 | 15) | Exit::Code(130)), "{ended:?}: {shown}");
        assert_eq!((folder.text(), folder.file_names()), (before, vec!["keys.jsonl".to_owned()]));
    }
}

#[test]
fn with_yes_the_command_asks_nothing_on_a_terminal() {
    let folder = create_every_state();
    let shown = folder.apikey("revoke --client zeta --yes").on_terminal().exits(0);
    assert_eq!(
        shown,
        "These keys will be revoked permanently:\n  gggggggg  zeta  active\nRevoked 1 key.\n"
    );
    let shown = folder.apikey("prune -y").on_terminal().exits(0);
    assert!(shown.ends_with("Pruned 4 keys.\n") && !shown.contains('?'), "{shown}");
}
