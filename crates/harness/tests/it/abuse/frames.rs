//! HTTP/2 frames as bytes, because no client library sends what an attacker sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The error code of a server that considers its peer to be abusive.
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
/// Frames of one write.
const BATCH: u32 = 200;

/// The frames that an attacker sends without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    RapidReset,
    Continuation,
    Settings,
    Ping,
    EmptyData,
    WindowUpdate,
    Priority,
}

impl Flood {
    pub(super) const ALL: [Self; 7] = [
        Self::RapidReset,
        Self::Continuation,
        Self::Settings,
        Self::Ping,
        Self::EmptyData,
        Self::WindowUpdate,
        Self::Priority,
    ];

    /// The frames before the flood.
    fn begin(self) -> Vec<u8> {
        match self {
            Self::Continuation => frame(HEADERS, 0, 1, &request_headers(b"GET", b"/healthz")),
            Self::EmptyData => {
                frame(HEADERS, END_HEADERS, 1, &request_headers(b"POST", b"/api/v1/workflows"))
            }
            _ => Vec::new(),
        }
    }

    /// The next frames of the flood. `stream` is the next free stream.
    fn batch(self, stream: &mut u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..BATCH {
            let frame = match self {
                Self::RapidReset => {
                    *stream += 2;
                    let headers = request_headers(b"GET", b"/api/v1/workflows");
                    let mut frames = frame(HEADERS, END_HEADERS | END_STREAM, *stream, &headers);
                    frames.extend(frame(RST_STREAM, 0, *stream, &8_u32.to_be_bytes()));
                    frames
                }
                Self::Continuation => frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b"),
                Self::Settings => frame(SETTINGS, 0, 0, b""),
                Self::Ping => frame(PING, 0, 0, b"12345678"),
                Self::EmptyData => frame(DATA, 0, 1, b""),
                Self::WindowUpdate => frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
                Self::Priority => frame(PRIORITY, 0, 3, b"\x00\x00\x00\x00\x10"),
            };
            bytes.extend(frame);
        }
        bytes
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a request in HPACK, without a table and without Huffman codes.
fn request_headers(method: &[u8], path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The numbers are the entries of the static table: method, scheme, path and authority.
    for (name, value) in [(2, method), (6, b"http".as_slice()), (4, path), (1, b"localhost".as_slice())] {
        bytes.extend([name, u8::try_from(value.len()).unwrap()]);
        bytes.extend(value);
    }
    bytes
}

/// Connects, and sends the beginning of an HTTP/2 connection.
pub(super) async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(PREFACE).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
    Ok(stream)
}

/// Begins `streams` gRPC calls, whose messages have `length` bytes but for the last one.
pub(super) async fn begin_calls(
    connection: &mut TcpStream,
    streams: u32,
    length: u32,
) -> std::io::Result<()> {
    let mut headers = request_headers(b"POST", b"/goconductor.v1.WorkflowService/StartWorkflow");
    headers.extend(b"\x00\x0ccontent-type\x10application/grpc");
    headers.extend(b"\x00\x02te\x08trailers");
    let mut prefix = vec![0];
    prefix.extend(length.to_be_bytes());
    for stream in 0..streams {
        let stream = stream * 2 + 1;
        connection.write_all(&frame(HEADERS, END_HEADERS, stream, &headers)).await?;
        connection.write_all(&frame(DATA, 0, stream, &prefix)).await?;
        let mut left = usize::try_from(length).unwrap() - 1;
        while left > 0 {
            let part = left.min(8 << 10);
            connection.write_all(&frame(DATA, 0, stream, &vec![b'x'; part])).await?;
            left -= part;
        }
    }
    Ok(())
}

/// The connections that the server has closed, and those of them with `ENHANCE_YOUR_CALM`.
#[derive(Debug, Default)]
pub(super) struct Closed {
    pub(super) all: AtomicU64,
    pub(super) calm: AtomicU64,
}

/// Floods one connection until the server closes it.
pub(super) async fn flood(kind: Flood, address: &str, closed: &Arc<Closed>) {
    let Ok(connection) = connect(address).await else { return };
    let (read, mut write) = connection.into_split();
    let reader = tokio::spawn(read_goaway(read));
    let mut stream = 1;
    let mut sent = write.write_all(&kind.begin()).await;
    while sent.is_ok() {
        sent = write.write_all(&kind.batch(&mut stream)).await;
    }
    closed.all.fetch_add(1, Ordering::Relaxed);
    if reader.await.unwrap() == Some(ENHANCE_YOUR_CALM) {
        closed.calm.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads all frames, and returns the error code of the last GOAWAY.
async fn read_goaway(mut connection: tokio::net::tcp::OwnedReadHalf) -> Option<u32> {
    let mut code = None;
    loop {
        let mut head = [0; 9];
        if connection.read_exact(&mut head).await.is_err() {
            return code;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if connection.read_exact(&mut payload).await.is_err() {
            return code;
        }
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}
