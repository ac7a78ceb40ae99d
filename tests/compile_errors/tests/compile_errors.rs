//! The most common mistakes, each with the error of the compiler, which names the fix.
//!
//! Run `cargo test --manifest-path tests/compile_errors/Cargo.toml`. With `TRYBUILD=overwrite`, this accepts
//! the errors of a new compiler.

use std::fs;

#[test]
fn compiler_errors_have_not_changed() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}

/// Each case begins with `//! cure: …` and words of the error. This test fails if new errors lose the words.
#[test]
fn compiler_errors_name_the_fix() {
    let mut cases = 0;
    for case in fs::read_dir("cases").unwrap().map(|entry| entry.unwrap().path()) {
        if case.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&case).unwrap();
            let cure = source.lines().next().unwrap().strip_prefix("//! cure: ").unwrap();
            let message = fs::read_to_string(case.with_extension("stderr")).unwrap();
            assert!(message.contains(cure), "{} does not say: {cure}", case.display());
            cases += 1;
        }
    }
    assert!(cases >= 5, "{cases} cases");
}
