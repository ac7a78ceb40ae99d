//! Limits behind a cache and a mirror.

use http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client,
    extract::header,
    limit::{ClientLimitLayer, Limit, Limiter, Limits},
    store::{Cached, Mirrored},
    verify::Verify,
};

use crate::cached::{KEY, ask_now, one_key};

static THREE: Limits = Limits::new(&[Limit::per_hour("hour", 3)]);

/// Returns the statuses of five requests with the same key.
async fn statuses<V>(keys: V) -> Vec<u16>
where
    V: Verify<Client = Client> + Clone + Send + Sync + 'static,
    V::Future: Send,
{
    let service = service_fn(async |_: Request<String>| {
        Ok::<_, std::convert::Infallible>(Response::new("accepted".to_owned()))
    });
    let limits = ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &THREE);
    let service = ApiKeyLayer::new(header("x-api-key"), keys).layer(limits.layer(service));
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let request = Request::get("/").header("x-api-key", KEY).body(String::new()).unwrap();
        let status = service.clone().oneshot(request).await.unwrap().status();
        statuses.push(status);
    }
    statuses.iter().map(StatusCode::as_u16).collect()
}

#[tokio::test]
async fn a_key_in_memory_does_not_pass_its_limit_and_is_never_a_401() {
    let store = one_key().await;
    let keys = Cached::open(store.clone()).await.unwrap();
    assert_eq!(statuses(keys.clone()).await, [200, 200, 200, 429, 429]);
    assert_eq!(store.finds(), 1, "all but the first are hits");
    assert!(ask_now(&keys, KEY).unwrap().is_ok());
    let keys = Mirrored::open(store).await.unwrap();
    assert_eq!(statuses(keys).await, [200, 200, 200, 429, 429]);
}
