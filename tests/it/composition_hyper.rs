//! The layer in bare hyper, over sockets: `Incoming` bodies on both sides, and a proxy.

use std::{
    cell::Cell,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
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

const KEY: &str = "12345abcde";
const UNAUTHORIZED: &str = r#"{"error":"Unauthorized access"}"#;

type KeyLayer = ApiKeyLayer<(KeyLocation, KeyLocation, KeyLocation), Keyring>;

fn layer() -> KeyLayer {
    let places = (header("x-api-key"), query("api_key"), cookie("sid"));
    ApiKeyLayer::new(places, Keyring::single(KEY).unwrap())
}

// ===== servers =====

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http1,
    Http2,
    Auto,
}

/// Serves on a port of its own, one task a connection, as hyper's own examples do.
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
                // Callers may hang up.
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

/// Echoes the body, and names client and target in headers.
async fn echo(request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
    let client = request.extensions().get::<Client>().map_or("nobody", Client::id).to_owned();
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

/// Lets the key in by all of its places, and nobody else.
async fn guards(caller: &Caller<Full<Bytes>>, address: SocketAddr, version: Version) {
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
async fn it_guards_hyper_servers_of_every_protocol() {
    for (protocol, http2) in [
        (Protocol::Http1, false),
        (Protocol::Http2, true),
        (Protocol::Auto, false),
        (Protocol::Auto, true),
    ] {
        let service = ServiceBuilder::new().layer(layer()).service_fn(echo);
        let address = serve(protocol, service).await;
        let version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        guards(&caller(http2), address, version).await;
    }
}

#[tokio::test]
async fn it_guards_hyper_servers_with_a_verifier_that_takes_time() {
    let find = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("default"))
    });
    let places = (header("x-api-key"), query("api_key"), cookie("sid"));
    let service = ApiKeyLayer::new(places, find).layer(service_fn(echo));
    let address = serve(Protocol::Auto, service).await;
    guards(&caller(false), address, Version::HTTP_11).await;
    guards(&caller(true), address, Version::HTTP_2).await;
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

// ===== a proxy, which streams both ways and hands no key on =====

/// Hands requests on to an upstream, bodies and all.
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

/// A body of the frames that somebody sends while it is under way.
struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

#[tokio::test]
async fn r40_a_proxy_streams_both_ways_with_trailers() {
    let upstream = serve(Protocol::Auto, service_fn(echo)).await;
    for http2 in [false, true] {
        let proxy = layer().layer(proxy_to(upstream, http2));
        let address = serve(Protocol::Auto, proxy).await;
        let (sender, receiver) = mpsc::channel(1);
        let request = Request::post(uri(address, &format!("/up?api_key={KEY}&b=c")));
        sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
        let response =
            caller(http2).request(request.body(Frames(receiver)).unwrap()).await.unwrap();
        // The upstream knows of no client and no key; who is let in is the proxy's business.
        assert_eq!(response.headers()["x-client"], "nobody");
        assert_eq!(response.headers()["x-target"], "/up?b=c");
        let mut body = response.into_body();
        for text in ["one", "two"] {
            if text == "two" {
                sender.send(Frame::data(Bytes::from_static(b"two"))).await.unwrap();
            }
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
        }
        if http2 {
            let trailers =
                HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
            sender.send(Frame::trailers(trailers.clone())).await.unwrap();
            drop(sender);
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_trailers().unwrap(), trailers);
        } else {
            drop(sender);
        }
        assert!(body.frame().await.is_none());
    }
}

/// Takes one request after another and hands out their bytes as they came.
async fn eavesdropper() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
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
    let (upstream, mut heard) = eavesdropper().await;
    let places = (header("x-api-key"), bearer(), query("api_key"), cookie("sid"));
    let guard = ApiKeyLayer::new(places, Keyring::single(KEY).unwrap()).exempt_path("/open");
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
        // The other places are empty and go as well; on an open path, whatever they hold.
        ("/up?api_key=&b", &[("x-api-key", KEY), ("cookie", "sid=")]),
        (&format!("/open?api_key={KEY}&b"), &[("x-api-key", KEY), ("cookie", &by_cookie)]),
    ] {
        let response = ask(target, headers).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{target}");
        assert_eq!(text(response).await, "ok");
        let bytes = heard.recv().await.unwrap().to_ascii_lowercase();
        assert!(!bytes.contains(KEY), "{bytes}");
        for name in ["x-api-key", "authorization", "sid=", "api_key", "%61pi_key"] {
            assert!(!bytes.contains(name), "{name}: {bytes}");
        }
    }
    // Another scheme is somebody else's, and goes on.
    let basic = ("authorization", "Basic c2VjcmV0");
    for (target, headers) in [("/up", &[basic, ("x-api-key", KEY)][..]), ("/open", &[basic])] {
        assert_eq!(ask(target, headers).await.unwrap().status(), StatusCode::OK);
        let bytes = heard.recv().await.unwrap();
        assert!(bytes.contains("Basic c2VjcmV0") && !bytes.contains(KEY), "{bytes}");
    }
    // A refused request does not.
    assert_eq!(ask("/up", &[("x-api-key", "wrong")]).await.unwrap().status(), 401);
    assert!(heard.is_empty());
}

#[tokio::test]
async fn a_proxy_that_forwards_keys_is_told_to() {
    let (upstream, mut heard) = eavesdropper().await;
    let guard = layer().forward_key().layer(proxy_to(upstream, false));
    let address = serve(Protocol::Http1, guard).await;
    let request = Request::get(uri(address, "/up")).header("x-api-key", KEY);
    let response = caller(false).request(request.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    assert!(heard.recv().await.unwrap().contains(&format!("x-api-key: {KEY}\r\n")));
}

#[tokio::test]
async fn an_upstream_s_error_is_the_proxy_s_own() {
    // A port that nobody listens on any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
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
        .service(proxy_to(gone, false));
    let address = serve(Protocol::Http1, handled).await;
    for (key, status) in [(KEY, StatusCode::BAD_GATEWAY), ("wrong", StatusCode::UNAUTHORIZED)] {
        let request = Request::get(uri(address, "/")).header("x-api-key", key);
        let response = caller(false).request(request.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(response.unwrap().status(), status);
    }
}

// ===== by hand =====

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

/// hyper asks for the body when it is first polled.
#[tokio::test]
async fn r40_a_caller_who_waits_to_send_the_body_is_asked_for_it_only_with_a_key() {
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

    let mut refused = TcpStream::connect(address).await.unwrap();
    refused.write_all(head("wrong").as_bytes()).await.unwrap();
    let answer = read_until(&mut refused, UNAUTHORIZED).await;
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
async fn a_header_in_any_case_and_a_repeated_one_are_seen_as_the_wire_has_them() {
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
async fn r34_a_refused_grpc_call_is_one_headers_frame_that_ends_the_stream() {
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
