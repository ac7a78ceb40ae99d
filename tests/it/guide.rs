//! The manual names tests and files that exist, its links work on GitHub and in rustdoc, and its pages stay short.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn pages() -> BTreeMap<String, String> {
    let folder = root().join("src/guide");
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
fn every_promise_names_tests_that_exist() {
    let page = &pages()["15-promises"];
    let promised = page.split_once("# What does the layer promise?").unwrap().1;
    let promised = promised.split_once("# What does the layer not promise?").unwrap().0;
    let mut named = 0;
    for row in promised.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let shown_by = row.rsplit(" | ").next().unwrap();
        let quoted: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(quoted.iter().any(|it| it.contains(['/', ':'])), "shown by nothing: {row}");
        for quoted in quoted {
            if let Some((file, test)) = quoted.split_once("::") {
                let folders = ["tests", "tests/it", "tests/key_file", "cli/tests"];
                let paths = folders.map(|it| root().join(it).join(file).with_extension("rs"));
                let path = paths.iter().find(|it| it.exists()).expect(quoted);
                let source = fs::read_to_string(path).unwrap();
                assert!(source.contains(&format!("fn {test}(")), "no such test: {quoted}");
                named += 1;
            } else if quoted.contains('/') {
                assert!(root().join(quoted).exists(), "no such file: {quoted}");
            }
        }
    }
    assert!(named > 20, "{named} tests");
}

#[test]
fn pages_are_numbered_without_a_gap_each_a_module_in_the_contents_and_short() {
    let pages = pages();
    let source = root().join("src/guide/mod.rs");
    let modules = fs::read_to_string(source).unwrap();
    let contents = &pages["00-contents"];
    for (at, (name, text)) in pages.iter().enumerate() {
        assert!(name.starts_with(&format!("{at:02}-")), "{name} is page {at}");
        assert!(text.lines().count() <= 200, "{name} is too long");
        assert!(modules.contains(&format!("{name}.md")), "{name} is in no module");
        if at > 0 {
            let module = format!("_{}", name.replace('-', "_"));
            assert!(contents.contains(&format!("][page {at}]")), "{name} is not in the contents");
            assert!(
                contents.contains(&format!("[page {at}]: {name}.md")),
                "{name} has another number"
            );
            assert!(modules.contains(&format!("{module} = \"{name}.md\"")), "{name} is no module");
        }
    }
}

#[test]
fn every_example_is_in_the_contents_and_begins_with_its_commands() {
    let contents = &pages()["00-contents"];
    let folders = ["examples", "examples/more"].map(|it| fs::read_dir(root().join(it)).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let examples = files.filter(|path| path.extension().is_some_and(|it| it == "rs"));
    for path in examples {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(contents.contains(&format!("| `{name}` |")), "{name} is not on the menu");
        let source = fs::read_to_string(&path).unwrap();
        let opening = source.split_once("\nuse ").unwrap().0;
        for part in [&format!("--example {name}"), "curl "] {
            assert!(opening.contains(part), "{name} does not open with `{part}`");
        }
    }
}

#[test]
fn every_link_of_a_page_leads_to_a_file_on_github_and_to_an_item_in_rustdoc() {
    let folder = root().join("src/guide");
    let mut in_rustdoc = definitions(&fs::read_to_string(folder.join("labels.txt")).unwrap());
    let modules = fs::read_to_string(folder.join("mod.rs")).unwrap();
    for doc in modules.split("doc = \"").skip(1) {
        in_rustdoc.extend(definitions(doc.split('"').next().unwrap()));
    }
    let mut linked = BTreeSet::new();
    for (name, text) in pages() {
        let on_github = definitions(&text);
        let used = labels(&text);
        for label in &used {
            assert!(on_github.contains_key(label), "{name} has no definition of [{label}]");
            assert!(in_rustdoc.contains_key(label), "labels.txt has no [{label}] for {name}");
        }
        for (label, file) in on_github {
            assert!(used.contains(&label), "{name} defines [{label}] and does not use it");
            assert!(folder.join(&file).is_file(), "{name} links to {file}, which does not exist");
        }
        linked.extend(used);
    }
    let unused: Vec<_> = in_rustdoc.keys().filter(|label| !linked.contains(*label)).collect();
    assert!(unused.is_empty(), "no page uses {unused:?}");
    assert!(linked.len() > 50, "{} labels", linked.len());
}

#[test]
fn code_on_a_page_is_complete_and_the_page_names_the_crates_for_it() {
    for (name, text) in pages() {
        let (rust, shell) = (code(&text, "rust"), code(&text, "sh"));
        for line in rust.lines() {
            assert!(!line.starts_with("# ") && line != "#", "{name} hides a line: {line}");
        }
        let added = shell.lines().filter_map(|line| line.strip_prefix("cargo add "));
        let added: BTreeSet<_> = added.flat_map(str::split_whitespace).collect();
        let used = rust.lines().filter_map(|line| line.trim_start().strip_prefix("use "));
        let used =
            used.filter_map(|path| path.split_once("::")).map(|(name, _)| name.replace('_', "-"));
        for used in used.filter(|it| it != "std") {
            assert!(added.contains(&*used), "{name} uses {used} without `cargo add`");
        }
    }
}

/// The link definitions at the end of a page.
fn definitions(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    lines.map(|(label, file)| (label.to_lowercase(), file.to_owned())).collect()
}

/// The labels of the links in a page. A link is `[text][label]` or `[label]`.
fn labels(text: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code && definitions(line).is_empty() {
            let mut rest = line;
            while let Some((link, after)) = next_bracket(rest) {
                rest = after;
                if after.starts_with("(https://") {
                    continue;
                }
                assert!(!after.starts_with('('), "a link without a definition: {line}");
                let label = match after.starts_with('[').then(|| next_bracket(after)).flatten() {
                    Some((label, after)) => {
                        rest = after;
                        label
                    }
                    None => link,
                };
                labels.insert(label.to_lowercase());
            }
        }
    }
    labels
}

/// The first text in brackets outside of code, and the text after it.
fn next_bracket(text: &str) -> Option<(&str, &str)> {
    let mut in_code = false;
    let mut start = None;
    for (at, char) in text.char_indices() {
        match (char, start) {
            ('`', _) => in_code = !in_code,
            ('[', None) if !in_code => start = Some(at + 1),
            (']', Some(start)) if !in_code => return Some((&text[start..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// The code of a page in one language.
fn code(text: &str, language: &str) -> String {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    let wanted = |info: &str| info.split(',').next() == Some(language);
    blocks.filter(|(info, _)| wanted(info)).map(|(_, code)| format!("{code}\n")).collect()
}
