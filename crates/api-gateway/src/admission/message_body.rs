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
/// The bytes that a message may have besides those of its JSON, which has the limit of a REST body.
pub(crate) const MESSAGE_OVERHEAD: usize = 64 << 10;
/// The bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The services of this API.
const API: &str = "/goconductor.";
/// The service of the workers. Their streams stay open, and the executor limits their messages.
const WORKERS: &str = "/goconductor.v1.WorkerService/";
/// The service whose messages carry inputs, outputs and payloads of signals.
const WORKFLOWS: &str = "/goconductor.v1.WorkflowService/";

/// A body whose memory counts and whose end must arrive in time.
struct MessageBody {
    body: Body,
    api: Api,
    permit: Option<BodyPermit>,
    has_deadline: bool,
    carries_payload: bool,
    /// Started when the body has to be waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    messages: MessageLengths,
}

/// The lengths of the messages of a body, as far as it was read. The decoder reserves the length that a peer announces, so
/// it is checked before.
#[derive(Debug, Default)]
struct MessageLengths {
    prefix: [u8; PREFIX],
    /// The bytes of the prefix that were read.
    read: usize,
    /// The bytes of the message that were not read.
    rest: usize,
}

impl MessageLengths {
    /// Reads the next bytes of the body. Returns whether each message that begins in them has at most `limit` bytes.
    fn are_within(&mut self, mut bytes: &[u8], limit: usize) -> bool {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return true;
            }
            let Some(missing) = self.prefix.get_mut(self.read..) else { return false };
            let count = missing.len().min(bytes.len());
            let (head, tail) = bytes.split_at(count);
            missing.iter_mut().zip(head).for_each(|(missing, byte)| *missing = *byte);
            (self.read, bytes) = (self.read + count, tail);
            if self.read == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.rest = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.read = 0;
                if self.rest > limit {
                    return false;
                }
            }
        }
        true
    }
}

/// Limits the memory and the time of the message of a call. Reflection has streams without an end, which have no
/// deadline.
pub(crate) fn limit_message(api: &Api, request: Request) -> Request {
    let path = request.uri().path();
    if path.starts_with(WORKERS) || request.body().is_end_stream() {
        return request;
    }
    let has_deadline = path.starts_with(API);
    let carries_payload = path.starts_with(WORKFLOWS);
    let api = api.clone();
    let messages = MessageLengths::default();
    request.map(|body| {
        Body::new(MessageBody {
            body,
            api,
            permit: None,
            has_deadline,
            carries_payload,
            deadline: None,
            messages,
        })
    })
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

    /// Returns the maximum size of the JSON of a message.
    fn limit(&self) -> usize {
        let limits = self.api.limits();
        if self.carries_payload { limits.payload_body_bytes } else { limits.body_bytes }
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
                let data: &[u8] = frame.data_ref().map_or(&[], |data| data.as_ref());
                let limit = this.limit();
                if !this.messages.are_within(data, limit.saturating_add(MESSAGE_OVERHEAD)) {
                    return refuse(Problem::too_large(limit));
                }
                match this.reserve(data.len()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + usize::try_from(length).unwrap(), 7);
        bytes
    }

    #[test]
    fn announced_length_is_checked_before_the_message_arrives_in_pieces_of_any_size() {
        let fits = [message(0), message(10), message(3)].concat();
        let second_is_large = [message(10), message(11)].concat();
        for size in 1..=fits.len() {
            let check = |body: &[u8]| {
                let mut lengths = MessageLengths::default();
                body.chunks(size).all(|piece| lengths.are_within(piece, 10))
            };
            assert!(check(&fits), "pieces of {size}");
            assert!(!check(&second_is_large), "pieces of {size}");
            assert!(!check(&[0, 0xff, 0xff, 0xff, 0xff]), "pieces of {size}: the prefix is enough");
            assert!(check(&[0, 0, 0]), "pieces of {size}: the prefix is not complete");
        }
    }
}
