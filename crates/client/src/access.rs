//! Requests about access keys.

use crate::{AccessKey, AccessKeyPage, Client, CreatedAccessKey, Error, Reply};
use reqwest::Method;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// A request to create an access key.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewAccessKey {
    /// The purpose of the key.
    pub name: String,
    /// The roles, at least one.
    pub roles: Vec<String>,
    /// The namespaces in which the roles apply, or `*` for all. If empty, the namespace of the client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The services that a worker with the key may serve. If empty, all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The time after which the key is refused, such as `90d`. If absent, it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

impl Client {
    /// Creates an access key. The response is the only one that has its token.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`] if the key would have rights that the caller does not have.
    pub async fn create_access_key(&self, key: &NewAccessKey) -> Result<Reply<CreatedAccessKey>, Error> {
        self.call(self.api(Method::POST, &["access", "keys"]).json(key)).await
    }

    /// Returns an access key, without its token.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such key.
    pub async fn access_key(&self, id: &str) -> Result<Reply<AccessKey>, Error> {
        self.call(self.api(Method::GET, &["access", "keys", id])).await
    }

    /// Lists the access keys, ordered by id. Keys that have ended are included.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn access_keys(
        &self,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<AccessKeyPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["access", "keys"]).query(&query)).await
    }

    /// Revokes an access key. Every process refuses it within two seconds.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such key.
    pub async fn revoke_access_key(&self, id: &str) -> Result<Reply<AccessKey>, Error> {
        self.call(self.api(Method::DELETE, &["access", "keys", id])).await
    }

    /// Creates an access key with the rights of another one, which expires after `overlap`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such key, or if it has ended.
    pub async fn rotate_access_key(
        &self,
        id: &str,
        overlap: Duration,
    ) -> Result<Reply<CreatedAccessKey>, Error> {
        let body = json!({"overlap": format!("{}ms", overlap.as_millis())});
        self.call(self.api(Method::POST, &["access", "keys", id, "rotate"]).json(&body)).await
    }
}
