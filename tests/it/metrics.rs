//! `observe::Metrics`: exact counts, and labels that a caller cannot choose.

#![cfg(feature = "metrics")]

use crate::support;

use std::{convert::Infallible, sync::Arc};

use http::{Method, Request, Response, request};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use support::{KEY, OTHER, WRONG, ask, keys_of_three_clients as keys};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Rejection, RequireScopeLayer,
    extract::{Extract, RequestHead, bearer, header, query},
    observe::{Decision, Metrics, Observe},
    rejection::Reason,
    respond,
    verify::{self, PresentedKey, Verify, VerifyError},
};

/// The metrics of a scrape.
struct Scraped(PrometheusRecorder);

impl Scraped {
    fn new() -> Self {
        Self(PrometheusBuilder::new().build_recorder())
    }

    fn ask<E, V, O>(&self, layer: &ApiKeyLayer<E, V, O>, request: request::Builder)
    where
        E: Extract,
        V: Verify,
        O: Observe<V::Client>,
    {
        metrics::with_local_recorder(&self.0, || ask(layer, request));
    }

    /// Returns all series, sorted, without the name of the counter.
    fn series(&self) -> Vec<String> {
        let text = self.0.handle().render();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let lines = lines.map(|line| line.replace(Metrics::REQUESTS_TOTAL, ""));
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable();
        lines
    }
}

fn get(key: &str) -> request::Builder {
    Request::get("/").header("x-api-key", key)
}

#[test]
fn requests_are_counted_by_outcome_reason_and_location() {
    let scraped = Scraped::new();
    let verifier = keys().or(verify::from_fn(|key: &PresentedKey<'_>| match key.expose() {
        b"expired" => Err(VerifyError::expired()),
        b"early" => Err(VerifyError::not_yet_valid()),
        b"broken" => Err(VerifyError::failed("down")),
        _ => Ok(None),
    }));
    let layer = ApiKeyLayer::new((header("X-Api-Key"), query("api_key"), bearer()), verifier)
        .exempt_path("/health")
        .observe(Metrics::new());
    let optional = layer.clone().optional();
    for (times, request) in [
        (3, (|| get(KEY)) as fn() -> request::Builder),
        (1, || Request::get(format!("/?api_key={KEY}"))),
        (1, || Request::get("/").header("authorization", format!("Bearer {OTHER}"))),
        (2, || Request::get("/health")),
        (4, || Request::get("/")),
        (1, || get(KEY).header("x-api-key", KEY)),
        (5, || get(WRONG)),
        (1, || Request::get("/").header("authorization", "Bearer a b")),
        (1, || get(&"k".repeat(1025))),
        (1, || get("early")),
        (1, || get("expired")),
        (2, || get("key-to-be-revoked")),
        (2, || get("broken")),
    ] {
        (0..times).for_each(|_| scraped.ask(&layer, request()));
    }
    scraped.ask(&optional, Request::get("/"));
    assert_eq!(
        scraped.series(),
        [
            r#"{outcome="accepted",location="header x-api-key"} 3"#,
            r#"{outcome="accepted",location="query api_key"} 1"#,
            r#"{outcome="accepted",location="scheme Bearer"} 1"#,
            r#"{outcome="anonymous"} 1"#,
            r#"{outcome="exempt"} 2"#,
            r#"{outcome="rejected",reason="ambiguous"} 1"#,
            r#"{outcome="rejected",reason="expired",location="header x-api-key"} 1"#,
            r#"{outcome="rejected",reason="failed",location="header x-api-key"} 2"#,
            r#"{outcome="rejected",reason="malformed",location="scheme Bearer"} 1"#,
            r#"{outcome="rejected",reason="missing"} 4"#,
            r#"{outcome="rejected",reason="not_yet_valid",location="header x-api-key"} 1"#,
            r#"{outcome="rejected",reason="revoked",location="header x-api-key"} 2"#,
            r#"{outcome="rejected",reason="too_long",location="header x-api-key"} 1"#,
            r#"{outcome="rejected",reason="unknown",location="header x-api-key"} 5"#,
        ]
    );
}

