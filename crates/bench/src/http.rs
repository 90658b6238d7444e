//! A minimal HTTP/1.1 client with one persistent connection. It shares the processors with the measured processes, so it
//! uses as little CPU time as possible.
//!
//! It uses REST, because a REST request costs both sides less than a gRPC request.

use anyhow::{Context, bail};
use goconductor_tls::ClientTls;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// The initial size of the receive buffer. A response with a workflow of three steps fits.
const BUFFER_SIZE: usize = 8 << 10;
/// The maximum length of a response head. The gateway sends shorter ones.
const MAX_HEAD: usize = 64 << 10;

/// A stream with or without TLS.
trait ByteStream: AsyncRead + AsyncWrite + Unpin + Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Debug> ByteStream for S {}

/// A persistent connection.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    stream: Box<dyn ByteStream>,
    buffer: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct HttpResponse<'a> {
    pub(crate) status: u16,
    /// The delay in seconds after which to retry a request that the gateway rejected.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: &'a str,
}

/// The head of a response, with the position of the body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    retry_after: Option<u64>,
    begin: usize,
    end: usize,
}

impl HttpConnection {
    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
        Ok(Self::of(connect(port).await?))
    }

    pub(crate) async fn open_with_tls(port: u16, tls: &ClientTls) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(Arc::new(tls.config(&[b"http/1.1"])?));
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let stream = connector.connect(name, connect(port).await?).await;
        Ok(Self::of(stream.context("the TLS handshake with the gateway failed")?))
    }

    fn of(stream: impl ByteStream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::with_capacity(BUFFER_SIZE) }
    }

    /// Sends a request and receives the response.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<HttpResponse<'_>> {
        self.buffer.clear();
        self.stream.write_all(request).await.context("the connection to the gateway failed")?;
        self.stream.flush().await.context("the connection to the gateway failed")?;
        let head = loop {
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
            self.fill_buffer().await?;
        };
        while self.buffer.len() < head.end {
            self.fill_buffer().await?;
        }
        response(&self.buffer, &head)
    }

    /// Returns the response to the last request again.
    pub(crate) fn last(&self) -> anyhow::Result<HttpResponse<'_>> {
        let head = head(&self.buffer)?.context("no request was sent")?;
        response(&self.buffer, &head)
    }

    async fn fill_buffer(&mut self) -> anyhow::Result<()> {
        let count =
            self.stream.read_buf(&mut self.buffer).await.context("the connection to the gateway failed")?;
        if count == 0 {
            bail!("the gateway closed the connection before the end of the response");
        }
        Ok(())
    }
}

async fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context("failed to connect to the gateway")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn response<'a>(buffer: &'a [u8], head: &Head) -> anyhow::Result<HttpResponse<'a>> {
    let body = std::str::from_utf8(buffer.get(head.begin..head.end).unwrap_or_default())?;
    Ok(HttpResponse { status: head.status, retry_after: head.retry_after, body })
}

/// Parses the head of a response, or returns `None` if it is incomplete.
fn head(buffer: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        anyhow::ensure!(buffer.len() < MAX_HEAD, "the head of the response exceeds {MAX_HEAD} bytes");
        return Ok(None);
    };
    let text = std::str::from_utf8(buffer.get(..end).unwrap_or_default())?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("the response is not valid HTTP: {text}"))?;
    let field = |wanted: &str| {
        let mut fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.with_context(|| format!("the response has no content-length: {text}"))?;
    let begin = end + 4;
    let retry_after = field("retry-after").and_then(|seconds| seconds.parse().ok());
    Ok(Some(Head { status, retry_after, begin, end: begin + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_parsed_once_complete() {
        let response = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nretry-after: 3\r\n\r\n{}";
        for cut in 0..response.len() - 2 {
            assert_eq!(head(&response[..cut]).unwrap(), None, "{cut}");
        }
        let expected =
            Head { status: 429, retry_after: Some(3), begin: response.len() - 2, end: response.len() };
        assert_eq!(head(response).unwrap(), Some(expected));
    }

    #[test]
    fn response_without_content_length_is_rejected() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
        assert!(head(&[b'x'; MAX_HEAD]).is_err());
    }
}
