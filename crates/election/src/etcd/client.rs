//! Calls to the members of an etcd cluster.

use super::Settings;
use super::api;
use super::api::auth_client::AuthClient;
use super::refusal::{self, ErrorClass};
use crate::Error;
use crate::access::read;
use crate::settings::{Credentials, ElectionTls};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

/// Makes a member without a leader refuse the call.
const REQUIRE_LEADER: &str = "hasleader";
const AUTHORIZATION: &str = "authorization";

/// The authentication token of a session.
type Token = MetadataValue<Ascii>;

/// The members and the credentials.
#[derive(Debug)]
pub(super) struct Client {
    members: Vec<(String, Channel)>,
    current: AtomicUsize,
    credentials: Option<Credentials>,
    token: Mutex<Option<Token>>,
    request_timeout: Duration,
    is_plaintext: bool,
}

/// The options of one call.
#[derive(Debug, Clone)]
pub(super) struct CallOptions {
    pub(super) channel: Channel,
    token: Option<Token>,
    timeout: Duration,
}

impl CallOptions {
    /// A request with one response.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.stream(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A request with a stream of responses.
    pub(super) fn stream<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(REQUIRE_LEADER, MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            metadata.insert(AUTHORIZATION, token.clone());
        }
        request
    }
}

impl Client {
    /// Creates a client without connecting. Call it within a runtime.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Configuration { reason };
        let tls = settings.tls.as_ref().map(tls).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut members = Vec::new();
        for address in &settings.endpoints {
            let not = |error: &dyn std::fmt::Display| {
                wrong(format!(
                    "invalid etcd address {address:?}, expected host:port such as 127.0.0.1:2379: {error}"
                ))
            };
            let mut endpoint =
                Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| not(&error))?;
            if let Some(tls) = &tls {
                endpoint = endpoint.tls_config(tls.clone()).map_err(|error| {
                    wrong(format!(
                        "failed to set up TLS with the files of election.tls: {}",
                        refusal::chain(&error)
                    ))
                })?;
            }
            let endpoint = endpoint
                .connect_timeout(settings.connect_timeout)
                .tcp_nodelay(true)
                // Ends a stream to a member that was paused or cut off.
                .http2_keep_alive_interval(settings.connect_timeout)
                .keep_alive_timeout(settings.connect_timeout)
                .keep_alive_while_idle(true);
            members.push((address.clone(), endpoint.connect_lazy()));
        }
        if members.is_empty() {
            return Err(wrong("election.endpoints is empty; name at least one member of etcd".to_owned()));
        }
        // Processes begin with different members, which spreads the load.
        let first = usize::from(uuid::Uuid::now_v7().as_bytes().last().copied().unwrap_or(0));
        Ok(Self {
            current: AtomicUsize::new(first % members.len()),
            members,
            credentials: settings.credentials.clone(),
            token: Mutex::default(),
            request_timeout: settings.request_timeout,
            is_plaintext: tls.is_none(),
        })
    }

    /// Sends a repeatable call until a member answers it.
    pub(super) async fn call<R, F>(&self, send: impl Fn(CallOptions) -> F + Send + Sync) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>> + Send,
        R: Send,
    {
        // Try each member once, and once more after a renewed authentication.
        let mut tries = self.members.len() + 1;
        let mut is_shown_again = false;
        loop {
            let Some((index, address, channel)) = self.current() else {
                return Err(Error::Configuration {
                    reason: "election.endpoints is empty; name at least one member of etcd".to_owned(),
                });
            };
            tries -= 1;
            let status = match self.try_once(channel, &send).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let classify = refusal::classify(&status);
            match classify {
                ErrorClass::TokenExpired if !is_shown_again && self.credentials.is_some() => {
                    is_shown_again = true;
                    self.set_token(None);
                }
                ErrorClass::Elsewhere if tries > 0 => self.select_next(index),
                ErrorClass::Elsewhere | ErrorClass::TokenExpired | ErrorClass::Refused => {
                    self.select_next(index);
                    return Err(refusal::error(classify, &status, address, self.is_plaintext));
                }
            }
        }
    }

    async fn try_once<R, F>(
        &self,
        channel: Channel,
        send: &(impl Fn(CallOptions) -> F + Send + Sync),
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<Response<R>, Status>> + Send,
    {
        let late = |_| {
            Status::deadline_exceeded(format!("no response within {} ms", self.request_timeout.as_millis()))
        };
        let sent = async {
            let token = self.token(&channel).await?;
            send(CallOptions { channel, token, timeout: self.request_timeout }).await
        };
        tokio::time::timeout(self.request_timeout, sent).await.map_err(late)?.map(Response::into_inner)
    }

    /// The token for a member, obtained with the password if necessary.
    async fn token(&self, channel: &Channel) -> Result<Option<Token>, Status> {
        let Some(Credentials { user, password }) = self.credentials.clone() else { return Ok(None) };
        let known = self.token.lock().clone();
        if known.is_some() {
            return Ok(known);
        }
        let request = api::AuthenticateRequest { name: user, password: password.expose_secret().to_owned() };
        let answer = AuthClient::new(channel.clone()).authenticate(request).await?;
        let mut token: Token = answer
            .into_inner()
            .token
            .parse()
            .map_err(|_| Status::internal("etcd returned a token that is not a valid header value"))?;
        token.set_sensitive(true);
        self.set_token(Some(token.clone()));
        Ok(Some(token))
    }

    fn set_token(&self, token: Option<Token>) {
        *self.token.lock() = token;
    }

    fn current(&self) -> Option<(usize, &str, Channel)> {
        let index = self.current.load(Ordering::Relaxed);
        self.members.get(index).map(|(address, channel)| (index, address.as_str(), channel.clone()))
    }

    /// Selects the next member for further calls, unless another call already did.
    fn select_next(&self, from: usize) {
        let next = (from + 1) % self.members.len();
        let moved = self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && self.members.len() > 1 {
            tracing::debug!(
                next = self.members.get(next).map(|(address, _)| address),
                "switched to another etcd member"
            );
        }
    }
}

fn tls(of: &ElectionTls) -> Result<ClientTlsConfig, Error> {
    let mut config = ClientTlsConfig::new();
    config = match &of.ca_file {
        Some(file) => config.ca_certificate(Certificate::from_pem(read(file)?)),
        None => config.with_native_roots(),
    };
    Ok(match of.identity()? {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    })
}
