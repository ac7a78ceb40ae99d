//! A request that a mirror accepts, beside the same request and a keyring.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::header,
    record::Record,
    store::{Change, Mirrored},
    verify::Verify,
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    Folder,
    figures::{Figures, compare},
};

pub const KEYS: usize = 1_000;
const REQUESTS: usize = 2_000;

pub fn key(number: usize) -> String {
    format!("sk_live_of_the_client_with_the_number_{number}")
}

pub fn run(folder: &Folder, is_quick: bool, figures: &mut Figures) {
    let runtime = crate::runtime();
    let file = folder.database("request.db");
    let mirror = runtime.block_on(async {
        let store = Sqlite::open(file).unwrap();
        let records = (0..KEYS)
            .map(|n| Record::new(KeyDigest::of(key(n)), Client::new(format!("client-{n}"))));
        _ = Change::insert_if_absent(records).commit(&store).await.unwrap();
        Mirrored::open(store).await.unwrap()
    });
    let keyring = Keyring::new();
    mirror.records().for_each(|record| keyring.insert_record(record).unwrap());
    let rounds = if is_quick { 20 } else { 2_000 };
    let (one, other, ratio) = compare(rounds, requests(mirror), requests(keyring));
    let per_request = |ns: f64| ns / REQUESTS as f64;
    println!("a request: mirror {:.1} ns, keyring {:.1} ns", per_request(one), per_request(other));
    figures.add("a request with Mirrored ÷ with a keyring", ratio, 1.02, "");
}

/// Returns a closure that sends requests with good keys.
pub fn requests<V>(keys: V) -> impl FnMut()
where
    V: Verify<Client = Client> + Send + Sync + 'static,
    V::Future: Send,
{
    let inner = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mut service = ApiKeyLayer::new(header("x-api-key"), keys).no_cache_headers().layer(inner);
    let texts: Vec<_> = (0..KEYS).map(|n| http::HeaderValue::try_from(key(n)).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    move || {
        runtime.block_on(async {
            for number in 0..REQUESTS {
                let mut request = Request::new(Full::default());
                request.headers_mut().insert("x-api-key", texts[number % KEYS].clone());
                let response = service.ready().await.unwrap().call(request).await.unwrap();
                assert_eq!(response.status(), 200);
            }
        });
    }
}
