//! Rotates keys.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::{
    Folder,
    fixtures::{
        OWN, create_every_state, created_and_expires, find_state, open_broken_pipe, parse_error,
    },
    record_line,
};

#[test]
fn both_keys_are_valid_during_the_overlap() {
    let folder = Folder::new();
    let words = "ci --prefix sk_live --scope a --scope b --name CI --note deploys --expires 30d";
    let old = folder.issue(words);
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d", old.id)).exits(0);
    let new = outcome.key();
    assert_eq!(outcome.out, format!("{}\n", new.text));
    assert!(new.text.starts_with("sk_live_"));
    for key in [&old, &new] {
        assert_eq!(folder.verify(&key.text), Ok("ci".to_owned()));
    }
    let listed = folder.apikey("list --json").exits(0).json();
    let find = |id: &str| listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap();
    let retires = find(&old.id)["retires"].as_str().unwrap();
    let (id, old_id) = (&new.id, &old.id);
    let issued = format!("Issued {id}. It replaces {old_id}, which is valid until {retires}.\n");
    assert_eq!(outcome.err, issued);
    let (old, new) = (folder.record(&old.id), folder.record(&new.id));
    let left = old.retires().unwrap().duration_since(SystemTime::now()).unwrap();
    assert_eq!(left.as_secs().div_ceil(3600), 7 * 24);
    assert_eq!((new.client(), new.note()), (old.client(), old.note()));
    assert_eq!((new.format(), new.retires()), (old.format(), None));
    let lifetime = |record: &tower_api_key::record::Record| {
        record.expires().unwrap().duration_since(record.created().unwrap()).unwrap()
    };
    assert!(lifetime(&new) == lifetime(&old), "{:?} {:?}", lifetime(&new), lifetime(&old));
    assert_eq!(find(id)["state"], "active");
    assert_eq!(find(old_id)["state"], "rotated");
}

#[test]
fn rotation_does_not_extend_the_old_key() {
    let folder = Folder::new();
    let old = folder.issue("ci --expires 2d");
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d", old.id)).exits(0);
    let expires = &folder.apikey("list --json").exits(0).json();
    let expires = expires.as_array().unwrap().iter().find(|key| key["id"] == *old.id).unwrap();
    let expires = expires["expires"].as_str().unwrap();
    assert!(outcome.err.ends_with(&format!("which is valid until {expires}.\n")), "{outcome:?}");
}

#[test]
fn without_an_overlap_the_old_key_expires_at_once() {
    for zero in ["0", "0s", "0d"] {
        let folder = Folder::new();
        let old = folder.issue("ci");
        let outcome = folder.apikey(&format!("rotate {} --overlap {zero}", old.id)).exits(0);
        let new = outcome.key();
        assert_eq!(
            outcome.err,
            format!("Issued {}. It replaces {}, which is no longer valid.\n", new.id, old.id)
        );
        assert_eq!(folder.verify(&old.text), Err("expired"));
        assert_eq!(folder.verify(&new.text), Ok("ci".to_owned()));
    }
}

#[test]
fn the_state_after_a_rotation_without_overlap_is_rotated() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let outcome = folder.apikey(&format!("rotate {} --overlap 0 --json", old.id)).exits(0);
    let new = outcome.key();
    assert_eq!(outcome.json()["replaces"]["state"], "rotated");
    assert_eq!(
        (find_state(&folder, &old.id), find_state(&folder, &new.id)),
        ("rotated".into(), "active".into())
    );
    let outcome = folder.apikey("check --json").stdin(&old.text).exits(1);
    let shown = outcome.json();
    assert_eq!((&shown["valid"], &shown["state"]), (&json!(false), &json!("rotated")));
    assert_eq!((&shown["replaced_by"], &shown["rotated"]), (&json!(new.id), &shown["retires"]));
    let outcome = folder.apikey("check").stdin(&old.text).exits(1);
    outcome.assert_error(&format!("error: invalid: key {} of ci was rotated and expired ", old.id));
    assert!(outcome.err.ends_with(&format!(", replaced by {}\n", new.id)), "{outcome:?}");

    // `prune` deletes the key, because it expired.
    let outcome = folder.apikey("prune --yes").exits(0);
    outcome.assert_error(&format!("  {}  ci  rotated\nPruned 1 key.\n", old.id));

    // If a key expires before the overlap ends, its state is expired.
    let more = r#","expires":"2021-01-01T00:00:00Z","rotated":"2020-12-31T00:00:00Z","retires":"2021-06-01T00:00:00Z","replaced_by":"bbbbbbbb""#;
    folder.write(&format!("{{\"v\":2}}\n{}", record_line("aaaaaaaa", "ci", OWN, more)));
    assert_eq!(find_state(&folder, "aaaaaaaa"), "expired");
}

