//! Calls to the members of an etcd cluster.

use super::Settings;
use super::refusal::{self, ErrorClass};
use crate::Error;
use crate::access::read;
use crate::settings::{Credentials, ElectionTls};
use etcd_client::{Channel as EtcdChannel, ConnectOptions};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

/// The members and the credentials.
#[derive(Debug)]
pub(super) struct Client {
    members: Vec<EtcdMember>,
    current: AtomicUsize,
    credentials: Option<Credentials>,
    request_timeout: Duration,
    is_plaintext: bool,
}

/// A member with its connection.
struct EtcdMember {
    address: String,
    channel: Channel,
    /// The client of this member. With credentials it holds an authentication token, which the member can reject later.
    client: Mutex<Option<etcd_client::Client>>,
}

impl std::fmt::Debug for EtcdMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdMember").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// Creates a client without connecting. Call it within a runtime.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let tls = settings.tls.as_ref().map(tls).transpose()?;
        let members = settings
            .endpoints
            .iter()
            .map(|address| EtcdMember::new(address, settings, tls.as_ref()))
            .collect::<Result<Vec<EtcdMember>, Error>>()?;
        if members.is_empty() {
            return Err(no_members());
        }
        // Processes begin with different members, which spreads the load.
        let first = usize::from(uuid::Uuid::now_v7().as_bytes().last().copied().unwrap_or(0));
        Ok(Self {
            current: AtomicUsize::new(first % members.len()),
            members,
            credentials: settings.credentials.clone(),
            request_timeout: settings.request_timeout,
            is_plaintext: tls.is_none(),
        })
    }

    /// Sends a repeatable call until a member answers it.
    pub(super) async fn call<R, F>(
        &self,
        send: impl Fn(etcd_client::Client) -> F + Send + Sync,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<R, etcd_client::Error>> + Send,
        R: Send,
    {
        // Try each member once, and again after a renewed authentication.
        let mut tries = self.members.len() + 1;
        let mut has_renewed = false;
        loop {
            let (index, member) = self.current().ok_or_else(no_members)?;
            tries -= 1;
            let status = match self.try_once(member, &send).await {
                Ok(response) => return Ok(response),
                Err(status) => status,
            };
            let class = refusal::classify(&status);
            match class {
                ErrorClass::TokenExpired if !has_renewed && self.credentials.is_some() => {
                    has_renewed = true;
                    self.forget_tokens();
                }
                ErrorClass::Elsewhere if tries > 0 => self.select_next(index),
                ErrorClass::Elsewhere | ErrorClass::TokenExpired | ErrorClass::Refused => {
                    self.select_next(index);
                    return Err(refusal::error(class, &status, &member.address, self.is_plaintext));
                }
            }
        }
    }

    async fn try_once<R, F>(
        &self,
        member: &EtcdMember,
        send: &(impl Fn(etcd_client::Client) -> F + Send + Sync),
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<R, etcd_client::Error>> + Send,
    {
        let sent = async { send(member.client(self.credentials.as_ref()).await?).await };
        match tokio::time::timeout(self.request_timeout, sent).await {
            Ok(response) => response.map_err(status),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no response within {} ms",
                self.request_timeout.as_millis()
            ))),
        }
    }

    /// Makes the next call to each member authenticate. A change of users or roles ends the tokens of all members.
    fn forget_tokens(&self) {
        for member in &self.members {
            *member.client.lock() = None;
        }
    }

    fn current(&self) -> Option<(usize, &EtcdMember)> {
        let index = self.current.load(Ordering::Relaxed);
        self.members.get(index).map(|member| (index, member))
    }

    /// Selects the next member for further calls, unless another call already did.
    fn select_next(&self, from: usize) {
        let next = (from + 1) % self.members.len();
        let moved = self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && self.members.len() > 1 {
            tracing::debug!(
                next = self.members.get(next).map(|member| member.address.as_str()),
                "switched to another etcd member"
            );
        }
    }
}

impl EtcdMember {
    fn new(address: &str, settings: &Settings, tls: Option<&ClientTlsConfig>) -> Result<Self, Error> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| {
            configuration(format!(
                "invalid etcd address {address:?}, expected host:port such as 127.0.0.1:2379: {error}"
            ))
        })?;
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(|error| {
                configuration(format!(
                    "failed to set up TLS with the files of election.tls: {}",
                    refusal::chain(&error)
                ))
            })?;
        }
        let channel = endpoint
            .connect_timeout(settings.connect_timeout)
            .tcp_nodelay(true)
            // Ends a stream to a member that was paused or cut off.
            .http2_keep_alive_interval(settings.connect_timeout)
            .keep_alive_timeout(settings.connect_timeout)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self { address: address.to_owned(), channel, client: Mutex::default() })
    }

    /// The client of this member. With credentials, the first call authenticates.
    async fn client(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<etcd_client::Client, etcd_client::Error> {
        let known = self.client.lock().clone();
        if let Some(client) = known {
            return Ok(client);
        }
        // A member without a leader then refuses the call.
        let mut options = ConnectOptions::new().with_require_leader(true);
        if let Some(Credentials { user, password }) = credentials {
            options = options.with_user(user, password.expose_secret());
        }
        let channel = EtcdChannel::Tonic(self.channel.clone());
        let client = etcd_client::Client::from_channel(channel, Some(options)).await?;
        *self.client.lock() = Some(client.clone());
        Ok(client)
    }
}

/// The status of a failed call. An error without a status did not come from the server.
fn status(error: etcd_client::Error) -> Status {
    if let etcd_client::Error::GRpcStatus(status) = error {
        status
    } else {
        Status::new(Code::Unavailable, refusal::chain(&error))
    }
}

fn configuration(reason: String) -> Error {
    Error::Configuration { reason }
}

fn no_members() -> Error {
    configuration("election.endpoints is empty; name at least one member of etcd".to_owned())
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
