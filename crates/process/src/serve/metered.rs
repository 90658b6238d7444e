//! A connection whose traffic is counted. HTTP/2 has many frames that belong to no request and cost the server work, such
//! as PING, SETTINGS and empty DATA. A peer that sends more of these frames than any client does is slowed down
//! and then disconnected.

use super::activity::{Activity, Traffic};
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Delay between two reads of a connection whose traffic is suspicious.
const SLOW_READ: Duration = Duration::from_millis(10);

/// Error of a connection that must be closed.
const FLOOD: &str = "the peer sent too much that belongs to no request";

/// A connection whose traffic is counted.
#[derive(Debug)]
pub(super) struct MeteredConnection<C> {
    connection: C,
    activity: Arc<Activity>,
    delay: Option<Pin<Box<Sleep>>>,
    must_yield: bool,
}

impl<C> MeteredConnection<C> {
    pub(super) fn new(connection: C, activity: Arc<Activity>) -> Self {
        Self { connection, activity, delay: None, must_yield: false }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for MeteredConnection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(delay) = &mut this.delay {
            ready!(delay.as_mut().poll(context));
            this.delay = None;
        }
        if std::mem::take(&mut this.must_yield) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.activity.overwrites_buffers() {
            // The free part may contain earlier requests.
            buffer.initialize_unfilled().fill(0);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.connection).poll_read(context, buffer))?;
        match this.activity.received(buffer.filled().len() - before) {
            Traffic::Normal => {}
            Traffic::Unclear => this.must_yield = true,
            Traffic::Suspicious => this.delay = Some(Box::pin(tokio::time::sleep(SLOW_READ))),
            Traffic::Flood => return Poll::Ready(Err(io::Error::other(FLOOD))),
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> MeteredConnection<C> {
    fn count_sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.activity.sent_bytes(*bytes);
        }
        written
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for MeteredConnection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(context, buffer);
        self.count_sent(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(context, buffers);
        self.count_sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

/// The body of a request, whose bytes are counted.
struct MeteredBody {
    body: Incoming,
    activity: Arc<Activity>,
}

/// Returns the body of a request, and counts its bytes as it is read.
pub(super) fn metered_body(body: Incoming, activity: &Arc<Activity>) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(MeteredBody { body, activity: Arc::clone(activity) })
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.activity.body_bytes(data.len());
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    #[tokio::test]
    async fn free_part_of_the_buffer_is_overwritten_after_a_secret() {
        let (mut peer, connection) = tokio::io::duplex(64);
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut metered = MeteredConnection::new(connection, Arc::clone(&activity));
        for (is_secret, expected) in [(false, *b"abnter2."), (true, *b"ab\0\0\0\0\0\0")] {
            if is_secret {
                activity.overwrite_buffers();
            }
            peer.write_all(b"ab").await.unwrap();
            let mut memory = *b"hunter2.";
            let mut buffer = ReadBuf::new(&mut memory);
            std::future::poll_fn(|context| Pin::new(&mut metered).poll_read(context, &mut buffer))
                .await
                .unwrap();
            assert_eq!(memory, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn flood_is_slowed_down_and_then_an_error() {
        let (mut peer, connection) = tokio::io::duplex(64 << 10);
        let flood = tokio::spawn(async move {
            let frames = [0_u8; 17 * 480];
            while peer.write_all(&frames).await.is_ok() {}
        });
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut metered = MeteredConnection::new(connection, Arc::clone(&activity));
        let began = Instant::now();
        let mut buffer = [0; 8 << 10];
        let error = loop {
            if let Err(error) = metered.read(&mut buffer).await {
                break error;
            }
        };
        assert!(error.to_string().contains("belongs to no request"), "{error}");
        assert!(activity.is_flooded());
        assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
        drop(metered);
        flood.await.unwrap();
    }
}
