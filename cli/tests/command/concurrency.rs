//! Many processes change one file.

use std::collections::HashSet;

use serde_json::Value;

use crate::support::{Folder, HEADER, Key, Outcome};

#[test]
fn sixty_concurrent_processes_issue_sixty_keys() {
    let folder = Folder::new();
    let running: Vec<_> = (0..60)
        .map(|number| folder.apikey(&format!("issue client-{number} --note {number}")).start())
        .collect();
    let keys: Vec<_> = running.into_iter().map(|running| running.exits(0).key()).collect();
    assert_eq!(keys.iter().map(|key| &key.text).collect::<HashSet<_>>().len(), 60);
    assert_eq!(keys.iter().map(|key| &key.id).collect::<HashSet<_>>().len(), 60);

    let text = folder.text();
    assert_eq!(text.lines().count(), 61);
    assert!(text.starts_with(HEADER) && text.ends_with("}\n"), "{text}");
    for line in text.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = line["note"].as_str().unwrap();
        assert_eq!(line["client"], format!("client-{number}"));
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(folder.verify(&key.text), Ok(format!("client-{number}")));
    }
    assert_eq!(folder.file_names(), ["keys.jsonl", "keys.jsonl.lock"]);
}

#[test]
fn no_concurrent_change_is_lost() {
    let folder = Folder::new();
    let rotated: Vec<Key> = (0..8).map(|_| folder.issue("rotated")).collect();
    let revoked: Vec<Key> = (0..8).map(|_| folder.issue("revoked")).collect();
    let mut running = Vec::new();
    for (old, other) in rotated.iter().zip(&revoked) {
        running.push(folder.apikey("issue new").start());
        running.push(folder.apikey(&format!("rotate {} --overlap 7d", old.id)).start());
        running.push(folder.apikey(&format!("revoke {} --yes", other.id)).start());
        running.push(folder.apikey("list").start());
    }
    let outcome: Vec<_> = running.into_iter().map(|running| running.exits(0)).collect();
    let made: Vec<_> =
        outcome.iter().filter(|it| it.err.starts_with("Issued")).map(Outcome::key).collect();
    assert_eq!(made.len(), 16);
    for key in rotated.iter().chain(&made) {
        assert!(folder.verify(&key.text).is_ok());
    }
    for key in &revoked {
        assert_eq!(folder.verify(&key.text), Err("revoked"));
    }
    let records = folder.records();
    assert_eq!(records.len(), 32);
    let count = |client: &str| records.iter().filter(|it| it.client().id() == client).count();
    assert_eq!((count("new"), count("rotated"), count("revoked")), (8, 16, 8));
    assert_eq!(records.iter().filter(|record| record.retires().is_some()).count(), 8);
}
