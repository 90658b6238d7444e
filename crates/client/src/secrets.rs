//! Requests about secrets.

use crate::{Client, Error, Reply, RotatedPayloadKey, Rotation, Secret, SecretPage};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

impl Client {
    /// Sets the value of a secret: creates its next version.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the server has no usable master key.
    pub async fn put_secret(&self, name: &str, value: &SecretString) -> Result<Reply<Secret>, Error> {
        let body = json!({"value": value.expose_secret()});
        self.call(self.api(Method::PUT, &["secrets", name]).json(&body)).await
    }

    /// Returns a secret without its value.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the secret does not exist.
    pub async fn secret(&self, name: &str) -> Result<Reply<Secret>, Error> {
        self.call(self.api(Method::GET, &["secrets", name])).await
    }

    /// Lists the secrets, ordered by name, without their values.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn secrets(
        &self,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<SecretPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["secrets"]).query(&query)).await
    }

    /// Deletes a secret with all its versions.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the secret does not exist.
    pub async fn delete_secret(&self, name: &str) -> Result<(), Error> {
        let request = self.api(Method::DELETE, &["secrets", name]).timeout(crate::CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Creates the next key for the payloads of the namespace.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the server has no usable master key.
    pub async fn rotate_payload_key(&self) -> Result<Reply<RotatedPayloadKey>, Error> {
        self.call(self.api(Method::POST, &["secrets", "rotate-payload-key"])).await
    }

    /// Makes the first master key of the server the current one, and returns the progress of the rotation.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the server has no usable master key.
    pub async fn rotate_master_key(&self) -> Result<Reply<Rotation>, Error> {
        self.call(self.api(Method::POST, &["secrets", "rotate-key"])).await
    }
}
