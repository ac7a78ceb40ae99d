//! An axum app whose keys are in a database, with routes to list, issue, rotate and revoke them.
//!
//! ```sh
//! cargo run -p tower-api-key-sqlite --example admin
//! ```
//!
//! The database is `keys.db` in the current folder, or `KEYS_DB` if it is set. The server listens on
//! 127.0.0.1:3000, or on `ADDR` if it is set. At the first start it prints the key of an administrator. The README
//! has the `curl` lines.

use std::{env, error::Error, time::Duration};

use axum::{
    Extension, Router,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use tower_api_key::{
    ApiKeyLayer, Client, RequireScopeLayer,
    extract::header,
    key::{KeyFormat, MintedKey},
    store::{Change, KeyStore as _, Mirrored, Page, StoreError, StoreErrorKind},
};
use tower_api_key_sqlite::Sqlite;

/// The scope of an administrator.
const ADMIN: &str = "keys:admin";

/// The time for which both keys work after a rotation.
const OVERLAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The mirror makes changes and verifies keys. The store lists more keys than the memory may hold.
#[derive(Clone)]
struct Keys {
    mirror: Mirrored,
    store: Sqlite,
}

pub(crate) fn app(mirror: Mirrored, store: Sqlite) -> Router {
    let admin = Router::new()
        .route("/keys", get(list))
        .route("/clients/{client}/keys", post(issue))
        .route("/keys/{id}/rotate", post(rotate))
        .route("/keys/{id}", delete(revoke))
        .with_state(Keys { mirror: mirror.clone(), store })
        .layer(RequireScopeLayer::all([ADMIN]));
    Router::new()
        .route("/whoami", get(whoami))
        .nest("/admin", admin)
        .layer(ApiKeyLayer::new(header("x-api-key"), mirror))
}

async fn whoami(Extension(client): Extension<Client>) -> String {
    format!("{} {}\n", client.id(), client.key_id().unwrap_or("-"))
}

/// Lists 100 keys. The query is the id after which the page begins.
async fn list(State(keys): State<Keys>, RawQuery(after): RawQuery) -> Result<String, Failure> {
    let records = keys.store.list(&Page::new().with_after(after.unwrap_or_default())).await?;
    let lines = records.iter().map(|record| {
        let state = match (record.revoked(), record.replaced_by()) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(id)) => format!("replaced by {id}"),
            (None, None) => "valid".to_owned(),
        };
        format!("{} {} {state}\n", record.id().unwrap_or_default(), record.client().id())
    });
    Ok(lines.collect())
}

/// Issues a key. The body has the scopes of the client, separated by blanks.
async fn issue(
    State(keys): State<Keys>,
    Extension(admin): Extension<Client>,
    Path(client): Path<String>,
    scopes: String,
) -> Result<Response, Failure> {
    let client = Client::new(client).with_scopes(scopes.split_whitespace());
    let change = Change::issue(&KeyFormat::default(), client).with_by(admin.id());
    show(keys.mirror.change(change).await?.into_minted())
}

async fn rotate(
    State(keys): State<Keys>,
    Extension(admin): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let change = Change::rotate(id, OVERLAP).with_by(admin.id());
    show(keys.mirror.change(change).await?.into_minted())
}

async fn revoke(
    State(keys): State<Keys>,
    Extension(admin): Extension<Client>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let change = Change::revoke_key(id).with_by(admin.id());
    match keys.mirror.change(change).await?.count() {
        0 => Ok(StatusCode::NOT_FOUND),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Shows a key once. No cache may keep it.
fn show(minted: Option<MintedKey>) -> Result<Response, Failure> {
    let minted = minted.ok_or(Failure(StatusCode::INTERNAL_SERVER_ERROR, "no key".to_owned()))?;
    let body = minted.reveal(|key| format!("{key}\n"));
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], body).into_response())
}

/// The status and the text of an error.
struct Failure(StatusCode, String);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.refused() {
            Some(reason) => Self(StatusCode::UNPROCESSABLE_ENTITY, reason.to_string()),
            None if error.kind() == StoreErrorKind::OutcomeUnknown => {
                Self(StatusCode::BAD_GATEWAY, "the change may have taken effect".to_owned())
            }
            None => {
                eprintln!("{error}");
                Self(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be changed".to_owned())
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

/// Issues the key of the first administrator, if there is none.
pub(crate) async fn first_key(keys: &Mirrored) -> Result<Option<String>, StoreError> {
    let is_admin = |client: &Client| client.has_scope(ADMIN);
    if keys.records().any(|record| record.revoked().is_none() && is_admin(record.client())) {
        return Ok(None);
    }
    let admin = Client::new("admin").with_scopes([ADMIN]);
    let minted = keys.issue(&KeyFormat::new("admin").unwrap_or_default(), admin).await?;
    Ok(Some(minted.reveal(str::to_owned)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = env::var("KEYS_DB").unwrap_or_else(|_| "keys.db".to_owned());
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    Sqlite::migrate(&path)?;
    let store = Sqlite::open(&path)?;
    let keys = Mirrored::open(store.clone()).await?;
    if let Some(key) = first_key(&keys).await? {
        println!("The key of the administrator, which is not shown again:\n{key}");
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(keys, store)).await?;
    Ok(())
}
