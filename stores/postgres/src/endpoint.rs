use std::{fmt, path::PathBuf, str::FromStr as _, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::{password, tls::Tls};

/// A server and how to connect to it.
pub(crate) struct Endpoint {
    config: Config,
    /// The URL for logs, without the user and the password.
    name: String,
    password_file: Option<PathBuf>,
    tls: Tls,
    deadline: Duration,
    prepares: bool,
}

/// The text about a URL. It does not quote the URL, because a part of a password can look like a part of it.
const INVALID: &str = "the URL of the database is not valid. Write postgres://user:password@host:5432/database, and \
    percent-encode special characters of the password";

impl Endpoint {
    /// Parses a URL. The deadline is that of each operation.
    pub(crate) fn parse(
        url: &str,
        password_file: Option<PathBuf>,
        deadline: Duration,
    ) -> Result<Self, StoreError> {
        let invalid = || StoreError::new(StoreErrorKind::Unavailable, INVALID);
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(invalid());
        }
        let Parts { url, is_verified, root } = Parts::of(url);
        let mut config = Config::from_str(&url).map_err(|_| invalid())?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid());
        }
        if is_verified {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_application_name().is_none() {
            config.application_name("tower-api-key");
        }
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let name = name(&config);
        let tls = Tls::new(config.get_ssl_mode(), root.as_deref()).map_err(|text| {
            StoreError::new(StoreErrorKind::Unavailable, format!("{name}: {text}"))
        })?;
        Ok(Self { config, name, password_file, tls, deadline, prepares: false })
    }

    /// Sets whether its connections prepare their statements.
    pub(crate) fn with_prepares(self, prepares: bool) -> Self {
        Self { prepares, ..self }
    }

    pub(crate) fn prepares(&self) -> bool {
        self.prepares
    }

    /// Returns the URL without the user and the password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Returns the longest time of each operation.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn error(&self, kind: StoreErrorKind, text: &str) -> StoreError {
        StoreError::new(kind, format!("{}: {text}", self.name))
    }

    /// Returns the error of an operation that did not end in time.
    pub(crate) fn timed_out(&self, doing: &str) -> StoreError {
        let text = format!("cannot {doing}: the server did not answer in time");
        self.error(StoreErrorKind::Unavailable, &text)
    }

    /// Returns the configuration with the current password.
    pub(crate) fn config(&self) -> Result<Config, StoreError> {
        let mut config = self.config.clone();
        let found = password::find(&config, self.password_file.as_deref())
            .map_err(|text| self.error(StoreErrorKind::Denied, &text))?;
        if let Some(password) = found {
            config.password(password);
        }
        Ok(config)
    }
}

/// Shows the URL without the user and the password.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn name(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(host) if host.contains(':') => format!("[{host}]"),
        Host::Tcp(host) => host.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let all: Vec<_> = hosts.chain(addresses).collect();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{}:{port}/{database}", all.join(",")).escape_debug().to_string()
}

/// The parts of a URL that the client of the database does not know.
struct Parts {
    url: String,
    /// `verify-full` is the only way in which this crate uses TLS.
    is_verified: bool,
    root: Option<String>,
}

impl Parts {
    fn of(url: &str) -> Self {
        let (mut is_verified, mut root) = (false, None);
        // The query comes after the password.
        let host = url.rfind('@').unwrap_or_default();
        let (before, query) = match url.get(host..).and_then(|rest| rest.find('?')) {
            Some(at) => (url.get(..host + at).unwrap_or(url), url.get(host + at + 1..)),
            None => (url, None),
        };
        let options = query.into_iter().flat_map(|query| query.split('&'));
        let rest: Vec<_> = options
            .filter(|option| match option.split_once('=') {
                Some(("sslmode", "verify-full" | "verify-ca")) => {
                    is_verified = true;
                    false
                }
                Some(("sslrootcert", path)) => {
                    root = Some(path.to_owned());
                    false
                }
                _ => true,
            })
            .collect();
        let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
        Self { url: format!("{before}{query}"), is_verified, root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, StoreError> {
        Endpoint::parse(url, None, Duration::from_secs(1))
    }

    #[test]
    fn a_name_has_the_place_and_no_password() {
        for (url, name) in [
            ("postgres://user:hunter2@db.example.com/keys", "postgres://db.example.com:5432/keys"),
            ("postgresql://user:hunter2@[::1]:99/keys?sslmode=disable", "postgres://[::1]:99/keys"),
            ("postgres://u:hunter2@a,b/keys?password=hunter2", "postgres://a,b:5432/keys"),
            ("postgres://%2Frun%2Fpg/k%0Aeys", "postgres:///run/pg:5432/k\\neys"),
            ("postgres://u:hu?nter2@host/keys?application_name=x", "postgres://host:5432/keys"),
        ] {
            let endpoint = parse(url).unwrap();
            assert_eq!(endpoint.name(), name);
            assert!(!format!("{endpoint:?}").contains("hunter2"));
        }
    }

    #[test]
    fn an_invalid_url_is_refused_and_not_quoted() {
        for url in [
            "keys",
            "mysql://user:hunter2@host/keys",
            "postgres://",
            "postgres:///keys",
            "postgres://user:hunter2/x?y@host/keys?hunter2=1",
            "postgres://user:a@hunter2?@host/keys",
            "postgres://user:hunter2@host:port/keys",
            "postgres://user:hunter2@host/keys?sslmode=hunter2",
            "postgres://user:hunter2@host/keys?hunter2",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_options_of_libpq_for_certificates_are_known() {
        let parts =
            Parts::of("postgres://u@h/d?sslmode=verify-full&connect_timeout=3&sslrootcert=/a");
        assert_eq!(parts.url, "postgres://u@h/d?connect_timeout=3");
        assert_eq!((parts.is_verified, parts.root.as_deref()), (true, Some("/a")));
        let parts = Parts::of("postgres://u@h/d?sslmode=require");
        assert_eq!((&*parts.url, parts.is_verified), ("postgres://u@h/d?sslmode=require", false));
    }
}
