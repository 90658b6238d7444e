//! The body of a stream that ends with the credential of its caller.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

type EndSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

pin_project! {
    /// A body that ends early when a future completes.
    pub struct EndingBody<B> {
        #[pin]
        body: B,
        ended: Option<EndSignal>,
        trailers: Option<HeaderMap>,
    }
}

impl<B> EndingBody<B> {
    /// Wraps a body. When `ended` completes, the body ends with `trailers`, if there are any.
    pub fn new(
        body: B,
        ended: impl Future<Output = ()> + Send + 'static,
        trailers: Option<HeaderMap>,
    ) -> Self {
        Self { body, ended: Some(Box::pin(ended)), trailers }
    }
}

impl<B: fmt::Debug> fmt::Debug for EndingBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndingBody").field("body", &self.body).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for EndingBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(ended) = this.ended else { return Poll::Ready(None) };
        if ended.as_mut().poll(context).is_ready() {
            *this.ended = None;
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        this.body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.ended.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn body_ends_with_its_trailers_when_the_credential_ends() {
        let (end, ended) = oneshot::channel::<()>();
        let endless = StreamBody::new(Endless(false));
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("16"),
        )]);
        let mut body = EndingBody::new(endless, async { drop(ended.await) }, Some(trailers.clone()));
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), Bytes::from_static(b"a"));
        end.send(()).unwrap();
        let last = body.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap(), trailers);
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    /// One frame, and then no end.
    struct Endless(bool);

    impl Stream for Endless {
        type Item = Result<Frame<Bytes>, std::convert::Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))))
        }
    }

    use futures::Stream;
}
