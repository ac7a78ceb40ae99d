use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{Folder, Program, free_port, program, wait_for};

/// The user of a server, because PostgreSQL refuses root. Debian's package creates it.
const USER: &str = "postgres";

/// A PostgreSQL server. Local users need no password, except for the members of the role `needs_password`.
#[derive(Debug)]
pub struct Postgres {
    program: Option<Program>,
    port: u16,
    folder: Folder,
}

impl Postgres {
    /// Starts a server of a new cluster.
    #[must_use]
    pub fn start() -> Self {
        let server = Self::prepare();
        let mut initdb = server.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]);
        output(initdb.args(["--username=postgres", "--pgdata"]).arg(server.data()));
        let rules = "host all +needs_password 127.0.0.1/32 scram-sha-256\n\
            host all all 127.0.0.1/32 trust\nlocal all all trust\n\
            host replication all 127.0.0.1/32 trust\n";
        fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
        let server = server.run();
        server.sql("postgres", "CREATE ROLE needs_password");
        server
    }

    /// Starts a standby of another server.
    #[must_use]
    pub fn standby_of(primary: &Self) -> Self {
        let server = Self::prepare();
        let mut backup = server.command("pg_basebackup");
        backup.args([
            "--no-sync",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--wal-method=stream",
        ]);
        backup.args(["--dbname", &primary.url("postgres"), "--pgdata"]).arg(server.data());
        output(&mut backup);
        server.run()
    }

    fn prepare() -> Self {
        let folder = Folder::new("pg");
        run_as_server_user("true");
        if is_root() {
            output(Command::new("chown").arg(USER).arg(&*folder));
        }
        Self { program: None, port: free_port(), folder }
    }

    fn run(mut self) -> Self {
        self.start_again();
        self
    }

    /// Starts the server of the same cluster again.
    pub fn start_again(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in [
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.folder.display()),
            "listen_addresses=127.0.0.1".to_owned(),
            "max_connections=200".to_owned(),
            "max_prepared_transactions=5".to_owned(),
            "shared_buffers=64MB".to_owned(),
            // A killed process loses no write that the operating system has.
            "fsync=off".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        self.program = Some(Program::start(&mut command, &self.folder));
        wait_for("the start of PostgreSQL", || self.is_ready());
    }

    fn is_ready(&mut self) -> bool {
        if self.program.as_mut().is_some_and(|it| !it.runs()) {
            panic!("PostgreSQL ended: {}", fs::read_to_string(self.log()).unwrap_or_default());
        }
        // Its socket is in the folder of this server. A server of another test can have taken the port.
        let mut ready = self.command("pg_isready");
        ready.args(["--quiet", "--port", &self.port.to_string(), "--host"]).arg(self.folder());
        ready.status().unwrap().success()
    }

    /// Returns the path of the server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Returns the folder of the server's socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns a command that runs a program of PostgreSQL as its user.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = run_as_server_user(program_path(name));
        command.current_dir(&*self.folder);
        command
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns the URL of a database for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_of("postgres", database)
    }

    /// Returns the URL of a database for a user. The user can have a password, as in `user:password`.
    #[must_use]
    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL with `psql`, and returns the rows without headers.
    ///
    /// # Panics
    ///
    /// Panics if a statement fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs SQL with `psql`. The error is the text of `psql`.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.command("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        let done = psql.output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }

    /// Creates a database as a copy of another, and returns its name.
    pub fn create_database(&self, template: &str) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        name
    }

    /// Returns the process of the server.
    ///
    /// # Panics
    ///
    /// Panics if the server was stopped.
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().unwrap()
    }

    /// Stops the server with a signal: `INT` ends all connections, `QUIT` is a crash of the software.
    pub fn stop(&mut self, signal: &str) {
        if let Some(mut program) = self.program.take() {
            program.signal(signal);
            program.wait();
        }
    }

    /// Kills all processes of the server at once.
    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
        }
        wait_for("the end of the server", || TcpStream::connect(self.address()).is_err());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It removes its shared memory.
        self.stop("QUIT");
    }
}

fn program_path(name: &str) -> PathBuf {
    let versions =
        [17, 16, 15, 14, 13].map(|version| format!("/usr/lib/postgresql/{version}/bin/{name}"));
    program::require("postgresql-15", &versions.each_ref().map(String::as_str))
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).trim() == "0"
}

/// Returns a command that runs a program as a user other than root.
pub fn run_as_server_user(program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
