//! Counts instructions: a program runs itself under callgrind, and reads what that wrote.

use std::{
    ffi::{CStr, CString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::client_request;

/// As many inputs each case has. Maps have seeds, so that one key in some is found at a second try
/// alone: of as many keys one never is.
pub const INPUTS: usize = 32;

/// Counts an act, once for each of some inputs, which are made without counting. It wants
/// [`client_request::start`] before: until then all is fast, and after that all is slow.
pub fn count<I>(case: &str, input: impl Fn(usize) -> I, act: &mut dyn FnMut(I)) {
    let case = CString::new(case).expect("a name");
    for number in 0..INPUTS {
        act(input(number));
    }
    for number in 0..INPUTS {
        count_one(&case, input(number), act);
    }
}

/// Once in the program for every type of input, whatever the act, so that what is around it is the same.
#[inline(never)]
fn count_one<I>(case: &CStr, input: I, act: &mut dyn FnMut(I)) {
    client_request::zero();
    act(input);
    client_request::dump(case);
}

/// What a case took, at the least.
pub struct Count {
    pub case: String,
    pub least: i64,
}

/// Runs this program under callgrind, and gives its counts in their order. Of each case the sample
/// with the least stays in a file, for `callgrind_annotate`.
pub fn run(program: &str) -> Vec<Count> {
    let folder = folder(program);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).expect("a folder");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--instr-atstart=no", "--quiet"])
        .arg(format!("--callgrind-out-file={}", folder.join("sample").display()))
        .arg(std::env::current_exe().expect("this program"))
        // The same `memcpy` on every processor.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-ERMS,-AVX2,-AVX2_Usable")
        .status()
        .expect("valgrind");
    assert!(status.success(), "{program} failed under callgrind");

    let mut counts: Vec<Count> = Vec::new();
    for (path, case, count) in samples(&folder) {
        match counts.iter_mut().find(|known| known.case == case) {
            Some(known) if known.least <= count => {
                fs::remove_file(path).expect("a file");
                continue;
            }
            Some(known) => known.least = count,
            None => counts.push(Count { case: case.clone(), least: count }),
        }
        fs::rename(path, folder.join(case.replace([' ', '/'], "_"))).expect("a file");
    }
    counts
}

fn folder(program: &str) -> PathBuf {
    let program_file = std::env::current_exe().expect("this program");
    program_file.parent().expect("a folder").join("callgrind").join(program)
}

/// callgrind numbers its files in their order.
fn samples(folder: &Path) -> impl Iterator<Item = (PathBuf, String, i64)> {
    let number = |path: &PathBuf| path.extension()?.to_str()?.parse::<u32>().ok();
    let files =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter_map(|path| Some((number(&path)?, path))).collect();
    files.sort_unstable();
    files.into_iter().map(|(_, path)| {
        let text = fs::read_to_string(&path).expect("a sample");
        let line = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
        let case = line("desc: Trigger: Client Request: ").expect("a case").to_owned();
        let count = line("totals: ").and_then(|total| total.trim().parse().ok());
        (path, case, count.expect("a total"))
    })
}
