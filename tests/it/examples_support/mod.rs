//! Helpers that run the examples and send requests to them.

mod frames;
mod http1;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

pub(crate) use self::{
    frames::{Frame, Kind, grpc_call},
    http1::{Reply, ask, head, read_until},
};

/// A running example. It is killed on drop.
pub(crate) struct Example {
    pub(crate) addr: SocketAddr,
    /// The printed line with the address.
    pub(crate) first_line: String,
    stdout: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Example {
    /// Starts an example on a free port, and waits for the line with the address.
    pub(crate) async fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = command(name, environment);
        let mut child = command.env("ADDR", "127.0.0.1:0").spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first_line = loop {
            let Some(line) = within(stdout.next_line()).await.unwrap() else {
                let ended = within(child.wait_with_output()).await.unwrap();
                panic!("{name} did not start: {ended:?}");
            };
            if line.contains("http://") {
                break line;
            }
        };
        let addr = first_line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let addr = addr.and_then(|addr| addr.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("{name} prints no address: {first_line}"));
        Self { addr, first_line, stdout, child }
    }

    /// Reads the next printed line.
    pub(crate) async fn line(&mut self) -> String {
        within(self.stdout.next_line()).await.unwrap().unwrap_or_else(|| panic!("no more lines"))
    }

    /// Sends a signal, and waits for the end.
    pub(crate) async fn end_with(self, signal: &str) -> Output {
        let pid = self.child.id().unwrap().to_string();
        let kill = Command::new("sh").args(["-c", "kill -s $0 $1", signal, &pid]).status();
        assert!(within(kill).await.unwrap().success());
        within(self.child.wait_with_output()).await.unwrap()
    }
}

/// Runs an example until it ends.
pub(crate) async fn run(name: &str, environment: &[(&str, &str)]) -> Output {
    within(command(name, environment).output()).await.unwrap()
}

fn command(name: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(built(name));
    for variable in ["ADDR", "API_KEYS", "API_KEYS_FILE", "UPSTREAM"] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns the path of an example. Cargo builds it in `target/debug/examples`, beside this test's folder.
fn built(name: &str) -> PathBuf {
    let this_test = std::env::current_exe().unwrap();
    let profile = this_test.ancestors().nth(2).unwrap();
    let example = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        example.exists(),
        "{} is not there: `cargo test --all-features` in the root builds examples, `cargo test --test it` does \
         not (`cargo build --examples --all-features` does)",
        example.display(),
    );
    example
}

/// Waits for a future, and panics after 30 seconds.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let in_time = tokio::time::timeout(Duration::from_secs(30), future).await;
    in_time.unwrap_or_else(|_| panic!("it took too long"))
}
