//! Each subcommand on a key file and on a database.

use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use tokio::runtime::Builder;
use tower_api_key::{rejection::Reason, store::Mirrored};

use crate::support::{
    Exit, Outcome,
    fixtures::{OTHER, OWN, list_clients, open_broken_pipe, open_failing_outputs},
    stores::{on_both_stores, on_both_with_every_state},
};

#[test]
fn issue_sets_every_field_and_names_the_store() {
    on_both_stores(|store| {
        let words =
            "issue ci --prefix sk_live --scope a --meta plan=pro --meta region=eu=1 --by alice";
        let outcome = store
            .apikey(words)
            .args(&["--name", "CI", "--note", "deploys", "--expires", "90d"])
            .exits(0);
        let (key, noun) = (outcome.key(), store.choose("file", "database"));
        let place = store.folder.file().display().to_string();
        let place = store.choose(&place, &store.name()).to_owned();
        assert_eq!(
            outcome.err,
            format!(
                "Issued {}. The key cannot be shown again, because the {noun} stores only its digest.\n\
                 Wrote {place}.\n",
                key.id
            )
        );
        assert_eq!(store.verify(&key.text), Ok("ci".to_owned()));
        let record = store.record(&key.id);
        let client = record.client();
        assert_eq!(
            client.metadata_entries().collect::<Vec<_>>(),
            [("plan", "pro"), ("region", "eu=1")]
        );
        assert_eq!((client.name(), record.note()), (Some("CI"), Some("deploys")));
        assert_eq!(record.issued_by(), Some("alice"));
        assert!(client.has_scope("a") && record.expires().is_some());

        let shown = store.apikey("issue ci --json --meta plan=free").exits(0).json();
        let (name, other) = (store.choose("file", "store"), store.choose("store", "file_created"));
        assert_eq!(shown[name], place);
        assert_eq!((&shown["metadata"], shown.get(other)), (&json!({ "plan": "free" }), None));
        let outcome = store.apikey("issue ci --meta plan").exits(2);
        outcome
            .assert_error("for '--meta <KEY=VALUE>': expected a key and a value, such as plan=pro");
        store.apikey("issue ci --meta =x").exits(1).assert_error("a metadata key has 1 to 64");
    });
}

#[test]
fn a_new_key_that_cannot_be_printed_is_removed() {
    on_both_stores(|store| {
        let old = store.issue("ci --expires 90d");
        let before = store.records();
        for words in ["issue ci", &format!("rotate {} --overlap 7d --reason x", old.id)] {
            for (why, stdout) in open_failing_outputs() {
                let outcome = store.apikey(words).stdout(stdout).exits(1);
                let error = "cannot write the new key to standard output, so the change was undone";
                assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
                assert!(outcome.err.starts_with(&format!("error: {error}: {why}")), "{outcome:?}");
                assert_eq!(store.records(), before, "{words}");
            }
        }
    });
}

#[test]
fn list_prints_the_keys_of_every_state() {
    on_both_with_every_state(|store| {
        let outcome = store.apikey("list").exits(0);
        let states: Vec<_> =
            outcome.out.lines().skip(1).map(|row| row.split('\t').nth(2).unwrap()).collect();
        assert_eq!(
            states,
            ["active", "revoked", "expired", "rotated", "expired", "not yet", "active"]
        );
        assert!(outcome.out.lines().next().unwrap().ends_with("\tNOTE\tNAME"), "{outcome:?}");
        let first = outcome.out.lines().nth(1).unwrap();
        assert!(first.starts_with("aaaaaaaa\tci\t") && first.ends_with("\tCI"), "{first}");
    });
}

fn ids(outcome: &Outcome) -> Vec<&str> {
    outcome.out.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect()
}

