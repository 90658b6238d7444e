//! Calls about locks and elections.

use crate::{Client, ElectionList, Error, Leader, Lock, LockPage, Released, Reply, SteppedDown};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A lease as the API reads it.
fn text(ttl: Duration) -> String {
    format!("{}ms", ttl.as_millis())
}

/// Who holds a lock, by which token; none: by whichever.
fn hold(owner: &str, fencing_token: Option<u64>) -> Map<String, Value> {
    let mut hold = Map::new();
    hold.insert("owner".to_owned(), owner.into());
    hold.extend(fencing_token.map(|token| ("fencing_token".to_owned(), token.into())));
    hold
}

impl Client {
    /// Takes a lock. The same owner gets the same hold again, so a call without an answer can be repeated.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another holds it.
    pub async fn acquire_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Reply<Lock>, Error> {
        let body = json!({"owner": owner, "ttl": text(ttl)});
        self.call(self.api(Method::POST, &["locks", key, "acquire"]).json(&body)).await
    }

    /// Has a lock last for so long from now.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another holds it, or nobody does any more.
    pub async fn renew_lock(
        &self,
        key: &str,
        owner: &str,
        fencing_token: Option<u64>,
        ttl: Duration,
    ) -> Result<Reply<Lock>, Error> {
        let mut body = hold(owner, fencing_token);
        body.insert("ttl".to_owned(), text(ttl).into());
        self.call(self.api(Method::POST, &["locks", key, "renew"]).json(&body)).await
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another holds it.
    pub async fn release_lock(
        &self,
        key: &str,
        owner: &str,
        fencing_token: Option<u64>,
    ) -> Result<Reply<Released>, Error> {
        let body = hold(owner, fencing_token);
        self.call(self.api(Method::POST, &["locks", key, "release"]).json(&body)).await
    }

    /// A page of the locks that are held, by key.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
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

    /// Who leads what.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the gateway has no election.
    pub async fn elections(&self) -> Result<Reply<ElectionList>, Error> {
        self.call(self.api(Method::GET, &["elections"])).await
    }

    /// Who leads an election.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nobody does.
    pub async fn election(&self, name: &str) -> Result<Reply<Leader>, Error> {
        self.call(self.api(Method::GET, &["elections", name])).await
    }

    /// Has the leader of an election step down.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the gateway has no election.
    pub async fn step_down(&self, name: &str) -> Result<Reply<SteppedDown>, Error> {
        self.call(self.api(Method::POST, &["elections", name, "step-down"])).await
    }
}
