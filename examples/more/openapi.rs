//! An OpenAPI document with security schemes for the layer's locations, and a Swagger UI.
//!
//! Start the server:
//!
//! ```sh
//! export API_KEYS='mobile-app=12345abcde,ci=your-secret-api-key'
//! cargo run --example openapi --features openapi
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. Open <http://127.0.0.1:3000/docs/>,
//! press "Authorize" and enter the key in one location. Then press "Try it out" and "Execute" at `/whoami`.
//! You can also use another terminal:
//!
//! ```sh
//! curl http://127.0.0.1:3000/openapi.json
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/whoami
//! ```

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;

use axum::{Router, routing::get};
use tower_api_key::{
    ApiKeyLayer, Client, KeyLocation, Keyring,
    extract::{bearer, header, query},
    location::LocationKind,
};
use utoipa::{
    OpenApi,
    openapi::security::{
        ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

#[derive(OpenApi)]
#[openapi(info(title = "Whoami", version = "1", description = "Names its callers."), paths(whoami))]
struct Api;

/// Returns the client's id.
#[utoipa::path(
    get,
    path = "/whoami",
    responses(
        (status = 200, description = "The client's id", body = String, content_type = "text/plain"),
        (status = 401, description = "No key, or an invalid key"),
    ),
)]
async fn whoami(client: Client) -> String {
    format!("You are {}.\n", client.id())
}

fn app(keys: Keyring) -> Router {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys);
    let api = add_security(Api::openapi(), layer.locations());
    // By default, a public page sends the document to a validator on the internet.
    let config = Config::default().validator_url("none");

    Router::new()
        .route("/whoami", get(whoami))
        .layer(layer)
        // These routes are open, because they are added after the layer.
        .merge(SwaggerUi::new("/docs").url("/openapi.json", api).config(config))
}

/// Adds a security scheme for every location. A caller needs one of them.
fn add_security(
    mut api: utoipa::openapi::OpenApi,
    locations: &[KeyLocation],
) -> utoipa::openapi::OpenApi {
    let components = api.components.get_or_insert_default();
    let mut any_of = Vec::new();
    for location in locations {
        components.add_security_scheme(name(location), scheme(location));
        any_of.push(SecurityRequirement::new(name(location), [""; 0]));
    }
    api.security = Some(any_of);
    api
}

/// Names a scheme, such as `header.x-api-key`. OpenAPI allows letters, digits and `.-_` in names.
fn name(location: &KeyLocation) -> String {
    let other = |char: char| !char.is_ascii_alphanumeric() && !".-_".contains(char);
    format!("{}.{}", location.kind().as_str(), location.name().replace(other, "_"))
}

fn scheme(location: &KeyLocation) -> SecurityScheme {
    let key = ApiKeyValue::new(location.name());
    match location.kind() {
        LocationKind::Header => SecurityScheme::ApiKey(ApiKey::Header(key)),
        LocationKind::Query => SecurityScheme::ApiKey(ApiKey::Query(key)),
        LocationKind::Cookie => SecurityScheme::ApiKey(ApiKey::Cookie(key)),
        _ if location.is_bearer() => SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        // utoipa has no type for another `Authorization` scheme, so the user enters the whole line.
        _ => {
            let line = format!("`{}`, a blank, and the key", location.name());
            let line = ApiKeyValue::with_description("authorization", &line);
            SecurityScheme::ApiKey(ApiKey::Header(line))
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let keys = Keyring::from_env("API_KEYS")?;

    let listener = common::listen("127.0.0.1:3000").await?;

    common::serve(listener, app(keys)).await
}
