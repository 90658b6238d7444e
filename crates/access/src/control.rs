//! The check of credentials.

use crate::cache::{AccessKeyCache, CachedKey, Lookup};
use crate::certificates::CertificateGrants;
use crate::credential::{Rejection, token};
use crate::grants::Grants;
use crate::key::{PREFIX, digest, split};
use crate::metrics::{self, LOOKUPS, REFUSED};
#[cfg(not(feature = "oidc"))]
use crate::no_oidc::NoUsers as Users;
#[cfg(feature = "oidc")]
use crate::oidc::Users;
use crate::principal::{CredentialId, Principal};
use crate::start_error::StartError;
use crate::unknown_lookups::UnknownLookups;
use goconductor_saga::Timestamp;
use goconductor_service_kit::config::{AccessConfig, AccessSubject};
use goconductor_service_kit::permission::Permission;
use goconductor_store::{AccessKey, AccessKeyStore};
use goconductor_tls::Peer;
use http::HeaderMap;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// Interval at which a process asks for the revision of the keys.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time for which an answer to that question counts. A process that gets no newer answer reads each key from the store, so
/// that no process accepts a revoked key for longer.
const FRESH: Duration = Duration::from_millis(1_500);
/// Timeout of a read of the store.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of concurrent reads of ids that were valid before, and as many of others. Requests without a valid key
/// can neither load the store nor delay the readers of valid keys.
const MAX_READS: usize = 16;
/// Delay before a stream's credential is checked again, if the store does not respond.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest sleep until a credential expires. The clock of the system may change in the meantime.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// Checks credentials. Clones share their state.
#[derive(Debug, Clone)]
pub struct AccessControl(Arc<State>);

#[derive(Debug)]
struct State {
    config: AccessConfig,
    store: Arc<dyn AccessKeyStore>,
    clock: fn() -> Timestamp,
    bootstrap: Option<(blake3::Hash, Arc<Principal>)>,
    certificates: CertificateGrants,
    /// The users of the identity provider.
    users: Option<Users>,
    cache: AccessKeyCache,
    /// Permits for reads of ids that were valid before.
    reads: Semaphore,
    /// Permits for reads of other ids.
    unknown_reads: Semaphore,
    unknown_lookups: UnknownLookups,
    /// Time at which the last answer with the revision was requested. `None` before the first answer.
    confirmed: Mutex<Option<Instant>>,
    /// The last revision that was seen. Streams check their credentials when it changes.
    revision: watch::Sender<u64>,
}

impl AccessControl {
    /// Starts the check of credentials with the keys of a store. `clock` returns the current time. Must be called within a
    /// Tokio runtime: it spawns tasks, which end when the last clone is dropped.
    ///
    /// # Errors
    /// Returns [`StartError`] if users of the identity provider cannot be checked.
    pub fn start(
        config: AccessConfig,
        store: Arc<dyn AccessKeyStore>,
        clock: fn() -> Timestamp,
    ) -> Result<Self, StartError> {
        goconductor_telemetry::describe(metrics::ALL);
        let state = Arc::new(State {
            bootstrap: config.bootstrap_key.as_ref().map(bootstrap),
            certificates: CertificateGrants::of(&config),
            users: config.oidc.as_ref().map(|oidc| Users::new(oidc, &config.session)).transpose()?,
            config,
            store,
            clock,
            cache: AccessKeyCache::default(),
            reads: Semaphore::new(MAX_READS),
            unknown_reads: Semaphore::new(MAX_READS),
            unknown_lookups: UnknownLookups::default(),
            confirmed: Mutex::default(),
            revision: watch::Sender::new(0),
        });
        drop(goconductor_supervisor::spawn("access-keys", follow_revision(Arc::downgrade(&state))));
        if state.users.is_some() {
            drop(goconductor_supervisor::spawn("access-users", prepare_users(Arc::clone(&state))));
        }
        Ok(Self(state))
    }

