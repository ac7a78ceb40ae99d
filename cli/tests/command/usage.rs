//! Prints how often each key was used.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    Folder,
    fixtures::OWN,
    record_line,
    usage::{DAY, format, line, run, today, write_usage},
};

fn create_usage() -> Folder {
    let folder = Folder::with(&[record_line("cccccccc", "former", OWN, "")]);
    let unknown = line("x", "y", 1, "\"rejected\":9")
        .replace("\"key\":\"x\",\"client\":\"y\"", "\"total\":\"unknown\"");
    write_usage(
        &folder,
        "usage.jsonl",
        30,
        &[
            line("aaaaaaaa", "ci", 8, "\"accepted\":1000"),
            line("aaaaaaaa", "ci", 6, "\"accepted\":4"),
            line("aaaaaaaa", "ci", 1, "\"accepted\":7,\"limited\":2,\"forbidden\":1"),
            line("aaaaaaaa", "ci", 1, "\"accepted\":1"),
            line("bbbbbbbb", "mobile-app", 0, "\"accepted\":1"),
            line("cccccccc", "x", 0, "\"rejected\":3").replace("\"client\":\"x\",", ""),
            unknown,
        ],
    );
    // The file of a second process.
    write_usage(
        &folder,
        "usage.2.jsonl",
        30,
        &[line("bbbbbbbb", "mobile-app", 0, "\"accepted\":2")],
    );
    folder
}

#[test]
fn usage_prints_tabs_and_the_requests_of_each_day_for_scripts() {
    let folder = create_usage();
    let outcome = folder.apikey("usage").exits(0);
    let [today, yesterday] = [format(today() + 60), format(today() - DAY + 60)];
    assert_eq!(outcome.err, "");
    assert_eq!(
        outcome.out,
        format!(
            "CLIENT\tKEY\tACCEPTED\tREJECTED\tLIMITED\tFORBIDDEN\tLAST USED\tDAYS\n\
             ci\taaaaaaaa\t12\t0\t2\t1\t{yesterday}\t4 0 0 0 0 8 0\n\
             former\tcccccccc\t0\t3\t0\t0\t-\t0 0 0 0 0 0 3\n\
             mobile-app\tbbbbbbbb\t3\t0\t0\t0\t{today}\t0 0 0 0 0 0 3\n\
             -\t(unknown)\t0\t9\t0\t0\t-\t0 0 0 0 0 9 0\n"
        )
    );
    let outcome = folder.apikey("usage --client ci --last 9d").exits(0);
    assert_eq!(outcome.out.lines().count(), 2);
    assert!(outcome.out.ends_with("\t1000 0 4 0 0 0 0 8 0\n"), "{outcome:?}");
    let outcome = folder.apikey("usage --client former").exits(0);
    assert_eq!(outcome.out.lines().count(), 2);
    // Without the key file, only the usage data is there.
    fs::remove_file(folder.file()).unwrap();
    let outcome = folder.apikey("usage").exits(0);
    assert!(outcome.out.contains("\n-\tcccccccc\t0\t3\t"), "{outcome:?}");
}

#[test]
fn usage_prints_one_json_object() {
    let folder = create_usage();
    let outcome = folder.apikey("--json usage --last 7d --client ci").exits(0);
    assert_eq!(outcome.err, "");
    let day = |days_ago| format(today() - days_ago * DAY)[..10].to_owned();
    assert_eq!(
        outcome.json(),
        json!({
            "begin": format(today() - 6 * DAY),
            "complete_since": format(today() - 30 * DAY),
            "gaps": [],
            "keys": [{
                "key": "aaaaaaaa", "client": "ci", "total": null,
                "accepted": 12, "rejected": 0, "limited": 2, "forbidden": 1,
                "last_used": format(today() - DAY + 60),
                "days": [
                    {"day": day(6), "accepted": 4, "rejected": 0, "limited": 0, "forbidden": 0},
                    {"day": day(1), "accepted": 8, "rejected": 0, "limited": 2, "forbidden": 1},
                ],
            }],
        })
    );
    let all = folder.apikey("usage --json").exits(0).json();
    let totals: Vec<_> = all["keys"].as_array().unwrap().iter().map(|key| &key["total"]).collect();
    assert_eq!(totals, [&Value::Null, &Value::Null, &Value::Null, &json!("unknown")]);
}

