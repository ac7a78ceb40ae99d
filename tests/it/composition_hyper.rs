//! The layer in hyper, over sockets: `Incoming` bodies on both sides, and a proxy.

use crate::{
    composition::{KEY, UNAUTHORIZED, slow},
    support::services::{Frames, assert_stream_ends},
};

use std::{
    cell::Cell,
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, server::conn::http1, server::conn::http2};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring, ResponseBody,
    extract::{bearer, cookie, header, query},
    verify,
};

type KeyLayer = ApiKeyLayer<(KeyLocation, KeyLocation, KeyLocation), Keyring>;

fn layer() -> KeyLayer {
    let locations = (header("x-api-key"), query("api_key"), cookie("sid"));
    ApiKeyLayer::new(locations, Keyring::single(KEY).unwrap())
}

// ===== servers =====

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http1,
    Http2,
    Auto,
}

/// Serves on a free port with one task per connection, as hyper's examples do.
async fn serve<S, B, E>(protocol: Protocol, service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = E, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(service.clone()));
            tokio::spawn(async move {
                // A caller can close the connection, which is no error here.
                let _ = match protocol {
                    Protocol::Http1 => http1::Builder::new()
                        .serve_connection(io, service)
                        .await
                        .map_err(BoxError::from),
                    Protocol::Http2 => http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await
                        .map_err(BoxError::from),
                    Protocol::Auto => {
                        auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
                    }
                };
            });
        }
    });
    address
}

/// Sends the body back, with the client and the target in headers.
async fn echo(request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
    let client = request.extensions().get::<Client>().map_or("anonymous", Client::id).to_owned();
    let target = request.uri().path_and_query().map_or("-", |it| it.as_str()).to_owned();
    let mut response = Response::new(request.into_body());
    response.headers_mut().insert("x-client", client.parse().unwrap());
    response.headers_mut().insert("x-target", target.parse().unwrap());
    Ok(response)
}

type Caller<B> = HyperClient<HttpConnector, B>;

fn caller<B>(http2: bool) -> Caller<B>
where
    B: Body<Data: Send> + Send + 'static,
{
    HyperClient::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

fn uri(address: SocketAddr, target: &str) -> Uri {
    format!("http://{address}{target}").parse().unwrap()
}

async fn text(response: Response<Incoming>) -> Bytes {
    whole(response.into_body()).await
}

async fn whole(body: Incoming) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

/// Checks that a server accepts the key in each location and rejects other requests.
async fn assert_guarded(caller: &Caller<Full<Bytes>>, address: SocketAddr, version: Version) {
    let ask = |target: &str, header: Option<(&str, String)>| {
        let mut request = Request::post(uri(address, target));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        caller.request(request.body(Full::from("hello")).unwrap())
    };
    for (target, header) in [
        ("/a?b=c".to_owned(), Some(("x-api-key", KEY.to_owned()))),
        ("/a?b=c".to_owned(), Some(("cookie", format!("sid={KEY}")))),
        (format!("/a?api_key={KEY}&b=c"), None),
    ] {
        let response = ask(&target, header).await.unwrap();
        assert_eq!((response.version(), response.status()), (version, StatusCode::OK), "{target}");
        assert_eq!(response.headers()["x-client"], "default");
        assert_eq!(response.headers()["x-target"], "/a?b=c");
        assert_eq!(text(response).await, "hello");
    }
    for (target, header, status) in [
        ("/a".to_owned(), None, 401),
        ("/a".to_owned(), Some(("x-api-key", "wrong".to_owned())), 401),
        ("/a?api_key=%zz".to_owned(), None, 401),
        (format!("/a?api_key={KEY}"), Some(("x-api-key", KEY.to_owned())), 400),
    ] {
        let response = ask(&target, header).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{target}");
        let challenges = response.headers().get_all("www-authenticate").iter().count();
        assert_eq!(challenges, if status == 401 { 3 } else { 0 });
        assert!(!response.headers().contains_key("x-client"));
        let body = text(response).await;
        assert_eq!(body == UNAUTHORIZED, status == 401, "{body:?}");
    }
}

#[tokio::test]
async fn the_layer_guards_hyper_servers_of_every_protocol() {
    for (protocol, http2) in [
        (Protocol::Http1, false),
        (Protocol::Http2, true),
        (Protocol::Auto, false),
        (Protocol::Auto, true),
    ] {
        let service = ServiceBuilder::new().layer(layer()).service_fn(echo);
        let address = serve(protocol, service).await;
        let version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        assert_guarded(&caller(http2), address, version).await;
    }
}

#[tokio::test]
async fn the_layer_guards_hyper_servers_with_a_slow_verifier() {
    let locations = (header("x-api-key"), query("api_key"), cookie("sid"));
    let service = ApiKeyLayer::new(locations, slow()).layer(service_fn(echo));
    let address = serve(Protocol::Auto, service).await;
    assert_guarded(&caller(false), address, Version::HTTP_11).await;
    assert_guarded(&caller(true), address, Version::HTTP_2).await;
}

#[tokio::test]
async fn a_verifier_that_is_not_send_guards_a_server_of_one_thread() {
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    let find = verify::from_async_fn(move |digest| {
        let count = Rc::clone(&count);
        async move {
            tokio::task::yield_now().await;
            count.set(count.get() + 1);
            (digest == KeyDigest::of(KEY)).then(|| Client::new("default"))
        }
    });
    let service = ApiKeyLayer::new(header("x-api-key"), find).layer(service_fn(echo));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::task::spawn_local(serving);
        }
    });
    let caller = caller::<Full<Bytes>>(false);
    local
        .run_until(async move {
            for (key, status) in [(KEY, StatusCode::OK), ("wrong", StatusCode::UNAUTHORIZED)] {
                let request = Request::post(uri(address, "/")).header("x-api-key", key);
                let response = caller.request(request.body(Full::from("hello")).unwrap()).await;
                assert_eq!(response.unwrap().status(), status);
            }
        })
        .await;
    assert_eq!(asked.get(), 2);
}