    /// Returns the users of the identity provider. `None` if there is none.
    pub(crate) fn users(&self) -> Option<&Users> {
        self.0.users.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Returns the digest and the principal of the bootstrap key.
    pub(crate) fn bootstrap(&self) -> Option<&(blake3::Hash, Arc<Principal>)> {
        self.0.bootstrap.as_ref()
    }

    /// Returns the principal of a stored key that was valid before, by its id.
    pub(crate) async fn principal_of_key(&self, id: &str) -> Result<Arc<Principal>, Rejection> {
        match self.lookup_valid(id).await? {
            Lookup::Key(key) => self.check_end(&key),
            Lookup::NoKey => Err(Rejection::Revoked),
        }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &AccessConfig {
        &self.0.config
    }

    /// Returns the principal of a request with these headers, over a connection whose client presented the certificate of
    /// `peer`. The certificate counts only if the request has no token. A cached key needs no round trip. `network` is the
    /// network of the caller, whose concurrent lookups of unknown ids are limited.
    ///
    /// # Errors
    /// Returns the [`Rejection`] of the credential. `Unavailable`, `ProviderUnavailable` and `Busy` say nothing about the
    /// credential.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        network: Option<IpAddr>,
    ) -> Result<Arc<Principal>, Rejection> {
        let authenticated = match token(headers) {
            Ok(token) => self.check(&token, network).await,
            Err(Rejection::Missing) => {
                peer.and_then(|peer| self.0.certificates.principal(peer)).ok_or(Rejection::Missing)
            }
            Err(rejection) => Err(rejection),
        };
        authenticated.inspect_err(record)
    }

    /// Like [`authenticate`](Self::authenticate), for a credential that needs no read: a certificate, or a token that was
    /// read recently. It neither waits nor asks anybody.
    #[must_use]
    pub fn authenticate_known(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Arc<Principal>> {
        match token(headers) {
            Ok(token) => self.check_known(token.expose_secret())?.ok(),
            Err(Rejection::Missing) => self.0.certificates.principal(peer?),
            Err(_) => None,
        }
    }

    /// Returns whether a caller has a permission in a namespace, for a response that unauthenticated callers receive as well, in a shorter
    /// form.
    pub async fn allows(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        network: Option<IpAddr>,
        permission: Permission,
        namespace: &str,
    ) -> bool {
        if !headers.contains_key(http::header::AUTHORIZATION) && peer.is_none() {
            return false;
        }
        let principal = self.authenticate(headers, peer, network).await;
        principal.is_ok_and(|principal| principal.grants.allows(permission, namespace))
    }

    async fn check(
        &self,
        token: &SecretString,
        network: Option<IpAddr>,
    ) -> Result<Arc<Principal>, Rejection> {
        let token = token.expose_secret();
        if let Some(known) = self.check_known(token) {
            return known;
        }
        if let Some(users) = self.users_of(token) {
            return users.verify(token, (self.0.clock)(), &self.0.config).await;
        }
        let (id, secret) = split(token).ok_or(Rejection::Unknown)?;
        self.check_found(&self.lookup(id, network).await?, id, secret)
    }

    /// Checks a credential that needs no read. Returns `None` for another one.
    fn check_known(&self, token: &str) -> Option<Result<Arc<Principal>, Rejection>> {
        if let Some((hash, principal)) = &self.0.bootstrap
            && *hash == blake3::hash(token.as_bytes())
        {
            return Some(Ok(Arc::clone(principal)));
        }
        if let Some(users) = self.users_of(token) {
            return users.known(token, (self.0.clock)());
        }
        let (id, secret) = split(token)?;
        Some(self.check_found(&self.cached(id)?, id, secret))
    }

    /// Returns the users of the identity provider if a token may be one of theirs.
    fn users_of(&self, token: &str) -> Option<&Users> {
        self.0.users.as_ref().filter(|_| !token.starts_with(PREFIX))
    }

    fn check_found(&self, found: &Lookup, id: &str, secret: &str) -> Result<Arc<Principal>, Rejection> {
        let Lookup::Key(key) = found else { return Err(Rejection::Unknown) };
        // Compared before the end of the key, so that only its holder receives this reason. Hashes are compared in constant
        // time.
        if key.digest != digest(id, secret) {
            return Err(Rejection::Unknown);
        }
        self.check_end(key)
    }

    fn check_end(&self, key: &CachedKey) -> Result<Arc<Principal>, Rejection> {
        if key.is_revoked {
            return Err(Rejection::Revoked);
        }
        if key.principal.expires_at.is_some_and(|at| at <= (self.0.clock)()) {
            return Err(Rejection::Expired);
        }
        Ok(Arc::clone(&key.principal))
    }

    /// Completes when the credential of a principal has expired or was revoked. Does not complete while the store does not
    /// respond, unless the credential expires. Does not complete for a certificate: the listener ends its connection.
    pub async fn ended(&self, principal: Arc<Principal>) {
        let mut revision = self.0.revision.subscribe();
        loop {
            let expires = self.expires(&principal);
            // Cancel-safe: both arms only wait.
            tokio::select! {
                () = expires => return,
                changed = revision.changed() => {
                    if changed.is_err() || !self.is_still_valid(&principal).await {
                        return;
                    }
                }
            }
        }
    }

    /// Completes when the credential has expired.
    async fn expires(&self, principal: &Principal) {
        let Some(at) = principal.expires_at else { return std::future::pending().await };
        loop {
            let left = at.0.saturating_sub((self.0.clock)().0);
            let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else { return };
            tokio::time::sleep(Duration::from_micros(left).min(MAX_SLEEP)).await;
        }
    }

    async fn is_still_valid(&self, principal: &Principal) -> bool {
        let CredentialId::Key(id) = &principal.credential else { return true };
        loop {
            match self.lookup_valid(id).await {
                Ok(Lookup::Key(key)) => return self.check_end(&key).is_ok(),
                Ok(Lookup::NoKey) => return false,
                Err(_) => tokio::time::sleep(RETRY_DELAY).await,
            }
        }
    }

    /// Returns what is known about an id, from the cache if it is fresh. Refuses an id that was not valid before at once if
    /// too many of them are looked up.
    async fn lookup(&self, id: &str, network: Option<IpAddr>) -> Result<Lookup, Rejection> {
        if let Some(found) = self.cached(id) {
            return Ok(found);
        }
        if self.0.cache.was_valid(id) {
            return self.read_in_time(id, &self.0.reads).await;
        }
        let _in_progress = self.0.unknown_lookups.begin(network, id).ok_or(Rejection::Busy)?;
        self.read_in_time(id, &self.0.unknown_reads).await
    }

    /// Returns what is known about an id that was valid before.
    async fn lookup_valid(&self, id: &str) -> Result<Lookup, Rejection> {
        match self.cached(id) {
            Some(found) => Ok(found),
            None => self.read_in_time(id, &self.0.reads).await,
        }
    }

    async fn read_in_time(&self, id: &str, permits: &Semaphore) -> Result<Lookup, Rejection> {
        tokio::time::timeout(READ_TIMEOUT, self.read(id, permits)).await.unwrap_or(Err(Rejection::Busy))
    }

    async fn read(&self, id: &str, permits: &Semaphore) -> Result<Lookup, Rejection> {
        let permit = permits.acquire().await;
        // Another request may have read the key while this one waited.
        if let Some(found) = self.cached(id) {
            return Ok(found);
        }
        let generation = self.0.cache.generation();
        LOOKUPS.increment(1);
        let key = self.0.store.access_key(id).await;
        drop(permit);
        let found = match key.map_err(unavailable)? {
            Some(key) => self.0.cached_key(&key).map_or(Lookup::NoKey, |key| Lookup::Key(Arc::new(key))),
            None => Lookup::NoKey,
        };
        self.0.cache.insert(generation, id, &found);
        Ok(found)
    }

    fn cached(&self, id: &str) -> Option<Lookup> {
        let confirmed = *self.0.confirmed.lock();
        confirmed.filter(|at| at.elapsed() < FRESH).and_then(|_| self.0.cache.get(id))
    }
}

/// Counts a refused credential.
pub(crate) fn record(rejection: &Rejection) {
    REFUSED.with([rejection.reason().into()]).increment(1);
}

/// The caller is not authenticated yet, so the response does not contain the cause.
fn unavailable(error: goconductor_store::Error) -> Rejection {
    tracing::warn!(%error, "read of an access key failed");
    Rejection::Unavailable("the state store does not respond".to_owned())
}

impl State {
    /// Returns a key of the store with its grants: those of its scope, and those of the bindings. `None` if its digest is
    /// malformed.
    fn cached_key(&self, key: &AccessKey) -> Option<CachedKey> {
        let credential = CredentialId::Key(key.id.clone());
        let mut grants = Grants::of_scope(&key.scope, &self.config);
        grants.extend(Grants::of_subjects(&[AccessSubject::Key(key.id.clone())], &self.config));
        let principal =
            Principal { actor: credential.to_string(), credential, grants, expires_at: key.expires_at };
        Some(CachedKey {
            digest: blake3::Hash::from_slice(&key.digest).ok()?,
            is_revoked: key.revoked_at.is_some(),
            principal: Arc::new(principal),
        })
    }

    /// Asks for the revision, and clears the cache if it has changed.
    async fn refresh(&self) -> Result<(), String> {
        let asked_at = Instant::now();
        let revision = tokio::time::timeout(READ_TIMEOUT, self.store.access_revision()).await;
        let revision = revision.map_err(|_| "the state store did not respond in time".to_owned())?;
        let revision = revision.map_err(|error| error.to_string())?;
        let is_first = self.confirmed.lock().is_none();
        if is_first || *self.revision.borrow() != revision {
            // Cleared before the answer counts.
            self.cache.clear();
            self.revision.send_replace(revision);
        }
        *self.confirmed.lock() = Some(asked_at);
        Ok(())
    }
}

fn bootstrap(key: &SecretString) -> (blake3::Hash, Arc<Principal>) {
    let credential = CredentialId::Bootstrap;
    let principal =
        Principal { actor: credential.to_string(), credential, grants: Grants::all(), expires_at: None };
    (blake3::hash(key.expose_secret().as_bytes()), Arc::new(principal))
}

/// Reads the keys of the identity provider, so that the first user does not wait for them.
async fn prepare_users(state: Arc<State>) {
    if let Some(users) = &state.users
        && !users.prepare().await
    {
        tracing::warn!("keys of the identity provider were not read; its users are refused until they are");
    }
}

/// Follows the revision of the keys until the last handle is dropped.
async fn follow_revision(state: Weak<State>) {
    let mut has_failed = false;
    loop {
        let Some(current) = state.upgrade() else { return };
        match current.refresh().await {
            Ok(()) => has_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::warn!(error, "revision of the access keys was not read");
                }
            }
        }
        drop(current);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests;
