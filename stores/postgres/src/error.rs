use std::error::Error as _;

use tokio_postgres::{Error, error::SqlState};
use tower_api_key::store::{StoreError, StoreErrorKind};

/// The reason why the database failed. It never has a value of a row.
struct Reason {
    kind: StoreErrorKind,
    text: String,
}

/// The next step if tables are not there or too old.
pub(crate) const MIGRATE: &str =
    "Create or upgrade them with `apikey migrate --store postgres://…` or `Postgres::migrate`";

/// The begins of the driver's texts about a connection, and the next steps.
const CONNECTING: [(&str, &str); 3] = [
    (
        "error connecting to server",
        "Check the host and the port of the URL, and that the server runs",
    ),
    (
        "error performing TLS handshake",
        "Check the name of the host, and add `sslrootcert` with the certificate of the authority to the URL. On a \
            trusted network, `sslmode=disable` does without TLS",
    ),
    (
        "invalid configuration: password missing",
        "Write it into a file that PGPASSFILE names, or into a password file",
    ),
];

impl Reason {
    fn of(error: &Error) -> Self {
        use StoreErrorKind::Unavailable;

        let Some(database) = error.as_db_error() else {
            // The cause is an error of a socket or of TLS.
            let mut text = match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            if let Some((_, step)) = CONNECTING.iter().find(|(begin, _)| text.starts_with(begin)) {
                text += &format!(". {step}");
            }
            return Self { kind: Unavailable, text };
        };
        let code = database.code();
        let (kind, hint) = hint(code);
        let shown = ["08", "25", "28", "3D", "42", "53", "55", "57"];
        // A message of another class can quote a value, and so can a detail.
        let message = match shown.iter().any(|class| code.code().starts_with(class)) {
            true => format!("{} ", escape(database.message())),
            false => String::new(),
        };
        let text = format!("{message}(SQLSTATE {}){hint}", code.code());
        Self { kind, text }
    }
}

/// Escapes characters that control a terminal.
fn escape(message: &str) -> String {
    message.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// Returns the kind of an error and the next step.
fn hint(code: &SqlState) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Conflict, Corrupt, Denied, Unavailable, UnsupportedVersion};

    let (kind, hint) = match *code {
        SqlState::UNIQUE_VIOLATION => (Conflict, "another key has this digest or id"),
        SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE => {
            (Conflict, "another transaction won")
        }
        SqlState::LOCK_NOT_AVAILABLE => {
            (Unavailable, "another transaction holds a key. `pg_blocking_pids` names its process")
        }
        SqlState::QUERY_CANCELED => (Unavailable, "the statement took too long"),
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            (Denied, "check the user and the password of the URL, and pg_hba.conf of the server")
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            (Denied, "grant the rights of `Postgres::service_rights` or `operator_rights`")
        }
        SqlState::INVALID_CATALOG_NAME => (Unavailable, "create the database with `createdb`"),
        SqlState::UNDEFINED_TABLE => {
            return (UnsupportedVersion, format!(". {MIGRATE}"));
        }
        SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_FUNCTION => (
            UnsupportedVersion,
            "the tables are not those of this program. Call `Postgres::migrate`",
        ),
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::CANNOT_CONNECT_NOW => {
            (Unavailable, "the server starts, or it is a standby. Give the URL of the primary")
        }
        SqlState::TOO_MANY_CONNECTIONS => {
            (Unavailable, "lower `PostgresOptions::max_connections`, or use a pooler")
        }
        SqlState::DISK_FULL => (Unavailable, "the disk of the server is full"),
        _ if code.code().starts_with("23") => (Corrupt, "the tables do not accept the row"),
        _ if code.code().starts_with("XX") => (Corrupt, "the database is damaged"),
        _ => (Unavailable, ""),
    };
    (kind, if hint.is_empty() { String::new() } else { format!(": {hint}") })
}

/// Converts an error. The text names the database and the operation.
pub(crate) fn failed(name: &str, doing: &str, error: &Error) -> StoreError {
    let Reason { kind, text } = Reason::of(error);
    StoreError::new(kind, format!("{name}: cannot {doing}: {text}"))
}

/// Converts an error of a new connection. No row was read, so a failure inside the server says nothing about the tables.
pub(crate) fn connect_failed(name: &str, error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(database) if database.code().code().starts_with("XX") => {
            let (message, code) = (escape(database.message()), database.code().code());
            let step = "Read the log of the server. Its disk may be full";
            let text = format!("{name}: cannot connect: {message} (SQLSTATE {code}). {step}");
            StoreError::new(StoreErrorKind::Unavailable, text)
        }
        _ => failed(name, "connect", error),
    }
}

/// Converts an error of `COMMIT`. Without an answer of a server that goes on, the change may have taken effect.
pub(crate) fn commit_failed(name: &str, error: &Error) -> StoreError {
    let Reason { mut kind, text } = Reason::of(error);
    let is_certain = error
        .code()
        .is_some_and(|code| !["08", "57", "XX"].iter().any(|class| code.code().starts_with(class)));
    if !is_certain {
        kind = StoreErrorKind::OutcomeUnknown;
    }
    StoreError::new(kind, format!("{name}: cannot commit the change: {text}"))
}
