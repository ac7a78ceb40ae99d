//! Figures as a page of markdown: where they are from, the table, the bars.

use std::{fmt::Write, fs, iter, time::SystemTime};

use crate::{
    added,
    harness::Figure,
    row::{Asked::Random, BY_HAND, FROM_FN, GOVERNOR, OAUTH, OURS, OURS_CACHED, Row},
    spread::Spread,
};

const HEAD: [&str; 12] = [
    "stack",
    "who",
    "keys",
    "asked with",
    "threads",
    "ns",
    "p10–p90",
    "÷ by hand",
    "÷ `from_fn`",
    "÷ oauth-resource-server",
    "÷ governor",
    "÷ ours, 1 key",
];

pub fn page(figures: &[Figure]) -> String {
    let (origin, table, bars) = (origin(figures), table(figures), bars(figures));
    let bars = if bars.is_empty() { bars } else { format!("\n## Bars\n\n{bars}") };
    format!("# Side by side\n\n{origin}\n{table}{bars}")
}

fn table(figures: &[Figure]) -> String {
    let lines = figures.iter().map(|figure| {
        let Figure { row, rounds } = figure;
        let ns = Spread::of(rounds.clone());
        let to = |other: Row| {
            let ratio = (other != *row).then(|| ratio(figures, row, &other)).flatten();
            ratio.map_or_else(String::new, |ratio| ratio.to_string())
        };
        let mut cells: Vec<_> = row.to_string().split(" | ").map(str::to_owned).collect();
        cells.extend([
            format!("{:.0}", ns.median),
            format!("{:.0}–{:.0}", ns.low, ns.high),
            to(row.of(BY_HAND)),
            to(row.of(FROM_FN)),
            to(row.of(OAUTH)),
            to(row.of(GOVERNOR)),
            to(row.of(OURS).keys(1)),
        ]);
        cells
    });
    let rows: Vec<_> = iter::once(HEAD.map(str::to_owned).to_vec()).chain(lines).collect();
    let widths: Vec<_> = (0..HEAD.len())
        .map(|column| rows.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0))
        .collect();

    let mut table = String::new();
    for (number, cells) in rows.iter().enumerate() {
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            match is_text(column) {
                true => write!(table, "| {cell:width$} "),
                false => write!(table, "| {cell:>width$} "),
            }
            .expect("a string grows");
        }
        table.push_str("|\n");
        if number == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let colon = if is_text(column) { '-' } else { ':' };
                write!(table, "|{:-<1$}{colon}", "", width + 1).expect("a string grows");
            }
            table.push_str("|\n");
        }
    }
    table
}

fn is_text(column: usize) -> bool {
    matches!(HEAD[column], "stack" | "who" | "asked with")
}

/// What is promised, of a key in a header: not more than so much of another's time.
fn bars(figures: &[Figure]) -> String {
    let (ours, axum) = (tower(OURS), |who| Row::new("axum", who));
    let bars = [
        ("of the same job by hand", ours.clone(), tower(BY_HAND), 0.90),
        ("with cache headers, of the same job by hand", tower(OURS_CACHED), tower(BY_HAND), 1.05),
        ("in axum, of `from_fn` with `==`", axum(OURS), axum(FROM_FN), 0.98),
        ("of oauth-resource-server, 1 key", ours.clone(), tower(OAUTH), 1.0 / 3.0),
        (
            "of oauth-resource-server, 1,000 keys",
            tower(OURS).keys(1000),
            tower(OAUTH).keys(1000),
            0.01,
        ),
        ("with 1,000 keys, of that with one", tower(OURS).keys(1000), ours.clone(), 1.15),
        ("with 100,000 keys, of that with one", tower(OURS).keys(100_000), ours.clone(), 1.15),
        ("with 1,000,000 keys, of that with one", tower(OURS).keys(1_000_000), ours, 1.15),
    ];
    let limits = [("limit", [0.9, 0.8, 1.0, 1.0]), ("two limits", [0.6, 0.6, 1.0, 1.0])];
    let limits = limits.into_iter().flat_map(|(stack, bars)| {
        let (hot, random) =
            (Row::new(stack, OURS), Row::new(stack, OURS).keys(100_000).asked(Random));
        let rows = [hot.clone(), random.clone(), hot.threads(2), random.threads(2)];
        let cases = [
            "one client",
            "100,000 clients",
            "one client, two threads",
            "100,000 clients, two threads",
        ];
        let cases = iter::zip(cases, iter::zip(rows, bars));
        cases.map(move |(case, (row, bar))| {
            (format!("{stack}, {case}, of governor"), row.clone(), row.of(GOVERNOR), bar)
        })
    });
    let bars = bars
        .into_iter()
        .map(|(what, ours, theirs, bar)| (what.to_owned(), ours, theirs, bar))
        .chain(limits);
    let line = |(what, ours, theirs, bar): (String, Row, Row, f64)| {
        let ratio = ratio(figures, &ours, &theirs)?;
        let verdict = if ratio.median <= bar { "met" } else { "**missed**" };
        Some(format!("- {verdict}: {what}: {ratio}, at most {bar:.2}\n"))
    };
    bars.filter_map(line).chain([added::bars(figures)]).collect()
}

fn tower(who: &'static str) -> Row {
    Row::new("tower", who)
}

/// Of one case to another, round by round.
fn ratio(figures: &[Figure], ours: &Row, theirs: &Row) -> Option<Spread> {
    let rounds = |row: &Row| figures.iter().find(|figure| figure.row == *row).map(|it| &it.rounds);
    let pairs = iter::zip(rounds(ours)?, rounds(theirs)?);
    Some(Spread::of(pairs.map(|(ours, theirs)| ours / theirs).collect()))
}

/// When, where, and with what.
fn origin(figures: &[Figure]) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let (day, _) = now.split_once('T').expect("a day and a time");
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let sha = if cpus.contains("sha_ni") { "with" } else { "without" };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let peers = ["axum", "governor", "oauth-resource-server", "tonic", "tower-http"];
    let peers: Vec<_> = peers.iter().map(|name| format!("{name} {}", version(name))).collect();
    format!(
        "{day}, {rounds} rounds; {cores} cores of {cpu} ({sha} SHA instructions), Linux {kernel}; \
         {rustc}, default release profile.\n{peers}.\n",
        rounds = figures.first().map_or(0, |figure| figure.rounds.len()),
        cpu = cpu.trim_start_matches([' ', '\t', ':']),
        kernel = kernel.trim(),
        rustc = env!("RUSTC_VERSION"),
        peers = peers.join(", "),
    )
}

fn version(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    // Where there are two, the newer comes last, and is ours.
    let (_, entry) = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \"")).expect("a peer");
    entry.split('"').next().unwrap_or(entry)
}