#[test]
fn list_filters_by_client_and_by_end() {
    on_both_with_every_state(|store| {
        assert_eq!(ids(&store.apikey("list --client zeta").exits(0)), ["gggggggg"]);
        let soon = [("soon", "29d"), ("later", "31d"), ("soon", "1h")];
        let soon = soon.map(|(client, time)| store.issue(&format!("{client} --expires {time}")).id);
        let retiring = store.issue("soon").id;
        let rotated = store.apikey(&format!("rotate {retiring} --overlap 2d")).exits(0).key().id;
        store.apikey(&format!("pause {}", soon[2])).exits(0);
        let listed = store.apikey("list --expiring 30d").exits(0);
        let expected = HashSet::from([&*soon[0], &soon[2], &retiring]);
        assert_eq!(ids(&listed).into_iter().collect::<HashSet<_>>(), expected, "not {rotated}");
        assert_eq!(ids(&store.apikey("list --expiring 30d --client later").exits(0)), [""; 0]);
        let listed = store.apikey("list --expiring 40d --client later --json").exits(0);
        assert_eq!(list_clients(&listed), ["later"]);
        let outcome = store.apikey("list --client nobody").exits(0);
        assert_eq!(outcome.err, "No key matches. `apikey list` shows all keys.\n");
        assert_eq!(store.apikey("list --client nobody --json").exits(0).json(), json!([]));
        store.apikey("list --expiring soon").exits(2).assert_error("--expiring <DURATION>");
    });
}

#[test]
fn an_empty_store_is_no_error() {
    on_both_stores(|store| {
        let outcome = store.apikey("list").exits(0);
        assert_eq!(outcome.err, "No keys. `apikey issue CLIENT` issues one.\n");
        assert_eq!(store.apikey("list --json").exits(0).json(), json!([]));
        assert_eq!(store.apikey("prune").exits(0).err, "Pruned 0 keys.\n");
        store.apikey("check").stdin(OWN).exits(1).assert_error("error: invalid: no such key\n");
        store.apikey("revoke --client ci").exits(1).assert_error("this client has no key");
        for words in ["show", "edit --note x", "pause", "resume", "revoke", "rotate --overlap 0"] {
            let outcome = store.apikey(words).arg("0a1B2c3D").exits(1);
            outcome.assert_error("error: no key has this id: `apikey list` shows all ids\n");
        }
    });
}

#[test]
fn rotate_and_revoke_keep_who_did_it_and_why() {
    on_both_stores(|store| {
        let old = store.issue("ci");
        let words = format!("rotate {} --overlap 7d --prefix pk --by alice", old.id);
        let new = store.apikey(&words).args(&["--reason", "once a year"]).exits(0).key();
        assert!(new.text.starts_with("pk_"));
        let (before, after) = (store.record(&old.id), store.record(&new.id));
        assert_eq!(before.rotated_reason(), Some("once a year"));
        assert_eq!((after.issued_by(), before.replaced_by()), (Some("alice"), Some(&*new.id)));
        for key in [&old, &new] {
            assert_eq!(store.verify(&key.text), Ok("ci".to_owned()));
        }

        let words = format!("revoke {} --yes --by bob --reason leaked", new.id);
        assert!(store.apikey(&words).exits(0).err.ends_with("Revoked 1 key.\n"));
        let record = store.record(&new.id);
        assert_eq!((record.revoked_by(), record.revoked_reason()), (Some("bob"), Some("leaked")));
        assert_eq!(store.verify(&new.text), Err("revoked"));
        let outcome = store.apikey("revoke --client ci --yes --by eve --reason x --json").exits(0);
        assert_eq!(outcome.json(), json!({ "revoked": 1 }));
        assert_eq!((store.record(&new.id), store.verify(&old.text)), (record, Err("revoked")));
        store.apikey("revoke --client ci --yes").exits(0).assert_error("Already revoked.\n");
    });
}

#[test]
fn a_database_records_the_user_who_is_logged_in() {
    on_both_stores(|store| {
        let as_user = |words: &str| store.apikey(words).env("USER", "alice");
        let key = as_user("issue ci").exits(0).key();
        as_user(&format!("revoke {} --yes", key.id)).env("SUDO_USER", "bob").exits(0);
        let record = store.record(&key.id);
        let names = (record.issued_by(), record.revoked_by());
        // An older service could not read a key file with these fields.
        let expected =
            if store.is_database() { (Some("alice"), Some("bob")) } else { (None, None) };
        assert_eq!(names, expected);
        assert!(store.is_database() || store.folder.text().starts_with("{\"v\":1}\n"));
    });
}

