//! The memory of responses. A response counts until its last byte was sent: clients that do not read could otherwise
//! make the gateway keep any number of them, while no request is in flight.

use super::{Admission, RETRY_AFTER, RequestPermit};
use crate::access::rules::is_stream;
use crate::error::{ApiResult, Problem, TOO_MANY_REQUESTS};
use crate::metrics::REQUESTS_REFUSED;
use axum::body::{Body, HttpBody};
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use goconductor_process::ResponseHold;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Size up to which a response does not count. The number of requests limits such responses, and health checks must get
/// theirs when the memory is used up.
const SMALL: usize = 4 << 10;
/// Time for which the response of a read waits for memory. A refused read had no effect and can be repeated.
const READ_WAIT: Duration = Duration::from_secs(1);
/// Time for which the response of a write waits for memory. It is never refused, because the write had an effect.
/// Connections whose peers do not read are closed before.
const WRITE_WAIT: Duration = Duration::from_secs(45);

/// The resources that the response to a request holds until it was sent. They are an extension of the request.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseHolds(Arc<Mutex<HeldPermits>>);

#[derive(Debug, Default)]
struct HeldPermits {
    request: Option<RequestPermit>,
    memory: Option<OwnedSemaphorePermit>,
}

impl ResponseHolds {
    /// Holds the permit of the request.
    pub(crate) fn hold_request(&self, permit: RequestPermit) {
        self.0.lock().request = Some(permit);
    }

    fn hold_memory(&self, memory: OwnedSemaphorePermit) {
        self.0.lock().memory = Some(memory);
    }

    fn is_admitted(&self) -> bool {
        self.0.lock().request.is_some()
    }

    fn is_used(&self) -> bool {
        let held = self.0.lock();
        held.request.is_some() || held.memory.is_some()
    }
}

impl Admission {
    /// Serves a request, and lets its response hold its permit and its memory until it was sent.
    pub(crate) async fn serve_held<F: Future<Output = Response>>(
        &self,
        mut request: Request<Body>,
        is_grpc: bool,
        serve: impl FnOnce(Request<Body>) -> F,
    ) -> Response {
        let holds = ResponseHolds::default();
        request.extensions_mut().insert(holds.clone());
        let is_read = is_read(&request, is_grpc);
        let streams = is_grpc && is_stream(request.uri().path());
        let mut response = serve(request).await;
        let length = if is_grpc {
            if streams || !holds.is_admitted() {
                None
            } else {
                let (complete, length) = encode(response).await;
                response = complete;
                Some(length)
            }
        } else {
            response.body().size_hint().exact()
        };
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        match self.reserve_response(length, is_read).await {
            Ok(Some(memory)) => holds.hold_memory(memory),
            Ok(None) => {}
            Err(problem) if is_grpc => response = tonic::Status::from(problem).into_http(),
            Err(problem) => response = problem.into_response(),
        }
        // The streams of workers are not responses of the API: a worker that is busy may read later.
        if holds.is_used() {
            response.extensions_mut().insert(ResponseHold(Arc::new(holds)));
        }
        response
    }

    /// Reserves memory for a response. Returns `None` if the response does not count.
    async fn reserve_response(&self, bytes: usize, is_read: bool) -> ApiResult<Option<OwnedSemaphorePermit>> {
        if bytes <= SMALL {
            return Ok(None);
        }
        let share = u32::try_from(bytes.min(self.limits().bodies_bytes)).unwrap_or(u32::MAX);
        let wait = if is_read { READ_WAIT } else { WRITE_WAIT };
        let acquired = Arc::clone(&self.responses).acquire_many_owned(share);
        match tokio::time::timeout(wait, acquired).await {
            Ok(Ok(memory)) => Ok(Some(memory)),
            Err(_) if is_read => {
                REQUESTS_REFUSED.increment(1);
                let detail = format!(
                    "the responses that clients have not read yet use too much memory: the limit is {} bytes; read \
                     responses to their end, or retry later",
                    self.limits().bodies_bytes
                );
                Err(Problem::new(TOO_MANY_REQUESTS, detail).retry_after(RETRY_AFTER))
            }
            Err(_) | Ok(Err(_)) => Ok(None),
        }
    }

    /// Returns the memory that responses use, in bytes.
    pub(super) fn response_bytes(&self) -> usize {
        self.limits().bodies_bytes.saturating_sub(self.responses.available_permits())
    }
}

/// Whether a request changes nothing.
fn is_read(request: &Request<Body>, is_grpc: bool) -> bool {
    if !is_grpc {
        return matches!(*request.method(), Method::GET | Method::HEAD);
    }
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    ["Get", "List", "Count"].iter().any(|verb| method.starts_with(verb))
}

/// Creates the semaphore of the memory of responses, one permit per byte.
pub(super) fn memory(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)))
}

/// Encodes the message of a gRPC response, which otherwise has no length before it is sent. Waits for the end of the
/// body, so the response must not be a stream.
async fn encode(response: Response) -> (Response, u64) {
    // An error without a message. It must stay a response of headers only.
    if response.body().is_end_stream() {
        return (response, 0);
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned();
            let bytes = collected.to_bytes();
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let trailers = async move { trailers.map(Ok) };
            let body = Body::new(http_body_util::Full::new(bytes).with_trailers(trailers));
            (Response::from_parts(parts, body), length)
        }
        Err(error) => {
            let status = tonic::Status::internal(format!("failed to encode the response: {error}"));
            (status.into_http(), 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Limits;

    fn admission(bodies_bytes: usize) -> Admission {
        Admission::new(Limits {
            requests: 4,
            bodies_bytes,
            waiting: 1,
            starts: 1,
            starts_waiting: 1,
            start_wait: Duration::ZERO,
            backlog: 1,
            rate: goconductor_service_kit::config::RateConfig::default(),
        })
    }

    async fn respond(admission: &Admission, method: Method, length: usize) -> Response {
        let request = Request::builder().method(method).uri("/api/v1/workflows").body(Body::empty()).unwrap();
        admission
            .serve_held(request, false, |request| async move {
                let holds = request.extensions().get::<ResponseHolds>().cloned().unwrap();
                assert!(!holds.is_admitted());
                vec![b'x'; length].into_response()
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn unread_responses_are_limited_by_their_memory() {
        let admission = admission(100_000);
        let first = respond(&admission, Method::GET, 60_000).await;
        assert_eq!(admission.response_bytes(), 60_000);
        let refused = respond(&admission, Method::GET, 60_000).await;
        assert_eq!(refused.status(), 429);
        let small = respond(&admission, Method::GET, SMALL).await;
        assert_eq!(small.status(), 200, "a small response does not count");
        let write = respond(&admission, Method::POST, 60_000).await;
        assert_eq!(write.status(), 200, "a write had an effect, so its response is not refused");
        drop(first);
        assert_eq!(admission.response_bytes(), 0);
        let whole = respond(&admission, Method::GET, 1_000_000).await;
        assert_eq!(
            (whole.status().as_u16(), admission.response_bytes()),
            (200, 100_000),
            "a single one fits"
        );
    }
}
