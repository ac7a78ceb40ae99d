//! The service behind the cache. Each response names its client, and allows the cache to store it in one of
//! several ways.

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, StatusCode, header},
    response::{AppendHeaders, IntoResponse},
    routing::get,
};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring,
    extract::{bearer, cookie, header, query},
};

pub const FIRST: &str = "the-key-of-the-first-client-0001";
pub const SECOND: &str = "the-key-of-the-second-client-002";
pub const WRONG: &str = "a-key-that-was-never-issued-0003";

pub const OWNER: &str = "x-for";
pub const NOBODY: &str = "nobody";

/// The kinds of responses, by their names in the path.
pub const ANSWERS: [&str; 8] =
    ["plain", "max-age", "public", "s-maxage", "varied", "missing", "accel", "cdn"];
pub const EXEMPT: &str = "/max-age/exempt";

/// Returns the routes `/default/…` and `/no-headers/…`.
///
/// `/no-headers/…` shows that the cache can return responses to wrong callers. The rest of a path is
/// `optional` or `required`, the kind of the response, and any text.
pub fn site() -> Router {
    let keys = Keyring::new();
    keys.insert(FIRST, Client::new("first")).unwrap();
    keys.insert(SECOND, Client::new("second")).unwrap();
    let locations = (header("x-api-key"), query("api_key"), cookie("sid"), bearer());
    let layer = ApiKeyLayer::new(locations, keys).exempt_path(EXEMPT);

    let answers = Router::new().route("/{kind}/{any}", get(answer));
    let optional = answers.clone().layer(layer.clone().optional());
    let required = answers.clone().layer(layer.clone());
    let optional_bare = answers.clone().layer(layer.clone().optional().no_cache_headers());
    let required_bare = answers.layer(layer.no_cache_headers());
    Router::new()
        .nest("/default/optional", optional)
        .nest("/default/required", required)
        .nest("/no-headers/optional", optional_bare)
        .nest("/no-headers/required", required_bare)
}

async fn answer(
    Path((kind, _)): Path<(String, String)>,
    client: Option<Client>,
) -> impl IntoResponse {
    let owner = client.map_or(NOBODY.to_owned(), |client| client.id().to_owned());
    let status = if kind == "missing" { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let invitation: &[(HeaderName, &str)] = match &*kind {
        "max-age" => &[(header::CACHE_CONTROL, "max-age=60")],
        "public" => &[(header::CACHE_CONTROL, "public, max-age=60")],
        "s-maxage" => &[(header::CACHE_CONTROL, "s-maxage=60")],
        "varied" => &[
            (header::CACHE_CONTROL, "max-age=60"),
            (header::VARY, "accept-language"),
            (header::VARY, "origin"),
        ],
        "accel" => &[(HeaderName::from_static("x-accel-expires"), "60")],
        "cdn" => &[(header::CDN_CACHE_CONTROL, "max-age=60")],
        _ => &[],
    };
    let body = format!("for {owner}\n");
    (status, AppendHeaders(invitation.to_vec()), [(OWNER, owner)], body)
}