#[test]
fn a_second_rotation_warns_and_names_the_first_successor() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let words = format!("rotate {} --overlap 7d", old.id);
    let outcome = folder.apikey(&words).exits(0);
    assert!(!outcome.err.contains("warning"), "{outcome:?}");
    let first = outcome.key();
    let outcome = folder.apikey(&words).exits(0);
    let second = outcome.key();
    let warning = format!(
        "warning: key {} was already rotated to {first}. If no caller uses {first}, run `apikey revoke \
         {first}`\n",
        old.id,
        first = first.id
    );
    assert!(outcome.err.starts_with(&warning), "{outcome:?}");
    assert_eq!(folder.record(&old.id).replaced_by(), Some(&*second.id));
    for key in [&old, &first, &second] {
        assert_eq!(folder.verify(&key.text), Ok("ci".to_owned()));
    }
    let outcome = folder.apikey(&words).arg("--json").exits(0);
    let warning: Value = serde_json::from_str(&outcome.err).unwrap();
    assert!(warning["warning"].as_str().unwrap().contains(&second.id), "{outcome:?}");
    // The successor was never rotated, so its rotation causes no warning.
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d", second.id)).exits(0);
    assert!(!outcome.err.contains("warning"), "{outcome:?}");
    let outcome = folder.apikey("check").stdin(&old.text).exits(0);
    let next = folder.record(&old.id).replaced_by().unwrap().to_owned();
    assert!(outcome.out.ends_with(&format!("Z), replaced by {next}\n")), "{outcome:?}");

    // An expired key cannot be rotated. The error names its successor.
    folder.apikey(&format!("rotate {} --overlap 0", second.id)).exits(0);
    let next = folder.record(&second.id).replaced_by().unwrap().to_owned();
    let before = folder.text();
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d", second.id)).exits(1);
    outcome.assert_error(&format!(
        "error: the key was rotated and is no longer valid: rotate its successor {next}\n"
    ));
    assert_eq!(folder.text(), before);
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d --json", second.id)).exits(1);
    assert_eq!(parse_error(&outcome)["kind"], "dead_key");
}

#[test]
fn an_undone_rotation_keeps_the_first_successor() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    folder.apikey(&format!("rotate {} --overlap 7d", old.id)).exits(0);
    let before = folder.text();
    for prefix in ["", " --prefix pk"] {
        let words = format!("rotate {} --overlap 1d{prefix}", old.id);
        let outcome = folder.apikey(&words).stdout(open_broken_pipe()).exits(1);
        // The output has no warning, because no rotation happened.
        assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn rotate_prints_the_new_key_as_json() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let outcome = folder.apikey(&format!("rotate {} --overlap 1h --json", old.id)).exits(0);
    let (shown, new) = (outcome.json(), outcome.key());
    assert_eq!((&shown["key"], &shown["id"]), (&json!(new.text), &json!(new.id)));
    assert_eq!((&shown["client"], &shown["state"]), (&json!("ci"), &json!("active")));
}

