use std::{fs, process::Stdio};

use crate::{Folder, Postgres, Program, free_port, program, run_as_server_user, wait_for};

/// A pgbouncer in transaction mode in front of a PostgreSQL server.
#[derive(Debug)]
pub struct PgBouncer {
    _program: Program,
    port: u16,
    _folder: Folder,
}

impl PgBouncer {
    /// Starts a pooler with this number of connections to each database.
    #[must_use]
    pub fn start(server: &Postgres, connections: usize) -> Self {
        let path = program::require("pgbouncer", &["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]);
        let (folder, port) = (Folder::new("pgb"), free_port());
        let (config, log) = (folder.join("ini"), folder.join("log"));
        let lines = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 500\n\
             unix_socket_dir =\nserver_round_robin = 1\nignore_startup_parameters = extra_float_digits,options\n",
            server.address().port()
        );
        // With `any`, each client is this user.
        let lines = lines.replace("port=", "user=postgres port=");
        fs::write(&config, lines).unwrap();
        let mut command = run_as_server_user(path);
        command.arg(&config).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let program = Program::start(&mut command, &folder);
        let listens = format!("listening on 127.0.0.1:{port}");
        wait_for("the start of pgbouncer", || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains(&listens))
        });
        Self { _program: program, port, _folder: folder }
    }

    /// Returns the URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}
