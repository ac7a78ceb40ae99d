//! A minimal HTTP/1.1 client that shows every byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// A response. Header names are in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The headers in alphabetical order, without `date` and `connection`.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line == header)
    }
}

/// Sends a request. The first line has the method and the target, each other line has a header.
pub(crate) async fn ask(addr: SocketAddr, request: &str) -> Reply {
    let mut stream = within(TcpStream::connect(addr)).await.unwrap();
    let request = head(&format!("{request}\nconnection: close"));
    within(stream.write_all(request.as_bytes())).await.unwrap();
    let mut response = String::new();
    within(stream.read_to_string(&mut response)).await.unwrap();

    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    let status = status.split(' ').nth(1).unwrap().parse().unwrap();
    let ours = |line: &&str| !line.starts_with("date: ") && !line.starts_with("connection: ");
    let mut headers: Vec<_> = headers.split("\r\n").filter(ours).map(str::to_owned).collect();
    headers.sort_unstable();
    Reply { status, headers, body: body.to_owned() }
}

/// Returns the head of a request in the notation of [`ask`].
pub(crate) fn head(request: &str) -> String {
    let mut lines = request.lines();
    let first = lines.next().unwrap_or_default();
    let headers: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("{first} HTTP/1.1\r\nhost: example.com\r\n{headers}\r\n")
}

/// Reads until this text arrives, and returns the whole text that was read.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let read = within(stream.read_buf(&mut seen)).await.unwrap();
        assert_ne!(read, 0, "the end instead of {wanted:?}: {}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8(seen).unwrap()
}
