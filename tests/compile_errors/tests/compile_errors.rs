//! The mistakes that people make most, with what the compiler says to each: it names the cure.
//!
//! `cargo test --manifest-path tests/compile_errors/Cargo.toml`; with `TRYBUILD=overwrite` before it, what a
//! new compiler says is accepted.

use std::fs;

#[test]
fn what_the_compiler_says() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}

/// Each case begins with `//! cure: …`, words that stand in the compiler's message. Whoever accepts new
/// messages, for a new compiler, does not lose them unawares.
#[test]
fn what_the_compiler_says_names_the_cure() {
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
