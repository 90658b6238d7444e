//! A participant with an HTTP endpoint.

mod exchange;
mod response;

use crate::endpoint::ServiceEndpoint;
use crate::http_client::{HttpClient, RequestBody};
use crate::task::{Participant, Task};
use async_trait::async_trait;
use goconductor_saga::{Failure, Outcome};
use goconductor_service_kit::config::HttpUrl;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use std::sync::Arc;

pub(crate) use exchange::{Exchange, JSON, Target, before_request, command_request, no_response};

/// A participant that is called by `POST {url}/{action}`.
#[derive(Debug)]
pub struct HttpParticipant {
    exchange: Exchange,
    /// Without credentials.
    url: Arc<str>,
    authorization: Option<HeaderValue>,
    /// The URL in messages: `url`, or the reference to the secret that contains it.
    target: Target,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpParticipant {
    pub(crate) fn new(client: HttpClient, endpoint: &ServiceEndpoint, output_bytes: usize) -> Self {
        let url = endpoint.url.expose();
        // A URL that an earlier release accepted and that cannot be used fails with `BAD_ENDPOINT`.
        let (url, authorization) = match HttpUrl::parse(url) {
            Ok(url) => (Arc::from(url.as_str()), url.authorization().cloned()),
            Err(_) => (Arc::from(url.trim_end_matches('/')), None),
        };
        let target = match endpoint.shown.as_deref() {
            Some(shown) => Target { shown: Arc::from(shown), is_secret: true },
            None => Target { shown: Arc::clone(&url), is_secret: false },
        };
        let headers = endpoint.headers.clone();
        Self { exchange: Exchange::new(client, output_bytes), url, authorization, target, headers }
    }

    fn request(&self, task: &Task) -> Result<Request<RequestBody>, String> {
        let uri: Uri = format!("{}/{}", self.url, task.action).parse().map_err(|error| format!("{error}"))?;
        let body = serde_json::to_vec(&task.input).map_err(|error| error.to_string())?;
        let body = RequestBody::new(body, task.at_deadline.clone());
        let mut request = command_request(task, Method::POST, uri, body)?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, JSON);
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}

#[async_trait]
impl Participant for HttpParticipant {
    async fn attempt(&self, task: &Task) -> Outcome {
        match self.request(task) {
            Ok(request) => self.exchange.attempt(task, request, &self.target).await,
            Err(reason) => {
                let message = format!("failed to create a request to {}: {reason}", self.target.shown);
                let failure = Failure::of("BAD_ENDPOINT", message);
                Outcome::Retryable { failure, not_before: None }
            }
        }
    }
}