#[test]
fn the_use_of_an_old_key_is_visible_by_its_id() {
    let scraped = Scraped::new();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys())
        .observe(Metrics::new().by_client().by_key_id());
    let of = |key: &str| {
        let mut series = scraped.series().into_iter();
        let series = series.find(|line| line.contains(&format!(r#"key_id="{key}""#)));
        series.map_or("0".to_owned(), |line| line.rsplit(' ').next().unwrap().to_owned())
    };
    scraped.ask(&layer, get(KEY));
    assert_eq!((&*of("OldKey01"), &*of("NewKey02")), ("1", "0"));
    for _ in 0..3 {
        scraped.ask(&layer, get("the-new-key-of-the-mobile-app"));
    }
    assert_eq!((&*of("OldKey01"), &*of("NewKey02")), ("1", "3"));

    for key in [OTHER, "key-to-be-revoked", WRONG] {
        scraped.ask(&layer, get(key));
    }
    let location = r#"location="header x-api-key""#;
    assert_eq!(
        scraped.series(),
        [
            r#"{outcome="accepted",P,client="ci",key_id="CiCiCiK3"} 1"#,
            r#"{outcome="accepted",P,client="mobile-app",key_id="NewKey02"} 3"#,
            r#"{outcome="accepted",P,client="mobile-app",key_id="OldKey01"} 1"#,
            r#"{outcome="rejected",reason="revoked",P,key_id="FormerK4"} 1"#,
            r#"{outcome="rejected",reason="unknown",P} 1"#,
        ]
        .map(|line| line.replace('P', location))
    );
}

#[test]
fn ids_beyond_the_limit_share_a_label() {
    let scraped = Scraped::new();
    // This verifier accepts every key and uses it as the id of the client.
    let any = || {
        verify::from_fn(|key: &PresentedKey<'_>| {
            let id = String::from_utf8(key.expose().into()).unwrap();
            Some(Client::new(&*id).with_key_id(id))
        })
    };
    let metrics = Arc::new(Metrics::new().by_client().by_key_id().max_ids(2));
    let first = ApiKeyLayer::new(header("x-api-key"), any()).observe(Arc::clone(&metrics));
    let second = ApiKeyLayer::new(header("x-api-key"), any()).observe(metrics);
    for key in ["a", "b", "c", "d", "a", "b", "c"] {
        scraped.ask(&first, get(key));
        scraped.ask(&second, get(key));
    }
    assert_eq!(
        scraped.series(),
        [("_other", 6), ("a", 4), ("b", 4)].map(|(id, count)| format!(
            r#"{{outcome="accepted",location="header x-api-key",client="{id}",key_id="{id}"}} {count}"#
        ))
    );

    let scraped = Scraped::new();
    let layer = ApiKeyLayer::new(header("x-api-key"), any()).observe(Metrics::new().by_key_id());
    for key in 0..1010 {
        scraped.ask(&layer, get(&key.to_string()));
    }
    let series = scraped.series();
    assert_eq!(series.len(), 1001);
    assert!(series.contains(
        &r#"{outcome="accepted",location="header x-api-key",key_id="_other"} 10"#.to_owned()
    ));
}

#[test]
fn a_client_with_the_name_of_the_shared_label_has_a_label_of_its_own() {
    let scraped = Scraped::new();
    let any = verify::from_fn(|key: &PresentedKey<'_>| {
        Some(Client::new(String::from_utf8(key.expose().into()).unwrap()))
    });
    let metrics = Metrics::new().by_client().max_ids(4);
    let layer = ApiKeyLayer::new(header("x-api-key"), any).observe(metrics);
    for id in ["_other", "__other", "other", "_others", "_other", "one-too-many"] {
        scraped.ask(&layer, get(id));
    }
    assert_eq!(
        scraped.series(),
        [("___other", 1), ("__other", 2), ("_other", 1), ("_others", 1), ("other", 1)].map(
            |(id, count)| format!(
                r#"{{outcome="accepted",location="header x-api-key",client="{id}"}} {count}"#
            )
        )
    );
}

