//! The manual names tests: they are there, and the pages stay short.

use std::{collections::BTreeMap, fs, path::Path};

fn pages() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let page = &pages()["15-promises"];
    let promised = page.split_once("# Promised").unwrap().1.split_once("# Not promised").unwrap().0;
    let mut named = 0;
    for row in promised.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let shown_by = row.rsplit(" | ").next().unwrap();
        let quoted: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(quoted.iter().any(|it| it.contains(['/', ':'])), "shown by nothing: {row}");
        for quoted in quoted {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            if let Some((file, test)) = quoted.split_once("::") {
                let path = root.join("tests").join(file).with_extension("rs");
                let source = fs::read_to_string(&path).expect(quoted);
                assert!(source.contains(&format!("fn {test}(")), "no such test: {quoted}");
                named += 1;
            } else if quoted.contains('/') {
                assert!(root.join(quoted).exists(), "no such file: {quoted}");
            }
        }
    }
    assert!(named > 20, "{named} tests");
}

#[test]
fn pages_are_numbered_without_a_gap_each_a_module_in_the_contents_and_short() {
    let pages = pages();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/mod.rs");
    let modules = fs::read_to_string(source).unwrap();
    let contents = &pages["00-contents"];
    for (at, (name, text)) in pages.iter().enumerate() {
        assert!(name.starts_with(&format!("{at:02}-")), "{name} is page {at}");
        assert!(text.lines().count() <= 200, "{name} is longer than a reader has patience");
        assert!(modules.contains(&format!("{name}.md")), "{name} is in no module");
        if at > 0 {
            let module = format!("_{}", name.replace('-', "_"));
            assert!(contents.contains(&format!("]({module})")), "{name} is not in the contents");
            assert!(modules.contains(&format!("pub mod {module} {{}}")), "{name} is no module");
        }
    }
}

#[test]
fn every_example_is_on_the_menu_and_opens_with_how_to_start_and_try_it() {
    let contents = &pages()["00-contents"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(contents.contains(&format!("| `{name}` |")), "{name} is not on the menu");
        let source = fs::read_to_string(&path).unwrap();
        let opening = source.split_once("\nuse ").unwrap().0;
        for part in [&format!("--example {name}"), "curl "] {
            assert!(opening.contains(part), "{name} does not open with `{part}`");
        }
    }
}
