//! OpenAPI: security schemes from the layer's own places, and a Swagger UI whose "Authorize" works.
//!
//! ```sh
//! export API_KEYS='mobile-app=12345abcde,ci=your-secret-api-key'
//! cargo run --example openapi --features openapi
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`. Open <http://127.0.0.1:3000/docs/>, press "Authorize",
//! enter the key in one of its places, then "Try it out" and "Execute" at `/whoami`. Or:
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
    ApiKeyLayer, Client, Keyring, Place,
    extract::{bearer, header, query},
    place::PlaceKind,
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

/// Says which client calls.
#[utoipa::path(
    get,
    path = "/whoami",
    responses(
        (status = 200, description = "The client's id", body = String, content_type = "text/plain"),
        (status = 401, description = "No key, or one that opens nothing"),
    ),
)]
async fn whoami(client: Client) -> String {
    format!("You are {}.\n", client.id())
}

fn app(keys: Keyring) -> Router {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys);
    let api = secured(Api::openapi(), layer.places());
    // By default a page that is public shows the document to a validator elsewhere.
    let config = Config::default().validator_url("none");

    Router::new()
        .route("/whoami", get(whoami))
        .layer(layer)
        // Added after the layer, and so open to all.
        .merge(SwaggerUi::new("/docs").url("/openapi.json", api).config(config))
}

/// Adds a security scheme for every place. Any one of them opens all operations.
fn secured(mut api: utoipa::openapi::OpenApi, places: &[Place]) -> utoipa::openapi::OpenApi {
    let components = api.components.get_or_insert_default();
    let mut any_of = Vec::new();
    for place in places {
        components.add_security_scheme(name(place), scheme(place));
        any_of.push(SecurityRequirement::new(name(place), [""; 0]));
    }
    api.security = Some(any_of);
    api
}

/// Such as `header.x-api-key`. In names of components there is nothing but letters, digits and `.-_`.
fn name(place: &Place) -> String {
    let other = |char: char| !char.is_ascii_alphanumeric() && !".-_".contains(char);
    format!("{}.{}", place.kind().as_str(), place.name().replace(other, "_"))
}

fn scheme(place: &Place) -> SecurityScheme {
    let key = ApiKeyValue::new(place.name());
    match place.kind() {
        PlaceKind::Header => SecurityScheme::ApiKey(ApiKey::Header(key)),
        PlaceKind::Query => SecurityScheme::ApiKey(ApiKey::Query(key)),
        PlaceKind::Cookie => SecurityScheme::ApiKey(ApiKey::Cookie(key)),
        _ if place.is_bearer() => SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        // A scheme of one's own, that utoipa has no word for: the whole line is entered.
        _ => {
            let line = format!("`{}`, a blank, and the key", place.name());
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