#[test]
fn rotate_prints_the_replaced_key_and_its_end_as_json() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let outcome = folder.apikey(&format!("rotate {} --overlap 1h --json", old.id)).exits(0);
    let retires = folder.apikey("check --json").stdin(&old.text).exits(0).json()["retires"].clone();
    let shown = outcome.json();
    let replaced = json!({ "id": old.id, "state": "rotated", "ends": retires });
    assert_eq!((&shown["replaces"], &*outcome.err), (&replaced, ""));
    assert_eq!(shown["file"], folder.file().to_str().unwrap());

    // The rotation does not extend a key that expires sooner.
    let old = folder.issue("ci --expires 2d");
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d --json", old.id)).exits(0);
    let (_, expires) = created_and_expires(&folder, &old.id);
    assert_eq!(outcome.json()["replaces"]["ends"], expires);
}

#[test]
fn rotate_can_change_the_prefix() {
    let folder = Folder::new();
    let old = folder.issue("ci --prefix sk_test --note n --scope a --expires 90d");
    let before = folder.record(&old.id);
    let outcome =
        folder.apikey(&format!("rotate {} --overlap 7d --prefix sk_live", old.id)).exits(0);
    let new = outcome.key();
    assert!(new.text.starts_with("sk_live_"), "{new:?}");
    for key in [&old, &new] {
        assert_eq!(folder.verify(&key.text), Ok("ci".to_owned()));
    }
    let (was, is) = (folder.record(&old.id), folder.record(&new.id));
    assert_eq!((was.format(), was.expires()), (before.format(), before.expires()));
    assert_eq!((was.created(), was.note()), (before.created(), Some("n")));
    assert!(was.retires().is_some() && was.rotated().is_some());
    assert_eq!(was.replaced_by(), Some(&*new.id));
    assert_eq!((is.note(), is.client()), (Some("n"), before.client()));
    // The next rotation keeps the prefix.
    let next = folder.apikey(&format!("rotate {} --overlap 7d", new.id)).exits(0).key();
    assert!(next.text.starts_with("sk_live_"));

    // A key that was not minted has no prefix, and its record gets none.
    folder.apikey("import own").stdin(OWN).exits(0);
    let id = folder.apikey("check --json").stdin(OWN).exits(0).json()["id"].clone();
    let words = format!("rotate {} --overlap 7d --prefix pk", id.as_str().unwrap());
    assert!(folder.apikey(&words).exits(0).key().text.starts_with("pk_"));
    let old = folder.apikey("check --json").stdin(OWN).exits(0).json();
    assert_eq!((&old["prefix"], &old["state"]), (&Value::Null, &json!("rotated")));

    let before = folder.text();
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d --prefix -", new.id)).finish();
    assert_eq!((outcome.code, folder.text()), (1, before.clone()), "{outcome:?}");
    let words = format!("rotate {} --overlap 0 --prefix pk", new.id);
    folder.apikey(&words).stdout(open_broken_pipe()).exits(1);
    assert_eq!(folder.text(), before);
}

#[test]
fn rotate_rejects_invalid_arguments_and_changes_nothing() {
    let folder = create_every_state();
    let before = folder.text();
    let unknown = "error: no key has this id: `apikey list` shows all ids\n";
    let dead = "error: the key is revoked or expired, so issue a new one\n";
    for (words, code, why) in [
        ("rotate 00000000 --overlap 7d", 1, unknown),
        ("rotate nonsense-id --overlap 7d", 1, unknown),
        ("rotate ci --overlap 7d", 1, unknown),
        ("rotate bbbbbbbb --overlap 7d", 1, dead),
        ("rotate cccccccc --overlap 7d", 1, dead),
        ("rotate eeeeeeee --overlap 7d", 1, dead),
        ("rotate aaaaaaaa", 2, "--overlap <DURATION>"),
        ("rotate --overlap 7d", 2, "<KEY_ID>"),
        ("rotate aaaaaaaa --overlap", 2, "a value is required"),
        ("rotate aaaaaaaa --overlap week", 2, "write it as 90d, 12h or '1h 30m'"),
        ("rotate aaaaaaaa --overlap 7", 2, "write it as 90d, 12h or '1h 30m'"),
        ("rotate aaaaaaaa --overlap -1d", 2, ""),
    ] {
        let outcome = folder.apikey(words).exits(code);
        outcome.assert_error(why);
        assert_eq!(folder.text(), before, "{words}");
    }
}
