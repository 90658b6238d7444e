//! HTTP/1.1 over one connection that is kept, for calls whose shape is known: a client that costs as little
//! as there is to be had, as it shares the processors with what it measures.
//!
//! REST and not gRPC: the gateway answers gRPC by way of its REST routes, so REST is the cheaper for both ends.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is asked for at once, at first: an answer about a workflow of three steps fits.
const ROOM: usize = 8 << 10;
/// An answer's head that is longer is none of this server.
const HEAD: usize = 64 << 10;

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    heard: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// Nothing was done: the call is to be repeated after so many seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: &'a str,
}

/// Where an answer's body begins and ends.
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
        Ok(Self { stream, heard: Vec::with_capacity(ROOM) })
    }

    /// One call, after the one before it has been answered.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.heard.clear();
        self.stream.write_all(request).await.context("the gateway has gone")?;
        let head = loop {
            if let Some(head) = head(&self.heard)? {
                break head;
            }
            self.hear().await?;
        };
        while self.heard.len() < head.end {
            self.hear().await?;
        }
        answer(&self.heard, &head)
    }

    /// The answer to the last call, once more.
    pub(crate) fn last(&self) -> anyhow::Result<Answer<'_>> {
        let head = head(&self.heard)?.context("nothing was asked of the gateway")?;
        answer(&self.heard, &head)
    }

    async fn hear(&mut self) -> anyhow::Result<()> {
        let count = self.stream.read_buf(&mut self.heard).await.context("the gateway has gone")?;
        if count == 0 {
            bail!("the gateway closed the connection within a call");
        }
        Ok(())
    }
}

fn answer<'a>(heard: &'a [u8], head: &Head) -> anyhow::Result<Answer<'a>> {
    let body = std::str::from_utf8(heard.get(head.begin..head.end).unwrap_or_default())?;
    Ok(Answer { status: head.status, retry_after: head.retry_after, body })
}

/// An answer's head, once it is there as a whole.
fn head(heard: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        anyhow::ensure!(heard.len() < HEAD, "the gateway's answer has no end to its head");
        return Ok(None);
    };
    let text = std::str::from_utf8(heard.get(..end).unwrap_or_default())?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("the gateway did not answer in HTTP: {text}"))?;
    let field = |wanted: &str| {
        let mut fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.with_context(|| format!("the gateway did not say how long its answer is: {text}"))?;
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
        let answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nretry-after: 3\r\n\r\n{}";
        for cut in 0..answer.len() - 2 {
            assert_eq!(head(&answer[..cut]).unwrap(), None, "{cut}");
        }
        let expected = Head { status: 429, retry_after: Some(3), begin: answer.len() - 2, end: answer.len() };
        assert_eq!(head(answer).unwrap(), Some(expected));
    }

    #[test]
    fn an_answer_of_unknown_length_is_refused() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
        assert!(head(&[b'x'; HEAD]).is_err());
    }
}
