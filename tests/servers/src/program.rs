use std::{
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The program of a server, with its children.
///
/// A watchdog kills them and deletes the folder when this process ends, because a kill runs no destructor.
#[derive(Debug)]
pub struct Program {
    child: Child,
    watchdog: Child,
}

/// Kills a process and its children. A stopped process ends when it continues.
const KILL: &str =
    "all=\"$(pgrep -P $0) $0\"; kill -KILL $all 2>/dev/null; kill -CONT $all 2>/dev/null";

impl Program {
    /// Starts a program. The watchdog deletes the folder.
    #[must_use]
    pub fn start(command: &mut Command, folder: &Path) -> Self {
        // A signal to the group of the tests, such as that of Ctrl-C, must reach neither of both.
        let child = command.stdin(Stdio::null()).process_group(0).spawn().unwrap();
        // `cat` ends when the pipe closes.
        let script = format!("cat >/dev/null; {KILL}; rm -rf \"$1\"");
        let watchdog = Command::new("sh")
            .args(["-c", &script, &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, watchdog }
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the program runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, such as `TERM`, to the process alone.
    pub fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.id().to_string()]));
    }

    /// Stops the process and its children, as if the machine hung.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, signal: &str) {
        let script = format!("kill -s {signal} $0 $(pgrep -P $0)");
        run(Command::new("sh").args(["-c", &script, &self.id().to_string()]));
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) {
        let status = self.child.wait().unwrap();
        println!("process {} ended: {status}", self.id());
    }

    /// Kills the process and its children.
    pub fn kill(&mut self) {
        _ = Command::new("sh").args(["-c", KILL, &self.id().to_string()]).status();
        self.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.watchdog.kill();
        _ = self.watchdog.wait();
        if self.runs() {
            self.kill();
        }
    }
}

#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Returns a free port of the loopback interface.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Returns the path of a program. Without it the test fails with the name of the Debian package.
#[track_caller]
#[must_use]
pub fn require(package: &str, candidates: &[&str]) -> PathBuf {
    let found = candidates.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("no {}: these tests need `apt-get install {package}`", candidates.join(", "))
    })
}

/// Waits until a condition holds.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not happen in a minute");
        thread::sleep(Duration::from_millis(20));
    }
}