#[test]
fn check_explains_every_state() {
    on_both_with_every_state(|store| {
        let minted = store.issue("ci").text;
        let mistyped = minted.replace(&minted[minted.len() - 9..], "123456789");
        for (key, code, text) in [
            ("Key-that-works", 0, "valid: key gggggggg of zeta\n"),
            ("Key-revoked", 1, "error: invalid: key bbbbbbbb of ci was revoked "),
            ("Key-expired", 1, "error: invalid: key cccccccc of ci expired "),
            ("Bearer Key-that-works", 1, "error: invalid: the key has `Bearer` in front of it. "),
            (&mistyped, 1, "error: invalid: the key's checksum is wrong"),
            (OTHER, 1, "error: invalid: no such key\n"),
        ] {
            let outcome = store.apikey("check").stdin(key).exits(code);
            let shown = if code == 0 { &outcome.out } else { &outcome.err };
            assert!(shown.starts_with(text), "{key}: {outcome:?}");
        }
    });
}

#[test]
fn prune_deletes_dead_keys() {
    on_both_with_every_state(|store| {
        let preview =
            "These keys will be deleted:\n  bbbbbbbb  ci  revoked\n  cccccccc  ci  expired\n";
        store.apikey("prune").exits(2).assert_error(preview);
        assert_eq!(store.records().len(), 7);
        assert_eq!(store.apikey("prune --yes --json").exits(0).json(), json!({ "pruned": 3 }));
        let left: Vec<_> =
            store.records().iter().map(|record| record.id().unwrap().to_owned()).collect();
        assert_eq!(left, ["aaaaaaaa", "dddddddd", "ffffffff", "gggggggg"]);
    });
}

#[test]
fn an_interrupt_at_a_question_changes_nothing() {
    on_both_with_every_state(|store| {
        let before = store.records();
        for (words, question) in [
            ("revoke --client ci --reason x", "Revoke 5 keys? [y/N] "),
            ("prune", "Delete 3 keys? [y/N] "),
        ] {
            let (ended, shown) =
                store.apikey(words).on_terminal().expect(question).interrupt().finish();
            assert!(matches!(ended, Exit::Signal(2 | 15) | Exit::Code(130)), "{ended:?}: {shown}");
            assert_eq!(store.records(), before, "{words}");
        }
    });
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    on_both_with_every_state(|store| {
        for words in [
            "list",
            "list --json",
            "show aaaaaaaa",
            "show aaaaaaaa --json",
            "edit aaaaaaaa --note x --json",
            "pause aaaaaaaa --json",
            "resume aaaaaaaa --json",
            "usage --json",
            "prune --yes --json",
            "copy --from keys.jsonl --to keys.jsonl --json",
        ] {
            if store.is_database() && words.starts_with("copy") {
                continue;
            }
            let outcome = store.apikey(words).stdout(open_broken_pipe()).exits(0);
            assert_eq!(outcome.err, "", "{words}");
        }
        assert_eq!(store.record("aaaaaaaa").note(), Some("x"));
    });
}

#[test]
fn a_service_follows_the_changes_of_the_command() {
    on_both_stores(|store| {
        let key = store.issue("ci");
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let keys = runtime.block_on(Mirrored::open(store.open_followed())).unwrap();
        let wait = |state: Result<(), Reason>| {
            let started = Instant::now();
            while keys.record(&key.id).unwrap().check(SystemTime::now()) != state {
                assert!(started.elapsed() < Duration::from_secs(20), "{state:?}");
                runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
            }
        };
        wait(Ok(()));
        for (command, state) in [
            ("pause", Err(Reason::Paused)),
            ("resume", Ok(())),
            ("revoke --yes", Err(Reason::Revoked)),
        ] {
            store.apikey(command).arg(&key.id).exits(0);
            wait(state);
        }
    });
}

#[test]
fn two_processes_at_once_lose_no_change() {
    on_both_stores(|store| {
        let keys: Vec<_> = (0..4).map(|_| store.issue("ci")).collect();
        let mut running = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            running.push(store.apikey(&format!("issue new --note {number}")).start());
            running.push(store.apikey(&format!("edit {} --note {number}", key.id)).start());
            running.push(store.apikey(&format!("edit {} --scope s{number}", key.id)).start());
            running.push(store.apikey(&format!("rotate {} --overlap 7d", key.id)).start());
        }
        running.into_iter().for_each(|running| drop(running.exits(0)));
        assert_eq!(store.records().len(), 12);
        for (number, key) in keys.iter().enumerate() {
            let record = store.record(&key.id);
            assert_eq!(record.note(), Some(&*number.to_string()));
            assert!(record.client().has_scope(&format!("s{number}")) && record.retires().is_some());
        }
    });
}