// ===== a proxy =====

/// Forwards requests with their bodies to an upstream.
fn proxy_to(
    upstream: SocketAddr,
    http2: bool,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Incoming>,
    Error = hyper_util::client::legacy::Error,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let caller = caller::<Incoming>(http2);
    service_fn(move |mut request: Request<Incoming>| {
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        *request.uri_mut() = uri(upstream, target);
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        caller.request(request)
    })
}

#[tokio::test]
async fn r40_a_proxy_streams_both_ways_with_trailers() {
    let upstream = serve(Protocol::Auto, service_fn(echo)).await;
    for http2 in [false, true] {
        let proxy = layer().layer(proxy_to(upstream, http2));
        let address = serve(Protocol::Auto, proxy).await;
        let (sender, frames) = Frames::channel();
        let request = Request::post(uri(address, &format!("/up?api_key={KEY}&b=c")));
        sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
        let response = caller(http2).request(request.body(frames).unwrap()).await.unwrap();
        // The proxy authenticates the request. The upstream receives neither client nor key.
        assert_eq!(response.headers()["x-client"], "anonymous");
        assert_eq!(response.headers()["x-target"], "/up?b=c");
        let mut body = response.into_body();
        for text in ["one", "two"] {
            if text == "two" {
                sender.send(Frame::data(Bytes::from_static(b"two"))).await.unwrap();
            }
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
        }
        assert_stream_ends(sender, &mut body, http2).await;
    }
}

/// Starts an upstream that records the bytes of each request.
async fn recording_upstream() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                    if bytes.ends_with(b"\r\n\r\n") {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        stream.write_all(answer).await.unwrap();
                        sender
                            .send(String::from_utf8(std::mem::take(&mut bytes)).unwrap())
                            .unwrap();
                    }
                }
            });
        }
    });
    (address, receiver)
}

#[tokio::test]
async fn r24_no_byte_of_a_key_reaches_the_upstream_of_a_proxy() {
    let (upstream, mut received) = recording_upstream().await;
    let locations = (header("x-api-key"), bearer(), query("api_key"), cookie("sid"));
    let guard = ApiKeyLayer::new(locations, Keyring::single(KEY).unwrap()).exempt_path("/open");
    let address = serve(Protocol::Http1, guard.layer(proxy_to(upstream, false))).await;
    let caller = caller::<Empty<Bytes>>(false);
    let ask = |target: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(uri(address, target));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        caller.request(request.body(Empty::new()).unwrap())
    };
    let (by_bearer, by_cookie) = (format!("bearer {KEY}"), format!("a=1; sid={KEY}; b=2"));
    for (target, headers) in [
        ("/up", &[("x-api-key", KEY)][..]),
        ("/up", &[("authorization", &by_bearer)]),
        ("/up", &[("cookie", &by_cookie)]),
        (&format!("/up?%61pi_key={KEY}&b"), &[]),
        // Empty values in other locations are stripped. On an exempt path every value is stripped.
        ("/up?api_key=&b", &[("x-api-key", KEY), ("cookie", "sid=")]),
        (&format!("/open?api_key={KEY}&b"), &[("x-api-key", KEY), ("cookie", &by_cookie)]),
    ] {
        let response = ask(target, headers).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{target}");
        assert_eq!(text(response).await, "ok");
        let bytes = received.recv().await.unwrap().to_ascii_lowercase();
        assert!(!bytes.contains(KEY), "{bytes}");
        for name in ["x-api-key", "authorization", "sid=", "api_key", "%61pi_key"] {
            assert!(!bytes.contains(name), "{name}: {bytes}");
        }
    }
    // Credentials of another scheme are forwarded.
    let basic = ("authorization", "Basic c2VjcmV0");
    for (target, headers) in [("/up", &[basic, ("x-api-key", KEY)][..]), ("/open", &[basic])] {
        assert_eq!(ask(target, headers).await.unwrap().status(), StatusCode::OK);
        let bytes = received.recv().await.unwrap();
        assert!(bytes.contains("Basic c2VjcmV0") && !bytes.contains(KEY), "{bytes}");
    }
    // A rejected request is not forwarded.
    assert_eq!(ask("/up", &[("x-api-key", "wrong")]).await.unwrap().status(), 401);
    assert!(received.is_empty());
}

