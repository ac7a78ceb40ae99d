//! The lines of the README, with the example `admin` and curl.

use std::{fs, process::Command};

use crate::support::Folder;

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/admin.rs"]
mod admin;

const README: &str = include_str!("../../README.md");

/// Returns the code block of the README that begins with a line.
fn block(language: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_curl_lines_issue_rotate_and_revoke_a_key() {
    let folder = Folder::migrated();
    let (keys, store) = (folder.mirror().await, folder.open());
    let key = admin::first_key(&keys).await.unwrap().unwrap();
    assert!(admin::first_key(&keys).await.unwrap().is_none(), "it is issued once");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, admin::app(keys, store)).await.unwrap() });

    let run = |lines: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", lines]).current_dir(&*folder);
        let output = bash.env("URL", &url).env("ADMIN", &key).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let output = tokio::task::block_in_place(|| run(block("sh")));
    let lines: Vec<_> = output.lines().collect();
    let [first, second, whoami, rejected] = *lines else { panic!("{output}") };
    let id = whoami.split_once("mobile-app ").unwrap().1;
    let mut listed = [first, second];
    listed.sort_by_key(|line| line.contains("admin"));
    assert_eq!(listed[0], format!("{id} mobile-app valid"));
    let (error, last) = rejected.split_once("}").unwrap();
    assert_eq!(error, r#"{"error":"Unauthorized access""#);
    assert!(last.starts_with("mobile-app ") && !last.ends_with(id), "{last}");
    assert!(fs::read_to_string(folder.join("second.key")).unwrap().starts_with("key_"));

    // A client without the scope, an unknown id and an invalid client.
    let ask = &block("sh")[..block("sh").find("\n\n").unwrap()];
    let status = "--output /dev/null --write-out %{http_code}";
    for (request, expected) in [
        (format!(r#"KEY=$(cat second.key) ask {status} "$URL/admin/keys""#), "403"),
        (format!(r#"KEY=wrong ask {status} "$URL/admin/keys""#), "401"),
        (format!(r#"ask {status} -X DELETE "$URL/admin/keys/0000none""#), "404"),
        (format!(r#"ask {status} -X POST "$URL/admin/keys/0000none/rotate""#), "422"),
        (format!(r#"ask {status} -d '"' "$URL/admin/clients/ci/keys""#), "422"),
    ] {
        let found = tokio::task::block_in_place(|| run(&format!("{ask}\n{request}")));
        assert_eq!(found, expected, "{request}");
    }
}
