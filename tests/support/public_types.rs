//! The public types of the library, as its source has them, so that a list of all of them can be held
//! complete.

use std::{any::type_name, collections::BTreeSet, fs, path::Path};

/// Types that are `pub` in the source, and that nobody outside can hold: no list has to have them.
const OUT_OF_REACH: [(&str, &str); 3] = [
    ("layer::future::InnerFuture", "inside of a `ResponseFuture`"),
    ("layer::future::PendingRequest", "inside of a `ResponseFuture`"),
    ("verify::verification::Never", "has no value"),
];

/// The public types of which `listed` has none, by their path in the source.
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

/// The path of a type is that of its file, which is how `type_name` begins as well.
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

/// The name of a value's type.
pub(crate) fn name_of<T: ?Sized>(_: &T) -> &'static str {
    type_name::<T>()
}
