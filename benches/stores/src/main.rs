//! What keys in a store cost. Prints each figure with its bar, and exits with 1 if a bar is missed.
//!
//! `cargo run --release --manifest-path benches/stores/Cargo.toml -- find usage` runs only these. `--quick` takes
//! small numbers, which are no figures.

mod ask;
mod cached;
mod figures;
mod find;
mod latency;
mod million;
mod records;
mod request;
mod usage;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use figures::Figures;

/// A folder that is deleted on drop. Its disk is that of the measurements.
pub struct Folder(PathBuf);

impl Folder {
    pub fn create() -> Self {
        let path = env::temp_dir().join(format!("stores-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Creates an empty database.
    pub fn database(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        tower_api_key_sqlite::Sqlite::migrate(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a runtime with one thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [role, file] = &*arguments {
        match &**role {
            "--follow" => latency::follow(Path::new(file)),
            "--memory" => million::print_memory(Path::new(file)),
            _ => return run(&arguments),
        }
        return ExitCode::SUCCESS;
    }
    run(&arguments)
}

fn run(arguments: &[String]) -> ExitCode {
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let (folder, mut figures) = (Folder::create(), Figures::default());
    type Run = fn(&Folder, bool, &mut Figures);
    let all: [(&str, Run); 6] = [
        ("request", request::run),
        ("cached", cached::run),
        ("find", find::run),
        ("usage", usage::run),
        ("latency", latency::run),
        ("million", million::run),
    ];
    for (name, run) in all {
        if names.is_empty() || names.iter().any(|wanted| *wanted == name) {
            run(&folder, is_quick, &mut figures);
        }
    }
    figures.print()
}
