//! The lists of requirements and pitfalls in `tests/README.md` are complete, and every file of tests is in a program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the files below a folder with this extension, except in packages outside of the workspace.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let is_nested = ["tests/proof", "tests/compile_errors"].iter().any(|it| path.ends_with(it));
        if path.is_dir() && !is_nested {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
}

/// Returns the numbers in a name, such as 8 and 9 in `r8_r9_a_name`.
fn numbers_of(name: &str) -> impl Iterator<Item = u32> {
    name.split('_').map_while(|word| word.strip_prefix('r')?.parse().ok())
}

/// Returns the names of all functions in a source.
fn functions(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().map(str::trim_start);
    let after_fn = lines.filter_map(|line| line.split_once("fn ").map(|(_, name)| name));
    after_fn.map(|name| name.split(['(', '<']).next().unwrap())
}

/// Returns the names of the tests in a source, and of the behaviours of a store. A macro can have a list of tests.
fn tests(source: &str) -> Vec<&str> {
    let is_in_list = |name: &str| source.lines().any(|line| line.trim() == format!("{name},"));
    let mut is_test = false;
    let mut tests = Vec::new();
    for line in source.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if let Some(name) = functions(line).next() {
            if is_test || line.ends_with("(stores) {") || is_in_list(name) {
                tests.push(name);
            }
            is_test = false;
        }
    }
    tests
}

/// Returns the numbers in comments, such as `R8`.
fn numbers_in_comments(source: &str) -> impl Iterator<Item = u32> {
    let comments = source.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    let words = comments.flat_map(|line| line.split(|char: char| !char.is_ascii_alphanumeric()));
    words.filter_map(|word| word.strip_prefix('R')?.parse().ok())
}

/// A table of `tests/README.md`.
struct Table {
    letter: char,
    columns: usize,
    rows: u32,
}

const REQUIREMENTS: Table = Table { letter: 'R', columns: 4, rows: 56 };
const PITFALLS: Table = Table { letter: 'P', columns: 3, rows: 62 };

/// Returns the rows of a table: the number, and the proof.
fn list(table: &Table) -> BTreeMap<u32, Vec<String>> {
    let text = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let mut list = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with(&format!("| {}", table.letter))) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let number = cells[0].trim_start_matches(table.letter).parse().unwrap();
        let shown_by = cells.last().unwrap().split('`').skip(1).step_by(2).map(str::to_owned);
        let is_new = list.insert(number, shown_by.collect()).is_none();
        assert!(cells.len() == table.columns && is_new, "{row}");
    }
    list
}

/// Returns the source file of an entry, which omits `tests/` and `.rs`.
fn source_of(entry: &str) -> Option<String> {
    let paths = [format!("tests/{entry}.rs"), format!("{entry}.rs")];
    paths.iter().find_map(|path| fs::read_to_string(root().join(path)).ok())
}

#[test]
fn every_number_in_a_test_has_an_entry() {
    let list = list(&REQUIREMENTS);
    let mut sources = Vec::new();
    for folder in ["tests", "cli", "src", "fuzz/src", "benches/counts/src"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    for path in sources {
        let source = fs::read_to_string(&path).unwrap();
        let named = functions(&source).flat_map(numbers_of);
        for number in named.chain(numbers_in_comments(&source)) {
            assert!(list.contains_key(&number), "R{number} has no entry: {}", path.display());
        }
    }
}

#[test]
fn every_entry_names_a_test_or_a_script_that_exists() {
    for table in [REQUIREMENTS, PITFALLS] {
        let (list, letter) = (list(&table), table.letter);
        assert!(list.keys().copied().eq(1..=table.rows), "{letter}: {:?}", list.keys());
        for (number, shown_by) in list {
            assert!(!shown_by.is_empty(), "{letter}{number} is shown by nothing");
            for entry in shown_by {
                let (file, test) = entry.split_once("::").unwrap_or((&entry, ""));
                let is_it = |name: &&str| match test {
                    "" => letter == 'P' || numbers_of(name).any(|it| it == number),
                    test => name.starts_with(test),
                };
                match source_of(file) {
                    Some(source) => {
                        assert!(
                            tests(&source).iter().any(is_it),
                            "{letter}{number}: no test in {entry}"
                        );
                    }
                    None => {
                        assert!(root().join(&entry).is_file(), "{letter}{number}: no file {entry}")
                    }
                }
            }
        }
    }
}

#[test]
fn every_file_of_tests_is_in_a_program() {
    for program in ["tests/it", "tests/key_file"] {
        let main = fs::read_to_string(root().join(program).join("main.rs")).unwrap();
        for path in fs::read_dir(root().join(program)).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let has_line = main.lines().any(|line| line == format!("mod {name};"));
            assert!(name == "main" || has_line, "no `mod` line: {}", path.display());
        }
    }
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).unwrap();
    let folder = fs::read_dir(root().join("tests")).unwrap().map(|it| it.unwrap().path());
    let programs: BTreeSet<_> = folder.filter(|path| path.is_file()).collect();
    for path in programs.iter().filter(|path| path.extension().is_some_and(|it| it == "rs")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(manifest.contains(&format!("path = \"{name}\"")), "in no program: {name}");
    }
}