#[tokio::test]
async fn a_proxy_forwards_keys_only_with_forward_key() {
    let (upstream, mut received) = recording_upstream().await;
    let guard = layer().forward_key().layer(proxy_to(upstream, false));
    let address = serve(Protocol::Http1, guard).await;
    let request = Request::get(uri(address, "/up")).header("x-api-key", KEY);
    let response = caller(false).request(request.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    assert!(received.recv().await.unwrap().contains(&format!("x-api-key: {KEY}\r\n")));
}

#[tokio::test]
async fn a_proxy_handles_the_error_of_its_upstream() {
    // This port is closed again.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let handled = ServiceBuilder::new()
        .then(|result: Result<Response<_>, hyper_util::client::legacy::Error>| async {
            Ok::<_, hyper_util::client::legacy::Error>(match result {
                Ok(response) => response.map(|body: ResponseBody<Incoming>| body.boxed()),
                Err(error) => {
                    assert!(error.is_connect());
                    let mut response =
                        Response::new(Empty::new().map_err(|it| match it {}).boxed());
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response
                }
            })
        })
        .layer(layer())
        .service(proxy_to(closed, false));
    let address = serve(Protocol::Http1, handled).await;
    for (key, status) in [(KEY, StatusCode::BAD_GATEWAY), ("wrong", StatusCode::UNAUTHORIZED)] {
        let request = Request::get(uri(address, "/")).header("x-api-key", key);
        let response = caller(false).request(request.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(response.unwrap().status(), status);
    }
}

// ===== raw bytes =====

async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        let read = stream.read_buf(&mut bytes).await.unwrap();
        let so_far = String::from_utf8_lossy(&bytes);
        assert!(read > 0, "closed after {so_far:?}");
        if so_far.contains(text) {
            return so_far.into_owned();
        }
    }
}

/// hyper sends `100 Continue` when the body is first polled.
#[tokio::test]
async fn r40_expect_100_continue_is_answered_only_with_a_valid_key() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let service = layer().layer(service_fn(move |request: Request<Incoming>| {
        count.fetch_add(1, SeqCst);
        async { Ok::<_, Infallible>(Response::new(Full::new(whole(request.into_body()).await))) }
    }));
    let address = serve(Protocol::Http1, service).await;
    let head = |key: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: 5\r\n\
             expect: 100-continue\r\n\r\n"
        )
    };

    let mut rejected = TcpStream::connect(address).await.unwrap();
    rejected.write_all(head("wrong").as_bytes()).await.unwrap();
    let answer = read_until(&mut rejected, UNAUTHORIZED).await;
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    assert_eq!(calls.load(SeqCst), 0);

    let mut accepted = TcpStream::connect(address).await.unwrap();
    accepted.write_all(head(KEY).as_bytes()).await.unwrap();
    let answer = read_until(&mut accepted, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n"), "{answer}");
    accepted.write_all(b"hello").await.unwrap();
    let answer = read_until(&mut accepted, "hello").await;
    assert!(answer.contains("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_header_is_read_in_any_case_and_a_repeated_one_is_ambiguous() {
    let address = serve(Protocol::Http1, layer().layer(service_fn(echo))).await;
    for (lines, status) in [
        (format!("X-API-KEY: {KEY}"), "200 OK"),
        (format!("x-Api-Key:\t {KEY}\t "), "200 OK"),
        (format!("x-api-key: {KEY}\r\nX-Api-Key: {KEY}"), "400 Bad Request"),
        (format!("x-api-key:\r\nX-Api-Key: {KEY}"), "400 Bad Request"),
        (format!("x-api-key: {KEY}, {KEY}"), "401 Unauthorized"),
        ("x-api-key: \u{fc}ber".to_owned(), "401 Unauthorized"),
        ("x-api-key:".to_owned(), "401 Unauthorized"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{lines:?}: {answer}");
    }
}

#[tokio::test]
async fn r34_a_rejected_grpc_call_is_one_headers_frame_that_ends_the_stream() {
    const HEADERS: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 0x1 | 0x4;
    let address = serve(Protocol::Http2, layer().layer(service_fn(echo))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();

    // The preface, no settings, and POST / with a content type (RFC 7541, C.2 and Appendix A).
    let mut block = vec![0x83, 0x86, 0x84, 0x41, 1, b'a', 0x5f, 16];
    block.extend(b"application/grpc");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend([0, 0, block.len() as u8, HEADERS, END_STREAM_AND_HEADERS, 0, 0, 0, 1]);
    bytes.extend(block);
    stream.write_all(&bytes).await.unwrap();

    let frames_of_the_call = async {
        let mut frames = Vec::new();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, flags, 0, 0, 0, number] = head else { panic!("{head:?}") };
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            if number == 1 {
                frames.push((kind, flags));
                if flags & 1 == 1 {
                    return frames;
                }
            }
        }
    };
    assert_eq!(frames_of_the_call.await, [(HEADERS, END_STREAM_AND_HEADERS)]);
}