#[test]
fn usage_has_at_most_90_numbers_for_a_key() {
    let folder = create_usage();
    let days = |words: &str| {
        let outcome = folder.apikey(words).exits(0);
        let cell = |line: usize| {
            outcome.out.lines().nth(line).unwrap().rsplit('\t').next().unwrap().to_owned()
        };
        (cell(0), cell(1))
    };
    let (title, numbers) = days("usage --last 90d");
    assert_eq!((&*title, numbers.split(' ').count()), ("DAYS", 90));
    let (title, numbers) = days("usage --last 91d");
    assert_eq!((&*title, numbers.split(' ').count()), ("PERIODS OF 2 DAYS", 46));
    assert!(numbers.ends_with(" 0 1000 4 0 0 8"), "{numbers}");
    let (title, numbers) = days("usage --last 50y");
    assert!(title.starts_with("PERIODS OF 20"), "{title}");
    assert!(numbers.split(' ').count() <= 90 && numbers.ends_with(" 0 1012"), "{numbers}");
}

#[test]
fn usage_names_the_times_without_data() {
    let folder = create_usage();
    write_usage(&folder, "usage.jsonl", 30, &[run(30, 20), run(5, 2)]);
    write_usage(&folder, "usage.2.jsonl", 30, &[run(22, 18), run(2, 0), run(1, -1)]);
    let [from, to] = [18, 5].map(|days_ago| format(today() - days_ago * DAY));
    let warning = format!(
        "warning: no usage data from {from} to {to}: uses are missing if a service ran without counting\n"
    );
    assert_eq!(
        folder.apikey("usage --last 10d --client x").exits(0).err.matches(&warning).count(),
        1
    );
    let outcome = folder.apikey("usage --last 5d").exits(0);
    assert!(!outcome.err.contains("warning"), "{outcome:?}");
    let gaps = folder.apikey("usage --last 30d --json").exits(0).json()["gaps"].clone();
    assert_eq!(gaps, json!([{"begin": from, "end": to}]));
    let outcome = folder.apikey("list --unused 10d").exits(0);
    assert_eq!(outcome.err.matches(&warning).count(), 1, "{outcome:?}");
    assert_eq!(folder.apikey("list").exits(0).err, "");
    // The clock of a service is far behind, or the service does not count any more.
    write_usage(&folder, "usage.2.jsonl", 30, &[run(30, 2)]);
    let outcome = folder.apikey("list --unused 10d").exits(0);
    let from = format(today() - 2 * DAY);
    assert!(
        outcome.err.starts_with(&format!("warning: no usage data from {from} to ")),
        "{outcome:?}"
    );
    // A service that runs by day only.
    let runs: Vec<_> = (0..15).map(|night| run(30 - 2 * night, 29 - 2 * night)).collect();
    write_usage(&folder, "usage.jsonl", 30, &runs);
    write_usage(&folder, "usage.2.jsonl", 30, &[]);
    let outcome = folder.apikey("list --unused 20d").exits(0);
    assert_eq!(outcome.err.lines().filter(|line| line.contains("no usage data from")).count(), 3);
    assert!(outcome.err.contains("warning: the usage data has 7 more gaps\n"), "{outcome:?}");
}

#[test]
fn usage_draws_a_bar_for_each_day_on_a_terminal() {
    let folder = create_usage();
    let shown = folder.apikey("usage").env("TERM", "dumb").on_terminal().exits(0);
    let row = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("aaaaaaaa").ends_with("  ▄····█·"), "{shown}");
    assert!(row("bbbbbbbb").ends_with("  ······█"), "{shown}");
    assert!(row("(unknown)").starts_with("-  ") && shown.contains(" ago "), "{shown}");
    let column = |name| shown.lines().next().unwrap().find(name).unwrap();
    assert!(row("aaaaaaaa")[column("ACCEPTED")..].starts_with("12 "), "{shown}");
    let coloured = folder.apikey("usage").on_terminal().exits(0);
    assert!(coloured.contains("\x1b[1mLAST USED\x1b[0m") && !coloured.contains('\t'), "{coloured}");
    // A period within a day has the hours since then.
    let hours = folder.apikey("usage --last 23h").exits(0);
    assert!(!hours.out.contains("aaaaaaaa") || !hours.out.contains("\t12\t"), "{hours:?}");
}

#[test]
fn usage_without_data_says_so_and_exits_with_0() {
    let folder = Folder::new();
    let outcome = folder.apikey("usage").exits(0);
    assert_eq!(
        outcome.err,
        "No usage data. A service writes it to a file, and `--from` names that file.\n"
    );
    assert_eq!(outcome.out.lines().count(), 1);
    let outcome = folder.apikey("usage --json").exits(0);
    assert_eq!((outcome.json()["keys"].clone(), &*outcome.err), (json!([]), ""));
    write_usage(&folder, "usage.jsonl", 3, &[]);
    let outcome = folder.apikey("usage --client ci").exits(0);
    assert_eq!(outcome.err, "No requests of ci within 7d.\n");
    // A file that was named must be there.
    let outcome = folder.apikey("usage --from none.jsonl").exits(3);
    outcome.assert_error("none.jsonl: no such file");
}

