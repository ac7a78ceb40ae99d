use redis::{Client, ConnectionAddr};
use tower_api_key::store::{StoreError, StoreErrorKind};

#[cfg(feature = "rustls")]
use crate::tls;

/// The server of a URL.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) client: Client,
    /// The host and the port, or the path of the socket. It is in errors and has no password.
    pub(crate) text: String,
}

impl Address {
    /// The text of an error never has a part of the URL, because it can be a part of the password.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let invalid = |text: &'static str| StoreError::new(StoreErrorKind::Unavailable, text);

        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(FORM))?;
        let authority_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if rest.get(authority_ends..).is_some_and(|path| path.contains('@')) {
            return Err(invalid(
                "the URL of Redis has `/`, `?` or `#` in its password. Percent-encode these characters, as `%2F`, \
                 `%3F` and `%23`",
            ));
        }
        let wants_tls = matches!(scheme, "rediss" | "valkeys");
        if wants_tls && cfg!(not(any(feature = "rustls", feature = "native-tls"))) {
            return Err(invalid(
                "the URL of Redis wants TLS. Enable the feature `rustls` or `native-tls` of `tower-api-key-redis`",
            ));
        }
        #[cfg(feature = "rustls")]
        let client = if wants_tls { tls::client(url) } else { Client::open(url) };
        #[cfg(not(feature = "rustls"))]
        let client = Client::open(url);
        let client = client.map_err(|_| invalid(FORM))?;
        let text = match client.get_connection_info().addr() {
            ConnectionAddr::Unix(path) => path.display().to_string(),
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            _ => "Redis".to_owned(),
        };
        Ok(Self { client, text })
    }
}

const FORM: &str = "the URL of Redis is not valid. Use `redis://user:password@host:6379/0`, `rediss://…` for TLS, or \
     `redis+unix:///path`";
