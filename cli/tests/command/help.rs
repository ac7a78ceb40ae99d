//! Help and completions.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use tower_api_key::KeyDigest;

use crate::support::{
    Folder,
    fixtures::{OTHER, OWN},
};

const SUBCOMMANDS: [&str; 15] = [
    "issue",
    "list",
    "show",
    "edit",
    "usage",
    "rotate",
    "revoke",
    "pause",
    "resume",
    "check",
    "import",
    "prune",
    "copy",
    "migrate",
    "completions",
];

#[test]
fn every_subcommand_has_help() {
    let folder = Folder::new();
    let help = folder.apikey("--help").exits(0);
    assert!(help.out.contains(
        "Exit codes: 0 success, 1 invalid key or failure, 2 wrong usage, 3 key file error"
    ));
    for command in SUBCOMMANDS {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}");
        for words in
            [&*format!("{command} --help"), &format!("{command} -h"), &format!("help {command}")]
        {
            let outcome = folder.apikey(words).exits(0);
            assert!(outcome.out.contains(&format!("Usage: apikey {command}")), "{outcome:?}");
            assert_eq!(outcome.err, "", "{words}");
        }
    }
    let outcome = folder.apikey("--version").exits(0);
    assert_eq!(outcome.out, format!("apikey {}\n", env!("CARGO_PKG_VERSION")));
    let outcome = folder.apikey("").exits(2);
    outcome.assert_error("Usage: apikey [OPTIONS] <COMMAND>");
    outcome.assert_error("apikey issue ci --expires 90d");
    folder.apikey("--json").exits(2).assert_error("Usage: ");
    folder.apikey("isue ci").exits(2).assert_error("issue");
    assert!(folder.file_names().is_empty());
}

#[test]
fn without_a_subcommand_the_command_prints_the_help() {
    let outcome = Folder::new().apikey("").exits(2);
    assert!(outcome.err.starts_with("Issues, lists, rotates and revokes"), "{outcome:?}");
}

#[test]
fn without_a_subcommand_other_settings_do_not_hide_the_help() {
    let folder = Folder::new();
    for bare in [
        folder.apikey("").env("API_KEYS_FILE", "keys.jsonl"),
        folder.apikey("").env("API_KEYS_FILE", ""),
        folder.apikey("--file keys.jsonl"),
    ] {
        let outcome = bare.exits(2);
        assert!(outcome.err.starts_with("Issues, lists, rotates and revokes"), "{outcome:?}");
        assert!(
            outcome.out.is_empty() && outcome.err.contains("apikey revoke --client ci"),
            "{outcome:?}"
        );
    }
    let bare = || folder.apikey("").env("API_KEYS_FILE", "keys.jsonl");
    let shown = bare().on_terminal().exits(2);
    assert!(shown.starts_with("Issues, ") && shown.contains('\x1b'), "{shown}");
    let shown = bare().env("NO_COLOR", "1").on_terminal().exits(2);
    assert!(shown.starts_with("Issues, ") && !shown.contains('\x1b'), "{shown}");
}

#[test]
fn the_examples_in_the_help_run() {
    let folder = Folder::new();
    let help = folder.apikey("--help").exits(0).out;
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let examples: Vec<_> =
        examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(examples.len() >= 3 && examples.iter().all(|it| it.starts_with("apikey ")), "{help}");
    let id = folder.issue("ci").id;
    for example in examples {
        let words = example.strip_prefix("apikey").unwrap().replace("0a1B2c3D", &id);
        // A person would answer the question.
        let yes = if words.contains("revoke") { "--yes" } else { "" };
        let outcome = folder.shell(&format!(r#""$0" {words} {yes}"#));
        outcome.arg("issue").exits(0);
    }
    for code in ["0 success", "1 invalid key", "2 wrong usage", "3 key file", "130 "] {
        assert!(help.contains(code), "{code}");
    }
}

#[test]
fn the_examples_in_the_readme_run() {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let examples: Vec<_> =
        blocks.flat_map(str::lines).filter(|line| line.contains("apikey ")).collect();
    let folder = Folder::new();
    let id = folder.issue("ci").id;
    fs::write(folder.path().join("keys.tsv"), format!("first\t{OTHER}\n")).unwrap();
    for host in ["usage.jsonl", "other-host.jsonl"] {
        let text = "{\"v\":1,\"kind\":\"usage\",\"since\":\"2020-01-01T00:00:00Z\"}\n";
        fs::write(folder.path().join(host), text).unwrap();
    }
    for example in &examples {
        let needs_yes = ["revoke", "prune"].iter().any(|word| example.contains(word));
        let example = example.replace("KEY_ID", &id) + if needs_yes { " --yes" } else { "" };
        let script = format!(r#"apikey() {{ "$0" "$@"; }}; {example}"#);
        let digest = KeyDigest::of("A-key-that-only-its-owner-knows").encode();
        folder.shell(&script).env("KEY", OWN).env("DIGEST", digest).exits(0);
    }
    for subcommand in SUBCOMMANDS {
        let is_shown = examples.iter().any(|it| it.contains(&format!("apikey {subcommand}")));
        assert!(is_shown, "the README does not show {subcommand}");
    }
}

#[test]
fn completions_need_no_file() {
    let folder = Folder::new();
    for (shell, its_own) in [
        ("bash", "complete -F _apikey"),
        ("zsh", "#compdef apikey"),
        ("fish", "complete -c apikey"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let outcome = folder.apikey(&format!("completions {shell}")).exits(0);
        assert_eq!(outcome.err, "");
        for word in [its_own, "rotate", "overlap"] {
            assert!(outcome.out.contains(word), "{shell}: {word}");
        }
        let Ok(checker) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn() else {
            println!("skipped: no {shell} to read its script");
            continue;
        };
        let mut checker = checker;
        checker.stdin.take().unwrap().write_all(outcome.out.as_bytes()).unwrap();
        assert!(checker.wait().unwrap().success(), "{shell}");
    }
    folder.apikey("completions tcsh").exits(2).assert_error("possible values");
    assert!(folder.file_names().is_empty());
}
