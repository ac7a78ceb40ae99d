//! The public types of the library, read from its source. A test checks a list of types against them.

use std::{any::type_name, collections::BTreeSet, fs, path::Path};

/// Types that are `pub` in the source but cannot be named outside. A list need not contain them.
const OUT_OF_REACH: [(&str, &str); 5] = [
    ("layer::future::InnerFuture", "inside of a `ResponseFuture`"),
    ("layer::future::PendingRequest", "inside of a `ResponseFuture`"),
    ("limit::client_limit::future::InnerFuture", "inside of a `ResponseFuture`"),
    ("limit::client_limit::future::PendingRequest", "inside of a `ResponseFuture`"),
    ("verify::verification::Never", "has no value"),
];

/// Returns the paths of public types that are not in `listed`.
pub(crate) fn missing(listed: impl IntoIterator<Item = &'static str>) -> BTreeSet<String> {
    let mut missing = all();
    for (out_of_reach, why) in OUT_OF_REACH {
        assert!(missing.remove(out_of_reach), "{out_of_reach} ({why}) is not there any more");
    }
    for listed in listed {
        let path = listed.split('<').next().unwrap();
        missing.remove(path.strip_prefix("tower_api_key::").unwrap_or(path));
    }
    missing
}

/// Returns the path of a type, which is the path of its file. `type_name` begins with the same path.
fn all() -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), "", &mut types);
    types
}

fn read(folder: &Path, module: &str, types: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let inner = format!("{module}{name}::");
        if path.is_dir() && name != "bin" {
            read(&path, &inner, types);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = if matches!(name, "mod" | "lib") { module } else { &inner };
            let text = fs::read_to_string(&path).unwrap();
            types.extend(text.lines().filter_map(declared).map(|name| format!("{module}{name}")));
        }
    }
}

fn declared(line: &str) -> Option<&str> {
    let declaration = line.trim_start().strip_prefix("pub ")?;
    let name = ["struct ", "enum ", "union "].iter().find_map(|it| declaration.strip_prefix(it))?;
    let end = name.find(|char: char| !char.is_alphanumeric() && char != '_');
    let name = &name[..end.unwrap_or(name.len())];
    assert!(!name.is_empty(), "a public type without a name of its own: {line}");
    Some(name)
}

/// Returns the name of the type of a value.
pub(crate) fn name_of<T: ?Sized>(_: &T) -> &'static str {
    type_name::<T>()
}