#[test]
fn usage_adds_the_files_of_several_hosts() {
    let folder = Folder::new();
    for (name, days) in [("a.jsonl", 20), ("b.jsonl", 3)] {
        write_usage(&folder, name, days, &[line("aaaaaaaa", "ci", 0, "\"accepted\":2")]);
    }
    let counts = |words: &str| {
        let outcome = folder.apikey(words).exits(0);
        outcome.out.lines().nth(1).unwrap().split('\t').nth(2).unwrap().to_owned()
    };
    assert_eq!(counts("usage --from a.jsonl"), "2");
    assert_eq!(counts("usage --from a.jsonl --from b.jsonl"), "4");
    assert_eq!(counts("usage --from a.jsonl --from ./a.jsonl"), "2");
    let outcome = folder.apikey("usage --from a.jsonl --from b.jsonl").exits(0);
    assert_eq!(outcome.err, format!("The data begins at {}.\n", format(today() - 3 * DAY)));
    let outcome = folder.apikey("usage").env("API_USAGE_FILE", "b.jsonl").exits(0);
    assert!(outcome.out.contains("\naaaaaaaa\t2\t") || outcome.out.contains("\taaaaaaaa\t2\t"));
    folder.apikey("usage").env("API_USAGE_FILE", "").exits(0);
}

#[test]
fn a_cut_off_line_is_a_warning_and_a_broken_line_an_error() {
    let folder = Folder::new();
    let path =
        write_usage(&folder, "usage.jsonl", 3, &[line("aaaaaaaa", "ci", 0, "\"accepted\":2")]);
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"key\":\"bbbbb")).unwrap();
    let outcome = folder.apikey("usage").exits(0);
    assert!(outcome.err.starts_with("warning: "), "{outcome:?}");
    assert!(outcome.err.contains("usage.jsonl: the last line is cut off and does not count\n"));
    assert_eq!(outcome.out.lines().count(), 2);
    let outcome = folder.apikey("usage --json").exits(0);
    assert!(outcome.err.starts_with("{\"warning\":"), "{outcome:?}");
    fs::write(&path, format!("{whole}{{\"key\":\"bbbbb\n")).unwrap();
    folder.issue("ci");
    for words in ["usage", "list --file none.jsonl", "list --unused 1d"] {
        let outcome = folder.apikey(words).exits(3);
        assert_eq!(outcome.out, "");
    }
    folder.apikey("usage").exits(3).assert_error("usage.jsonl, line 3: not JSON of a usage file");
}

#[test]
fn a_client_of_the_usage_data_cannot_control_the_terminal() {
    let folder = Folder::new();
    let client = "c\u{202e}i \"q\"\x1b[31m\n\t\u{200b}";
    write_usage(&folder, "usage.jsonl", 3, &[line("k\\u001b1", client, 0, "\"accepted\":2")]);
    let escaped = r#"c\u{202e}i "q"\u{1b}[31m\n\t\u{200b}"#;
    let piped = folder.apikey("usage").exits(0);
    let row = piped.out.lines().nth(1).unwrap();
    assert!(row.starts_with(&format!("{escaped}\tk\\u{{1b}}1\t2\t")), "{piped:?}");
    let shown = folder.apikey("usage").env("NO_COLOR", "1").on_terminal().exits(0);
    assert!(shown.contains(escaped) && !shown.contains('\x1b'), "{shown}");
    let outcome = folder.apikey("usage --json").exits(0);
    assert!(!outcome.out.contains(['\x1b', '\u{202e}', '\u{200b}']), "{outcome:?}");
    assert_eq!(outcome.json()["keys"][0]["client"], client);
    let outcome = folder.apikey("usage --client").arg(client).exits(0);
    assert_eq!(outcome.out.lines().count(), 2);
    let outcome = folder.apikey("usage --client").arg("x\x1b[31m").exits(0);
    assert_eq!(outcome.err, "No requests of x\\u{1b}[31m within 7d.\n");
}

#[test]
fn usage_reads_many_rows_quickly() {
    let folder = Folder::new();
    let line = line("aaaaaaaa", "ci", 0, "\"accepted\":1");
    let lines: Vec<_> = (0..200_000).map(|_| line.clone()).collect();
    write_usage(&folder, "usage.jsonl", 3, &lines);
    let started = std::time::Instant::now();
    let outcome = folder.apikey("usage").exits(0);
    assert!(outcome.out.contains("\t200000\t"), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn the_largest_numbers_are_added_without_a_panic() {
    let folder = Folder::new();
    let max = format!("\"accepted\":{max},\"rejected\":{max}", max = u64::MAX);
    let lines = [line("aaaaaaaa", "ci", 1, &max), line("aaaaaaaa", "ci", 1, &max)];
    write_usage(&folder, "usage.jsonl", 3, &lines);
    let outcome = folder.apikey("usage --last 2d").exits(0);
    assert!(outcome.out.trim_end().ends_with(&format!("{} 0", u64::MAX)), "{outcome:?}");
}