#[test]
fn r54_no_label_has_text_from_a_caller() {
    let scraped = Scraped::new();
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key")), keys())
        .observe(Metrics::new().by_client().by_key_id().latency());
    let hostile = "h0stile\",outcome=\\\"x\u{9b}\u{202e}";
    for number in 0..50 {
        let method = Method::from_bytes(format!("H0STILE{number}").as_bytes()).unwrap();
        let request = |path: String| Request::builder().method(method.clone()).uri(path);
        for request in [
            request(format!("/{hostile}{number}")).header("x-api-key", KEY),
            request(format!("/{number}?api_key=h0stile{number}&h0stile")),
            request(format!("/{number}?api_key=%22h0stile%0a{number}")),
            request("/".to_owned()).header("x-api-key", format!("h0stile-{number}")),
            request("/".to_owned())
                .header("x-api-key", "h0stile\u{9b}")
                .header("user-agent", format!("h0stile {number}")),
            request("/".to_owned()).header("authorization", format!("H0stile {number}")),
        ] {
            scraped.ask(&layer, request);
        }
    }
    let text = scraped.0.handle().render();
    assert!(!text.to_lowercase().contains("h0stile") && !text.contains("OTHER"), "{text}");
    let counters: Vec<_> =
        scraped.series().into_iter().filter(|line| line.starts_with('{')).collect();
    assert_eq!(
        counters,
        [
            r#"{outcome="accepted",location="header x-api-key",client="mobile-app",key_id="OldKey01"} 50"#,
            r#"{outcome="rejected",reason="malformed",location="header x-api-key"} 50"#,
            r#"{outcome="rejected",reason="malformed",location="query api_key"} 50"#,
            r#"{outcome="rejected",reason="missing"} 50"#,
            r#"{outcome="rejected",reason="unknown",location="header x-api-key"} 50"#,
            r#"{outcome="rejected",reason="unknown",location="query api_key"} 50"#,
        ]
    );
}

#[test]
fn a_request_that_a_guard_forbids_is_counted_as_accepted_once_and_in_a_metric_of_its_own() {
    let scraped = Scraped::new();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe(Metrics::new());
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("never")));
    let write = RequireScopeLayer::all(["jobs:write"]);
    let service = layer.layer(write.layer(inner));
    let answer = metrics::with_local_recorder(&scraped.0, || {
        support::block_on(service.oneshot(get(KEY).body(()).unwrap())).unwrap()
    });
    assert_eq!(answer.status(), 403);
    assert_eq!(
        scraped.series(),
        [
            r#"api_key_guard_rejections_total{outcome="forbidden",reason="insufficient_scope"} 1"#,
            r#"{outcome="accepted",location="header x-api-key"} 1"#,
        ]
    );
}

#[test]
fn a_limited_request_is_counted_with_the_limit_that_has_the_longest_wait() {
    let scraped = Scraped::new();
    let metrics = Metrics::new().by_client();
    let client = Client::new("mobile-app");
    metrics::with_local_recorder(&scraped.0, || {
        for names in [&["hour", "burst"][..], &["hour"], &[]] {
            let rejection = Rejection::new(Reason::Limited).with_violated_limits(names.to_vec());
            metrics.on_guard(&Decision::by_guard(&rejection, Some(&client)));
        }
    });
    assert_eq!(
        scraped.series(),
        [
            r#"api_key_guard_rejections_total{outcome="limited",reason="limited",client="mobile-app"} 1"#,
            r#"api_key_guard_rejections_total{outcome="limited",reason="limited",limit="hour",client="mobile-app"} 2"#,
        ]
    );
}

