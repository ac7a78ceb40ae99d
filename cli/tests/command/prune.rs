//! Deletes revoked and expired keys.

use serde_json::json;

use crate::support::fixtures::create_every_state;

#[test]
fn prune_deletes_only_revoked_and_expired_keys() {
    let folder = create_every_state();
    let before = folder.text();
    let outcome = folder.apikey("prune").stdin("y\n").exits(2);
    assert!(outcome.err.starts_with("These keys will be deleted:\n"), "{outcome:?}");
    assert!(outcome.err.ends_with("add --yes to confirm\n"), "{outcome:?}");
    assert_eq!(folder.text(), before);

    let outcome = folder.apikey("prune --yes").exits(0);
    assert_eq!(
        outcome.err,
        "These keys will be deleted:\n  bbbbbbbb  ci  revoked\n  cccccccc  ci  expired\n  eeeeeeee  ci  expired\n\
         Pruned 3 keys.\n"
    );
    let is_left = |line: &&str| !["bbbb", "cccc", "eeee"].iter().any(|id| line.contains(id));
    let left: String = before.split_inclusive('\n').filter(is_left).collect();
    assert_eq!(folder.text(), left);

    let outcome = folder.apikey("prune").exits(0);
    outcome.assert_error("Pruned 0 keys.\n");
    assert_eq!(folder.apikey("prune --json").exits(0).json(), json!({ "pruned": 0 }));
    assert_eq!(folder.text(), left);
}

#[test]
fn on_a_terminal_prune_asks() {
    for (answer, code) in [("y\n", 0), ("\n", 1), ("\x04", 1)] {
        let folder = create_every_state();
        let before = folder.text();
        let terminal = folder.apikey("prune").on_terminal().expect("Delete 3 keys? [y/N] ");
        terminal.type_text(answer).exits(code);
        assert_eq!(folder.records().len(), if code == 0 { 4 } else { 7 });
        assert_eq!(folder.text() == before, code != 0);
    }
    let folder = create_every_state();
    let outcome = folder.apikey("prune --yes --json").exits(0);
    assert_eq!(outcome.json(), json!({ "pruned": 3 }));
}
