//! HTTP/1.1 over one connection that is kept, for calls whose shape is known: a client that costs as little
//! as there is to be had, as it shares the processors with what it measures.
//!
//! REST and not gRPC: the gateway answers gRPC by mode of its REST routes, so REST is the cheaper for both ends.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is asked for at once, at first: an response about a workflow of three steps fits.
const BUFFER_SIZE: usize = 8 << 10;
/// An response's head that is longer is none of this server.
const MAX_HEAD: usize = 64 << 10;

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An response.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// Nothing was done: the call is to be repeated after so many seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: &'a str,
}

/// Where an response's body begins and ends.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    retry_after: Option<u64>,
    begin: usize,
    end: usize,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("the gateway is not there")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(BUFFER_SIZE) })
    }

    /// One call, after the one before it has been answered.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<Response<'_>> {
        self.buffer.clear();
        self.stream.write_all(request).await.context("the gateway has gone")?;
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

    /// The response to the last call, once more.
    pub(crate) fn last(&self) -> anyhow::Result<Response<'_>> {
        let head = head(&self.buffer)?.context("nothing was asked of the gateway")?;
        response(&self.buffer, &head)
    }

    async fn fill_buffer(&mut self) -> anyhow::Result<()> {
        let count = self.stream.read_buf(&mut self.buffer).await.context("the gateway has gone")?;
        if count == 0 {
            bail!("the gateway closed the connection within a call");
        }
        Ok(())
    }
}

fn response<'a>(buffer: &'a [u8], head: &Head) -> anyhow::Result<Response<'a>> {
    let body = std::str::from_utf8(buffer.get(head.begin..head.end).unwrap_or_default())?;
    Ok(Response { status: head.status, retry_after: head.retry_after, body })
}

/// An response's head, once it is there as a whole.
fn head(buffer: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        anyhow::ensure!(buffer.len() < MAX_HEAD, "the gateway's response has no end to its head");
        return Ok(None);
    };
    let text = std::str::from_utf8(buffer.get(..end).unwrap_or_default())?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("the gateway did not response in HTTP: {text}"))?;
    let field = |wanted: &str| {
        let mut fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    let length =
        length.with_context(|| format!("the gateway did not say how long its response is: {text}"))?;
    let begin = end + 4;
    let retry_after = field("retry-after").and_then(|seconds| seconds.parse().ok());
    Ok(Some(Head { status, retry_after, begin, end: begin + length }))
}

/// A request with a body of JSON.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let response = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nretry-after: 3\r\n\r\n{}";
        for cut in 0..response.len() - 2 {
            assert_eq!(head(&response[..cut]).unwrap(), None, "{cut}");
        }
        let expected =
            Head { status: 429, retry_after: Some(3), begin: response.len() - 2, end: response.len() };
        assert_eq!(head(response).unwrap(), Some(expected));
    }

    #[test]
    fn an_answer_of_unknown_length_is_refused() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
        assert!(head(&[b'x'; MAX_HEAD]).is_err());
    }
}
