//! The handshake between processes: each request states the release of its sender and the protocol versions that the
//! sender speaks. A service refuses a peer with which it has no version in common.
//!
//! A process speaks every version from [`OLDEST_PROTOCOL`] to [`PROTOCOL`]. A request without the headers is of a release
//! that has no handshake, and speaks version 1.

use goconductor_store::RELEASE;
use std::fmt;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

/// The newest version of the protocol between processes that this release speaks. It rises when a change is not only an
/// addition.
pub const PROTOCOL: u32 = 1;
/// The oldest version that this release speaks. It is the version of the release before it, or older.
pub const OLDEST_PROTOCOL: u32 = 1;

/// The release of the sender.
const RELEASE_HEADER: &str = "goconductor-release";
/// The newest version that the sender speaks.
const PROTOCOL_HEADER: &str = "goconductor-protocol";
/// The oldest version that the sender speaks.
const OLDEST_HEADER: &str = "goconductor-protocol-oldest";
/// Maximum length of a release in a message.
const RELEASE_LENGTH: usize = 64;

/// The release of a process and the protocol versions that it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolSupport {
    /// The release. Empty if it has no handshake.
    pub release: String,
    /// The oldest version.
    pub oldest: u32,
    /// The newest version.
    pub newest: u32,
}

impl ProtocolSupport {
    /// Returns the versions of this release.
    #[must_use]
    pub fn own() -> Self {
        Self { release: RELEASE.to_owned(), oldest: OLDEST_PROTOCOL, newest: PROTOCOL }
    }

    /// Reads the headers of a request. Returns `None` if one of them is not valid.
    fn of(metadata: &MetadataMap) -> Option<Self> {
        let number = |header: &str| match metadata.get(header) {
            None => Some(None),
            Some(value) => value.to_str().ok()?.parse().ok().map(Some),
        };
        let newest = number(PROTOCOL_HEADER)?.unwrap_or(1);
        let oldest = number(OLDEST_HEADER)?.unwrap_or(newest);
        let release = metadata.get(RELEASE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let release = release.chars().take(RELEASE_LENGTH).collect();
        (oldest <= newest).then_some(Self { release, oldest, newest })
    }

    /// Returns whether two processes have a version in common.
    fn is_compatible_with(&self, other: &Self) -> bool {
        self.oldest <= other.newest && other.oldest <= self.newest
    }
}

impl fmt::Display for ProtocolSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = if self.release.is_empty() { "without a handshake" } else { &self.release };
        if self.oldest == self.newest {
            return write!(f, "release {release} (protocol {})", self.newest);
        }
        write!(f, "release {release} (protocols {} to {})", self.oldest, self.newest)
    }
}

/// Adds the headers of this process to each request of a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct StateProtocol;

impl Interceptor for StateProtocol {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(RELEASE_HEADER, MetadataValue::from_static(RELEASE));
        metadata.insert(PROTOCOL_HEADER, PROTOCOL.into());
        metadata.insert(OLDEST_HEADER, OLDEST_PROTOCOL.into());
        Ok(request)
    }
}

/// Refuses requests of processes with which a service has no protocol version in common.
#[derive(Debug, Clone)]
pub struct CheckProtocol {
    service: &'static str,
    own: ProtocolSupport,
}

impl CheckProtocol {
    /// Creates the check of a service of this release.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self { service, own: ProtocolSupport::own() }
    }

    fn refusal(&self, reason: &str, action: &str) -> Status {
        let Self { service, own } = self;
        let text = format!("{reason}, but this {service} is of {own}: {action} (GC3025)");
        let mut status = Status::failed_precondition(text);
        // The header distinguishes a refusal from other errors with the same code.
        status.metadata_mut().insert(PROTOCOL_HEADER, own.newest.into());
        status
    }
}

impl Interceptor for CheckProtocol {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata();
        let Some(peer) = ProtocolSupport::of(metadata) else {
            let found = metadata.get(PROTOCOL_HEADER);
            let reason = format!("the request states the protocol version {found:?}");
            return Err(self.refusal(&reason, "send a number, with the oldest version not above the newest"));
        };
        if peer.is_compatible_with(&self.own) {
            return Ok(request);
        }
        let action = if peer.oldest > self.own.newest {
            format!("upgrade this {} first, or go back with the caller", self.service)
        } else {
            "upgrade the caller, release by release".to_owned()
        };
        Err(self.refusal(&format!("the caller is of {peer}"), &action))
    }
}

/// Returns whether a status is the refusal of a peer by [`CheckProtocol`]. The request was not executed.
#[must_use]
pub fn is_refusal(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition && status.metadata().contains_key(PROTOCOL_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(oldest: u32, newest: u32) -> CheckProtocol {
        CheckProtocol {
            service: "state store",
            own: ProtocolSupport { release: "0.2.0".to_owned(), oldest, newest },
        }
    }

    fn request(pairs: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in pairs {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn request_of_this_release_and_of_one_without_a_handshake_is_accepted() {
        let own = StateProtocol.call(Request::new(())).unwrap();
        assert_eq!(ProtocolSupport::of(own.metadata()), Some(ProtocolSupport::own()));
        let mut check = CheckProtocol::new("state store");
        assert!(check.call(own).is_ok());
        assert!(check.call(Request::new(())).is_ok());
    }

    #[test]
    fn peer_without_a_common_version_is_refused_with_both_versions_and_the_action() {
        let newer = request(&[
            ("goconductor-release", "0.4.0"),
            ("goconductor-protocol", "4"),
            ("goconductor-protocol-oldest", "3"),
        ]);
        let refusal = service(1, 2).call(newer).unwrap_err();
        assert!(is_refusal(&refusal));
        assert_eq!(
            refusal.message(),
            "the caller is of release 0.4.0 (protocols 3 to 4), but this state store is of release 0.2.0 (protocols 1 \
             to 2): upgrade this state store first, or go back with the caller (GC3025)"
        );
        let refusal = service(2, 3).call(request(&[])).unwrap_err();
        assert!(is_refusal(&refusal));
        assert_eq!(
            refusal.message(),
            "the caller is of release without a handshake (protocol 1), but this state store is of release 0.2.0 \
             (protocols 2 to 3): upgrade the caller, release by release (GC3025)"
        );
    }

    #[test]
    fn peers_with_a_common_version_are_accepted_in_both_directions() {
        let newer = [("goconductor-protocol", "3"), ("goconductor-protocol-oldest", "2")];
        assert!(service(1, 2).call(request(&newer)).is_ok(), "the caller also speaks version 2");
        assert!(service(1, 3).call(request(&[("goconductor-protocol", "1")])).is_ok());
    }

    #[test]
    fn header_without_a_valid_version_is_refused() {
        for wrong in ["", "x", "-1", "4294967296"] {
            let refusal = service(1, 2).call(request(&[("goconductor-protocol", wrong)])).unwrap_err();
            assert!(is_refusal(&refusal), "{wrong}");
        }
        let reversed = [("goconductor-protocol", "1"), ("goconductor-protocol-oldest", "2")];
        assert!(is_refusal(&service(1, 2).call(request(&reversed)).unwrap_err()));
        assert!(!is_refusal(&Status::failed_precondition("another reason")));
    }
}
