//! The body of a response. It keeps what the response holds until the last byte was sent.

use super::activity::{ActiveRequest, Activity};
use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Size of the parts in which a response is sent. A peer that reads one part within the time limit makes progress.
const PART: usize = 64 << 10;

/// A value that a response keeps alive until its last byte was sent or its connection was closed. A handler puts it into
/// the extensions of the response.
#[derive(Debug, Clone)]
pub struct ResponseHold(pub Arc<dyn Any + Send + Sync>);

/// The body of a response, and the request that it belongs to.
pub(super) struct TrackedBody {
    body: Body,
    /// The rest of a frame that is sent in parts.
    rest: Bytes,
    held: Option<Arc<SharedHold>>,
    _active: ActiveRequest,
}

/// The resources that a response holds. They are shared by the body and by the parts that were not sent yet.
struct SharedHold {
    activity: Arc<Activity>,
    number: u64,
    /// Whether the response is complete in memory. A stream has unsent data only while a part waits to be sent.
    is_complete: bool,
    unsent_parts: AtomicUsize,
    _hold: ResponseHold,
}

/// A part of a response in the buffers of its connection.
struct ResponsePart {
    bytes: Bytes,
    held: Arc<SharedHold>,
}

impl TrackedBody {
    /// Tracks a response and its request.
    pub(super) fn track(response: Response<Body>, mut active: ActiveRequest) -> Response<Self> {
        active.responded();
        let (mut parts, body) = response.into_parts();
        let hold = parts.extensions.remove::<ResponseHold>();
        let held = hold.filter(|_| !body.is_end_stream()).map(|hold| {
            let activity = Arc::clone(active.activity());
            let number = activity.next_response();
            let is_complete = body.size_hint().exact().is_some();
            if is_complete {
                activity.progressed(number);
            }
            Arc::new(SharedHold {
                activity,
                number,
                is_complete,
                unsent_parts: AtomicUsize::new(0),
                _hold: hold,
            })
        });
        Response::from_parts(parts, Self { body, rest: Bytes::new(), held, _active: active })
    }

    /// Returns the next part of the current frame.
    fn next_part(&mut self) -> Bytes {
        let bytes = self.rest.split_to(self.rest.len().min(PART));
        match &self.held {
            Some(held) => Bytes::from_owner(ResponsePart::new(bytes, held)),
            None => bytes,
        }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(this.next_part()))));
        }
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if this.held.is_none() {
            return polled;
        }
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| match frame.into_data() {
                    Ok(data) => {
                        this.rest = data;
                        Frame::data(this.next_part())
                    }
                    Err(other) => other,
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), u64::try_from(self.rest.len()).unwrap_or(u64::MAX));
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

impl ResponsePart {
    fn new(bytes: Bytes, held: &Arc<SharedHold>) -> Self {
        held.unsent_parts.fetch_add(1, Ordering::AcqRel);
        held.activity.progressed(held.number);
        Self { bytes, held: Arc::clone(held) }
    }
}

impl AsRef<[u8]> for ResponsePart {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ResponsePart {
    fn drop(&mut self) {
        let SharedHold { activity, number, is_complete, unsent_parts, .. } = &*self.held;
        if unsent_parts.fetch_sub(1, Ordering::AcqRel) == 1 && !is_complete {
            activity.sent(*number);
        } else {
            activity.progressed(*number);
        }
    }
}

impl Drop for SharedHold {
    fn drop(&mut self) {
        self.activity.sent(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::time::Instant;

    fn tracked(body: Body) -> (TrackedBody, std::sync::Weak<dyn Any + Send + Sync>) {
        let activity = Arc::new(Activity::new(Instant::now()));
        let held: Arc<dyn Any + Send + Sync> = Arc::new(7);
        let weak = Arc::downgrade(&held);
        let mut response = Response::new(body);
        response.extensions_mut().insert(ResponseHold(held));
        (TrackedBody::track(response, activity.request(None)).into_body(), weak)
    }

    #[tokio::test]
    async fn response_is_held_until_its_last_part_was_sent() {
        let text = vec![b'x'; PART * 2 + 5];
        let (mut body, held) = tracked(Body::from(text.clone()));
        assert_eq!(body.size_hint().exact(), u64::try_from(text.len()).ok());
        let mut unsent = Vec::new();
        while let Some(frame) = body.frame().await {
            unsent.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(unsent.iter().map(Bytes::len).collect::<Vec<_>>(), [PART, PART, 5]);
        assert_eq!(unsent.concat(), text);
        assert!(body.is_end_stream());
        drop(body);
        let last = unsent.pop();
        drop(unsent);
        assert!(held.upgrade().is_some(), "the last part is still in a buffer");
        drop(last);
        assert!(held.upgrade().is_none());
    }

    #[tokio::test]
    async fn empty_and_abandoned_responses_hold_nothing() {
        let (body, held) = tracked(Body::empty());
        assert!(held.upgrade().is_none(), "nothing has to be sent");
        drop(body);
        let (body, held) = tracked(Body::from("text"));
        assert!(held.upgrade().is_some());
        drop(body);
        assert!(held.upgrade().is_none());
    }
}
