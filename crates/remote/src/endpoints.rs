//! Equal places that a call can go to.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A connection that is not there after this long is taken for refused.
const CONNECT: Duration = Duration::from_secs(1);
/// A connection on which nothing is heard is asked this often, and given up when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// A call that is not answered by then is given up: somebody else may be quicker.
const CALL: Duration = Duration::from_secs(10);

/// An address that can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is no address such as http://127.0.0.1:8471: {reason}")]
pub struct InvalidEndpoint {
    /// What was given.
    pub address: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Equal places that a call can go to; the one that answered last is asked first.
#[derive(Debug)]
pub struct Endpoints {
    channels: Vec<(String, Channel)>,
    current: AtomicUsize,
}

impl Endpoints {
    /// Connects to none of them yet. To be called within a runtime.
    ///
    /// # Errors
    /// When an address is none, or there is none.
    pub fn new(addresses: &[String]) -> Result<Self, InvalidEndpoint> {
        let channels: Vec<(String, Channel)> = addresses
            .iter()
            .map(|address| {
                let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| InvalidEndpoint {
                    address: address.clone(),
                    reason: error.source().unwrap_or(&error).to_string(),
                })?;
                let endpoint = endpoint
                    .connect_timeout(CONNECT)
                    .timeout(CALL)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(KEEPALIVE)
                    .keep_alive_timeout(KEEPALIVE)
                    .keep_alive_while_idle(true);
                Ok((address.clone(), endpoint.connect_lazy()))
            })
            .collect::<Result<_, InvalidEndpoint>>()?;
        if channels.is_empty() {
            return Err(InvalidEndpoint { address: String::new(), reason: "there is none".to_owned() });
        }
        // Processes begin at different ones, so that the load is spread.
        let first = usize::from(uuid::Uuid::now_v7().as_bytes().last().copied().unwrap_or(0));
        Ok(Self { current: AtomicUsize::new(first % channels.len()), channels })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, Channel)> {
        self.channels.iter().map(|(address, channel)| (address.as_str(), channel.clone()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.channels.len()
    }

    /// The one to ask, and which it is.
    pub(crate) fn current(&self) -> (usize, Option<Channel>) {
        let index = self.current.load(Ordering::Relaxed);
        (index, self.channels.get(index).map(|(_, channel)| channel.clone()))
    }

    /// This one did not answer: the next is asked first, unless somebody has moved on already.
    pub(crate) fn move_on(&self, from: usize) {
        let next = (from + 1) % self.channels.len();
        if self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && self.channels.len() > 1
        {
            let name = self.channels.get(next).map(|(address, _)| address.as_str());
            tracing::debug!(next = name, "another endpoint is asked");
        }
    }
}

/// What is known of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The other side answered that it failed.
    Answered,
    /// It certainly did not reach the other side.
    NotSent,
    /// It may have.
    Lost,
}

/// What a status says of its call. The other side's own answers carry the port's error.
pub(crate) fn fate(status: &Status, is_an_answer: bool) -> Fate {
    if is_an_answer {
        return Fate::Answered;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return Fate::NotSent;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return Fate::NotSent;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>()
            && error.reason() == Some(h2::Reason::REFUSED_STREAM)
        {
            return Fate::NotSent;
        }
        source = error.source();
    }
    match status.code() {
        Code::Unimplemented | Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            Fate::Answered
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => Fate::Lost,
    }
}
