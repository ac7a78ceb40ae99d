use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{Folder, Program, free_port, program, wait_for};

/// A library that gives a program another clock.
const CLOCK: &str = include_str!("clock.c");

/// A Redis server without persistence.
#[derive(Debug)]
pub struct RedisServer {
    program: Option<Program>,
    port: u16,
    settings: Vec<String>,
    has_clock: bool,
    has_tls: bool,
    folder: Folder,
}

impl RedisServer {
    /// Starts an empty server.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with settings, such as `["--requirepass", "secret"]`.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        Self::prepare(settings).run()
    }

    /// Starts a server whose clock stands still until [`set_clock`](Self::set_clock). Times are microseconds since 1970.
    ///
    /// # Panics
    ///
    /// Panics if `cc` cannot compile the library of the clock.
    #[must_use]
    pub fn start_with_clock(micros: u64) -> Self {
        let mut server = Self::prepare(&[]);
        let (source, library) = (server.folder.join("clock.c"), server.folder.join("clock.so"));
        fs::write(&source, CLOCK).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().unwrap().success(), "{compiler:?}");
        server.has_clock = true;
        server.set_clock(micros);
        server.run()
    }

    /// Starts a server that accepts only TLS, with a [certificate](Self::certificate) that it signed itself.
    ///
    /// # Panics
    ///
    /// Panics if `openssl` cannot make the certificate.
    #[must_use]
    pub fn start_with_tls() -> Self {
        let mut server = Self::prepare(&[]);
        let mut openssl = Command::new(program::require("openssl", &["/usr/bin/openssl"]));
        openssl.current_dir(&*server.folder);
        openssl.args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=127.0.0.1"]);
        openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        let made = openssl.args(["-out", "tls.crt", "-keyout", "tls.key"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.has_tls = true;
        server.run()
    }

    /// Returns the path of the certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    fn prepare(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|it| (*it).to_owned()).collect();
        let (port, folder) = (free_port(), Folder::new("redis"));
        Self { program: None, port, settings, has_clock: false, has_tls: false, folder }
    }

    fn run(mut self) -> Self {
        self.start_again();
        self
    }

    /// Sets the clock of a server that was started with one.
    pub fn set_clock(&self, micros: u64) {
        let new = self.folder.join("clock.new");
        fs::write(&new, micros.to_string()).unwrap();
        fs::rename(new, self.clock()).unwrap();
    }

    fn clock(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Starts the server again on the same port, and empty.
    pub fn start_again(&mut self) {
        let mut command = Command::new(path("redis-server"));
        command.current_dir(&*self.folder).args(["--bind", "127.0.0.1", "--save", ""]);
        let port = self.port.to_string();
        if self.has_tls {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key"]);
            command.args(["--tls-ca-cert-file", "tls.crt"]);
        } else {
            command.args(["--port", &port]);
        }
        command.args(&self.settings);
        if self.has_clock {
            command.env("CLOCK_FILE", self.clock());
            command.env("LD_PRELOAD", self.folder.join("clock.so"));
        }
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        command.stdout(log).stderr(Stdio::null());
        let starts = self.starts();
        self.program = Some(Program::start(&mut command, &self.folder));
        wait_for("the start of Redis", || self.is_ready(starts));
    }

    /// Reads the log, because a server of another test can have taken the port and would accept a connection.
    fn is_ready(&mut self, starts: usize) -> bool {
        if self.program.as_mut().is_some_and(|it| !it.runs()) {
            panic!("Redis ended: {}", fs::read_to_string(self.log()).unwrap_or_default());
        }
        self.starts() > starts
    }

    /// Returns how often the server was ready.
    fn starts(&self) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.matches("Ready to accept connections").count()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns the URL of the server, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.has_tls { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address())
    }

    /// Runs a command with `redis-cli`, and returns the reply.
    ///
    /// # Panics
    ///
    /// Panics if the reply is an error.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(path("redis-cli"));
        command.args(["-e", "--no-auth-warning", "-p", &self.port.to_string()]).args(arguments);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Returns the process of the server.
    ///
    /// # Panics
    ///
    /// Panics if the server was killed.
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().unwrap()
    }

    /// Kills the server at once.
    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
        }
    }
}

fn path(program: &str) -> PathBuf {
    let candidate = format!("/usr/bin/{program}");
    program::require("redis-server", &[&candidate])
}