#[test]
fn the_time_of_the_verifier_is_measured_if_the_verifier_was_asked() {
    let scraped = Scraped::new();
    let later = verify::from_async_fn(|digest| async move {
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        if digest == KeyDigest::of("broken") {
            Err("down")
        } else {
            Ok((digest == KeyDigest::of(KEY)).then(|| Client::new("later")))
        }
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), later)
        .exempt_path("/health")
        .observe(Metrics::new().latency());
    for request in [
        get(KEY),
        get(KEY),
        get(WRONG),
        get("broken"),
        get(&"k".repeat(1025)),
        get("k\tk"),
        get(KEY).header("x-api-key", KEY),
        Request::get("/"),
        Request::get("/health"),
    ] {
        scraped.ask(&layer, request);
    }
    let series = scraped.series();
    let measured = |suffix: &str, labels: &str| -> f64 {
        let start = format!("{}_{suffix}{{{labels}}} ", Metrics::VERIFY_DURATION_SECONDS);
        let line = series.iter().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start} is not in {series:#?}")).parse().unwrap()
    };
    for (labels, count) in [
        (r#"outcome="accepted""#, 2.0),
        (r#"outcome="rejected",reason="unknown""#, 1.0),
        (r#"outcome="rejected",reason="failed""#, 1.0),
    ] {
        assert_eq!(measured("count", labels), count);
        let sum = measured("sum", labels);
        assert!(sum >= 0.003 * count && sum < 60.0, "{sum}");
    }
    assert_eq!(series.iter().filter(|line| line.contains("_count")).count(), 3);

    // Without `latency` there is no such metric.
    let scraped = Scraped::new();
    scraped.ask(&ApiKeyLayer::new(header("x-api-key"), keys()).observe(Metrics::new()), get(KEY));
    assert!(!scraped.0.handle().render().contains(Metrics::VERIFY_DURATION_SECONDS));
}

#[test]
fn metrics_are_described_to_a_recorder_that_is_installed_late() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe(Metrics::default().latency());
    let scraped = Scraped::new();
    scraped.ask(&layer, get(KEY));
    let text = scraped.0.handle().render();
    for line in [
        "# HELP api_key_requests_total Requests, by what was decided about their API key.",
        "# TYPE api_key_requests_total counter",
        "# HELP api_key_verify_duration_seconds How long it took to verify an API key.",
    ] {
        assert!(text.lines().any(|it| it == line), "{text}");
    }

    // The names are the same if the exporter appends the unit itself.
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    let scraped = Scraped(builder.build_recorder());
    scraped.ask(
        &ApiKeyLayer::new(header("x-api-key"), keys()).observe(Metrics::new().latency()),
        get(KEY),
    );
    let text = scraped.0.handle().render();
    for name in [Metrics::REQUESTS_TOTAL, Metrics::VERIFY_DURATION_SECONDS] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{text}");
    }
}

#[test]
fn a_request_without_a_client_that_a_guard_rejects_is_counted_as_anonymous_once() {
    let scraped = Scraped::new();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).optional().observe(Metrics::new());
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("never")));
    let service = layer.layer(RequireScopeLayer::all(["jobs:write"]).layer(inner));
    metrics::with_local_recorder(&scraped.0, || {
        let answer = support::block_on(service.oneshot(Request::get("/").body(()).unwrap()));
        assert_eq!(answer.unwrap().status(), 401);
    });
    assert_eq!(
        scraped.series(),
        [
            r#"api_key_guard_rejections_total{outcome="rejected",reason="missing"} 1"#,
            r#"{outcome="anonymous"} 1"#,
        ]
    );
}

#[test]
fn the_name_of_a_guard_is_a_label_of_its_rejections() {
    let scraped = Scraped::new();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe(Metrics::new());
    let guarded = service_fn(async |request: Request<()>| {
        let rejection = Rejection::new(Reason::Forbidden).with_guard("region");
        Ok::<_, Infallible>(respond::reject(RequestHead::of(&request), rejection))
    });
    metrics::with_local_recorder(&scraped.0, || {
        support::block_on(layer.layer(guarded).oneshot(get(KEY).body(()).unwrap())).unwrap()
    });
    assert_eq!(
        scraped.series(),
        [
            r#"api_key_guard_rejections_total{outcome="forbidden",reason="forbidden",guard="region"} 1"#,
            r#"{outcome="accepted",location="header x-api-key"} 1"#,
        ]
    );
}
