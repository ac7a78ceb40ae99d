//! A minimal HTTP/2 client that shows the frames of one response (RFC 9113 §4.1).

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// The number of a kind of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u8);

impl Kind {
    pub(crate) const DATA: Self = Self(0x0);
    pub(crate) const HEADERS: Self = Self(0x1);
    const SETTINGS: Self = Self(0x4);
    const PING: Self = Self(0x6);
}

/// The parts of a frame that tests check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) ends_stream: bool,
}

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;

/// Calls a gRPC method on stream 1, and returns all frames of the response.
///
/// Without a message, the headers end the call.
pub(crate) async fn grpc_call(
    addr: SocketAddr,
    path: &str,
    metadata: &[(&str, &str)],
    message: Option<&[u8]>,
) -> Vec<Frame> {
    let mut stream = within(TcpStream::connect(addr)).await.unwrap();
    let authority = addr.to_string();
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", &authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let headers: Vec<u8> = headers.iter().chain(metadata).flat_map(literal).collect();

    let mut call = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    call.extend(frame(Kind::SETTINGS, 0, 0, &[]));
    match message {
        Some(message) => {
            call.extend(frame(Kind::HEADERS, END_HEADERS, 1, &headers));
            call.extend(frame(Kind::DATA, END_STREAM, 1, message));
        }
        None => call.extend(frame(Kind::HEADERS, END_HEADERS | END_STREAM, 1, &headers)),
    }
    within(stream.write_all(&call)).await.unwrap();

    let mut seen = Vec::new();
    loop {
        let (kind, flags, id) = read_frame(&mut stream).await;
        if id == 1 {
            let ends_stream = flags & END_STREAM != 0;
            seen.push(Frame { kind, ends_stream });
            if ends_stream {
                // Further frames would arrive before the response to this ping.
                within(stream.write_all(&frame(Kind::PING, 0, 0, &[0; 8]))).await.unwrap();
            }
        } else if kind == Kind::PING && flags & ACK != 0 {
            return seen;
        }
    }
}

async fn read_frame(stream: &mut TcpStream) -> (Kind, u8, u32) {
    let mut header = [0; 9];
    within(stream.read_exact(&mut header)).await.unwrap();
    let [a, b, c, kind, flags, id @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    within(stream.read_exact(&mut payload)).await.unwrap();
    (Kind(kind), flags, u32::from_be_bytes(id))
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind.0, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a header without compression (RFC 7541 §6.2.2).
fn literal((name, value): &(&str, &str)) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    assert!(name.len() < 127 && value.len() < 127);
    [vec![0], string(name), string(value)].concat()
}
