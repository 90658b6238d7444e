//! Requests about locks and elections.

use crate::{Client, ElectionList, Error, Leader, Lock, LockPage, Released, Reply, SteppedDown};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Formats the length of a lease for the API.
fn ttl_text(ttl: Duration) -> String {
    format!("{}ms", ttl.as_millis())
}

/// Builds the body that identifies a hold.
fn hold(owner: &str, fencing_token: Option<u64>) -> Map<String, Value> {
    let mut hold = Map::new();
    hold.insert("owner".to_owned(), owner.into());
    hold.extend(fencing_token.map(|token| ("fencing_token".to_owned(), token.into())));
    hold
}

impl Client {
    /// Acquires a lock. If `owner` already holds it, its lease is renewed for `ttl` and keeps its token, so a request
    /// whose response was lost can be repeated.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if another owner holds the lock.
    pub async fn acquire_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Reply<Lock>, Error> {
        let body = json!({"owner": owner, "ttl": ttl_text(ttl)});
        self.call(self.api(Method::POST, &["locks", key, "acquire"]).json(&body)).await
    }

    /// Renews a lock for `ttl` from now. `None` for `fencing_token` accepts any token.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the lock is held by another owner or is no longer held.
    pub async fn renew_lock(
        &self,
        key: &str,
        owner: &str,
        fencing_token: Option<u64>,
        ttl: Duration,
    ) -> Result<Reply<Lock>, Error> {
        let mut body = hold(owner, fencing_token);
        body.insert("ttl".to_owned(), ttl_text(ttl).into());
        self.call(self.api(Method::POST, &["locks", key, "renew"]).json(&body)).await
    }

    /// Releases a lock. `None` for `fencing_token` accepts any token.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if another owner holds the lock.
    pub async fn release_lock(
        &self,
        key: &str,
        owner: &str,
        fencing_token: Option<u64>,
    ) -> Result<Reply<Released>, Error> {
        let body = hold(owner, fencing_token);
        self.call(self.api(Method::POST, &["locks", key, "release"]).json(&body)).await
    }

    /// Lists the held locks, ordered by key.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn locks(
        &self,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<LockPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["locks"]).query(&query)).await
    }

    /// Lists the leaders of all elections.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if no election is configured.
    pub async fn elections(&self) -> Result<Reply<ElectionList>, Error> {
        self.call(self.api(Method::GET, &["elections"])).await
    }

    /// Returns the leader of an election.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the election has no leader.
    pub async fn election(&self, name: &str) -> Result<Reply<Leader>, Error> {
        self.call(self.api(Method::GET, &["elections", name])).await
    }

    /// Ends the term of an election's leader.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if no election is configured.
    pub async fn step_down(&self, name: &str) -> Result<Reply<SteppedDown>, Error> {
        self.call(self.api(Method::POST, &["elections", name, "step-down"])).await
    }
}
