//! Other processes. A child is this program. It runs one test with a role in its environment.

use std::{
    env,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Lines, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    panic::{self, AssertUnwindSafe},
    path::Path,
    process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{roles, support::Folder};

const ROLE: &str = "TOWER_API_KEY_SQLITE_ROLE";
const FILE: &str = "TOWER_API_KEY_SQLITE_FILE";

/// The mark of a role's line, because the test harness prints lines as well.
const MARK: &str = "> ";

/// Another process, which is killed on drop.
pub(crate) struct Child {
    process: Process,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    folder: Option<Folder>,
}

impl Child {
    /// Starts a process with a role for a database.
    pub(crate) fn start(role: &str, file: &Path) -> Self {
        Self::run(Command::new(env::current_exe().unwrap()), role, file)
    }

    /// Starts a process of another user.
    pub(crate) fn start_as(user: u32, role: &str, file: &Path) -> Self {
        // A copy, because the user may not have access to the folder of this program.
        let folder = Folder::new();
        let program = folder.join("program");
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&*folder, Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(program);
        command.uid(user).gid(user).current_dir("/");
        let mut child = Self::run(command, role, file);
        child.folder = Some(folder);
        child
    }

    fn run(mut command: Command, role: &str, file: &Path) -> Self {
        command.args(["child::play", "--exact", "--nocapture"]);
        command.env(ROLE, role).env(FILE, file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, stdin, lines, folder: None }
    }

    /// Sends a line to the process.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Returns the next line of the role, or `None` if the process has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.unwrap();
            // The harness does not end its line before the test prints.
            if let Some((_, text)) = line.split_once(MARK) {
                return Some(text.to_owned());
            }
        }
    }

    /// Sends a line and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line().expect("the process has ended")
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Prints a line for the parent.
pub(crate) fn say(text: impl std::fmt::Display) {
    println!("{MARK}{text}");
}

/// Reads a line of the parent, or `None` at the end.
pub(crate) fn hear() -> Option<String> {
    std::io::stdin().lines().next().map(Result::unwrap)
}

/// The part of a child. Without a role it does nothing.
#[test]
fn play() {
    let (Ok(role), Some(file)) = (env::var(ROLE), env::var_os(FILE)) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let play = || runtime.block_on(roles::play(&role, Path::new(&file)));
    let result = panic::catch_unwind(AssertUnwindSafe(play));
    // A thread may wait for the parent for ever.
    runtime.shutdown_background();
    result.unwrap_or_else(|panic| panic::resume_unwind(panic));
}
