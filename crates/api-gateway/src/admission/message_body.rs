//! The body of a gRPC call before it is decoded. A client could otherwise send parts of any number of messages, and let
//! the server keep them for as long as it likes.

use super::BodyPermit;
use crate::api::Api;
use crate::error::{BODY_TIMEOUT, Problem};
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// The time within which a message must arrive, as the body of a REST request.
const MESSAGE_TIME: Duration = Duration::from_secs(30);
/// The services of this API.
const API: &str = "/goconductor.";
/// The service of the workers. Their streams stay open, and the executor limits their messages.
const WORKERS: &str = "/goconductor.v1.WorkerService/";

/// A body whose memory counts and whose end must arrive in time.
struct MessageBody {
    body: Body,
    api: Api,
    permit: Option<BodyPermit>,
    has_deadline: bool,
    /// Started when the body has to be waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Limits the memory and the time of the message of a call. Reflection has streams without an end, which have no
/// deadline.
pub(crate) fn limit_message(api: &Api, request: Request) -> Request {
    let path = request.uri().path();
    if path.starts_with(WORKERS) || request.body().is_end_stream() {
        return request;
    }
    let has_deadline = path.starts_with(API);
    let api = api.clone();
    request.map(|body| Body::new(MessageBody { body, api, permit: None, has_deadline, deadline: None }))
}

impl MessageBody {
    fn reserve(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = self.api.admission.reserve_body(bytes)?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if !self.has_deadline {
            return false;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(MESSAGE_TIME)));
        deadline.as_mut().poll(context).is_ready()
    }
}

impl HttpBody for MessageBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let refuse =
            |problem: Problem| Poll::Ready(Some(Err(axum::Error::new(tonic::Status::from(problem)))));
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match this.reserve(bytes) {
                    Ok(()) => Poll::Ready(Some(Ok(frame))),
                    Err(problem) => refuse(problem),
                }
            }
            Poll::Pending if this.is_late(context) => {
                let detail = format!("the message did not arrive within {} s", MESSAGE_TIME.as_secs());
                refuse(Problem::new(BODY_TIMEOUT, detail))
            }
            polled @ (Poll::Ready(_) | Poll::Pending) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
