//! Shows, edits, pauses and resumes a key.

use serde_json::{Value, json};

use crate::support::stores::{on_both_stores, on_both_with_every_state};

#[test]
fn edit_changes_and_clears_fields_without_a_new_key() {
    on_both_stores(|store| {
        let words = "ci --scope a --name CI --note n --meta plan=pro --expires 90d --not-before 1h";
        let key = store.issue(words);
        let before = store.record(&key.id);
        let edit = |words: &str| store.apikey(&format!("edit {} {words}", key.id));
        let outcome = edit("--scope b,c --meta region=eu --note new").exits(0);
        assert_eq!(outcome.err, format!("Changed {}. It is not valid yet.\n", key.id));
        let record = store.record(&key.id);
        let client = record.client();
        assert_eq!(client.scopes().collect::<Vec<_>>(), ["b", "c"]);
        let metadata = |record: &tower_api_key::record::Record| {
            let entries = record.client().metadata_entries();
            entries.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(metadata(&record), ["plan=pro", "region=eu"]);
        assert_eq!((client.name(), record.note()), (Some("CI"), Some("new")));
        assert_eq!(
            (record.expires(), record.not_before()),
            (before.expires(), before.not_before())
        );
        assert_eq!((record.digest(), record.created()), (before.digest(), before.created()));

        edit("--clear not-before,meta --meta plan=free").exits(0).assert_error("Changed ");
        assert_eq!(metadata(&store.record(&key.id)), ["plan=free"]);
        assert_eq!(store.verify(&key.text), Ok("ci".to_owned()));
        edit("--expires 2099-12-31T00:00:00Z").exits(0);
        let shown = edit("--name Robot --json").exits(0).json();
        assert_eq!((&shown["name"], &shown["changed"]), (&json!("Robot"), &json!(true)));
        assert_eq!(shown["expires"], "2099-12-31T00:00:00Z");
        assert_eq!((&shown["scopes"], &shown["note"]), (&json!(["b", "c"]), &json!("new")));
        let shown = edit("--clear scope,name,note --clear expires,meta --json").exits(0).json();
        for field in ["name", "note", "expires", "not_before"] {
            assert_eq!(shown[field], Value::Null, "{field}");
        }
        assert_eq!((&shown["scopes"], &shown["metadata"]), (&json!([]), &json!({})));
        // The second call changes nothing.
        let all = store.records();
        let outcome = edit("--clear scope,name,note --clear expires,meta").exits(0);
        outcome.assert_error(&format!("Nothing changed, because {} has these values", key.id));
        assert_eq!(edit("--clear note --json").exits(0).json()["changed"], false);
        assert_eq!(store.records(), all);
    });
}

#[test]
fn edit_rejects_invalid_values_and_changes_nothing() {
    on_both_with_every_state(|store| {
        let before = store.records();
        for (words, code, why) in [
            ("edit aaaaaaaa", 2, "--clear <FIELD>"),
            ("edit --note x", 2, "<KEY_ID>"),
            (
                "edit aaaaaaaa --clear id",
                2,
                "possible values: scope, name, meta, expires, not-before, note",
            ),
            ("edit aaaaaaaa --scope a,", 1, "(scope 2)"),
            ("edit aaaaaaaa --meta plan", 2, "expected a key and a value"),
            ("edit aaaaaaaa --expires 2020-01-01", 1, "--expires is in the past"),
            ("edit aaaaaaaa --not-before 2499-01-01 --expires 1d", 1, "is before --not-before"),
            ("edit ffffffff --expires 1d", 1, "the key would expire before it is valid"),
            ("edit aaaaaaaa --by x --note y", 2, "unexpected argument"),
            ("edit aaaaaaaa bbbbbbbb --note y", 2, "unexpected argument"),
        ] {
            store.apikey(words).exits(code).assert_error(why);
            assert_eq!(store.records(), before, "{words}");
        }
        // A revoked key stays revoked, and its note can change.
        store
            .apikey("edit bbbbbbbb --note why")
            .exits(0)
            .assert_error("Changed bbbbbbbb. It is revoked.");
        assert_eq!(store.verify("Key-revoked"), Err("revoked"));
    });
}

#[test]
fn a_paused_key_is_rejected_until_it_is_resumed() {
    on_both_stores(|store| {
        let key = store.issue("ci");
        let run = |command: &str| store.apikey(&format!("{command} {}", key.id)).exits(0);
        assert_eq!(run("pause").err, format!("Paused {}.\n", key.id));
        assert_eq!(store.verify(&key.text), Err("paused"));
        let since = store.record(&key.id).paused();
        assert_eq!(
            run("pause").err,
            format!("Nothing changed, because {} is paused already.\n", key.id)
        );
        assert_eq!(
            (run("pause --json").json()["changed"].clone(), store.record(&key.id).paused()),
            (json!(false), since)
        );
        let listed = store.apikey("list").exits(0);
        assert!(listed.out.contains("\tpaused\t"), "{listed:?}");
        let outcome = store.apikey("check").stdin(&key.text).exits(1);
        outcome.assert_error(&format!("error: invalid: key {} of ci was paused ", key.id));
        let shown = store.apikey("check --json").stdin(&key.text).exits(1).json();
        assert_eq!((&shown["reason"], &shown["state"]), (&json!("paused"), &json!("paused")));

        let shown = run("resume --json").json();
        assert_eq!((&shown["changed"], &shown["state"]), (&json!(true), &json!("active")));
        assert_eq!(store.verify(&key.text), Ok("ci".to_owned()));
        assert_eq!(
            run("resume").err,
            format!("Nothing changed, because {} is not paused.\n", key.id)
        );
    });
}

#[test]
fn resume_says_if_the_key_is_rejected_all_the_same() {
    on_both_with_every_state(|store| {
        store.apikey("pause cccccccc").exits(0);
        assert_eq!(
            store.apikey("resume cccccccc").exits(0).err,
            "Resumed cccccccc. It is expired.\n"
        );
        for command in ["pause", "resume"] {
            let outcome = store.apikey(&format!("{command} bbbbbbbb")).exits(1);
            outcome.assert_error("error: the key is revoked, and never becomes valid again\n");
        }
    });
}

#[test]
fn show_prints_all_fields() {
    on_both_stores(|store| {
        let words = "ci --scope a,b --meta plan=pro --by alice --expires 2099-12-31 --prefix sk";
        let key = store.issue(words);
        let new =
            store.apikey(&format!("rotate {} --overlap 1d --reason yearly", key.id)).exits(0).key();
        store.apikey(&format!("pause {}", key.id)).exits(0);
        store.apikey(&format!("revoke {} --yes --by bob --reason leaked", key.id)).exits(0);
        let outcome = store.apikey(&format!("show {}", key.id)).exits(0);
        assert!(
            outcome.out.starts_with(&format!("FIELD\tVALUE\nid\t{}\nclient\tci\n", key.id)),
            "{outcome:?}"
        );
        for row in [
            "scopes\ta b",
            "metadata\tplan=pro",
            "state\trevoked",
            "prefix\tsk",
            "issued by\talice",
            "expires\t2100-01-01T00:00:00Z",
            "rotated because\tyearly",
            &format!("replaced by\t{}", new.id),
            "revoked by\tbob",
            "revoked because\tleaked",
        ] {
            assert!(outcome.out.lines().any(|line| line == row), "{row}: {outcome:?}");
        }
        for name in ["created", "rotated", "retires", "paused", "revoked"] {
            let start = format!("\n{name}\t20");
            assert!(outcome.out.contains(&start), "{name}: {outcome:?}");
        }
        assert!(!outcome.out.contains("\nnote\t"), "{outcome:?}");
        let shown = store.apikey(&format!("show {} --json", key.id)).exits(0).json();
        let listed = store.apikey("list --json").exits(0).json();
        let listed =
            listed.as_array().unwrap().iter().find(|it| it["id"] == *key.id).unwrap().clone();
        for (field, value) in shown.as_object().unwrap() {
            assert_eq!(listed[field], *value, "{field}");
        }
        let shown =
            store.apikey(&format!("show {}", new.id)).env("TERM", "dumb").on_terminal().exits(0);
        assert!(shown.contains("less than a minute ago") && shown.contains("in 7"), "{shown}");
    });
}

#[test]
fn a_field_cannot_control_the_terminal() {
    on_both_stores(|store| {
        let outcome = store.apikey("issue ci --note").arg("\x1b[31mred\nline\t\u{202e}").exits(0);
        let id = outcome.key().id;
        let words = format!("edit {id} --meta");
        store.apikey(&words).arg("plan=\x1b[2J").exits(0);
        let words = format!("revoke {id} --yes --by");
        store.apikey(&words).args(&["a\x1bb", "--reason", "c\x07d"]).exits(0);
        for words in [format!("show {id}"), format!("show {id} --json")] {
            let outcome = store.apikey(&words).exits(0);
            let is_plain = |char: char| char == '\n' || char == '\t' || !char.is_control();
            assert!(
                outcome.out.chars().all(is_plain) && !outcome.out.contains('\u{202e}'),
                "{outcome:?}"
            );
        }
    });
}
