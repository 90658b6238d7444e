//! Requests about services, processes and dead letters.

use crate::{
    Client, DeadLetter, DeadLetterPage, DeletedService, Error, ProcessList, Reply, ServiceList, ServiceRecord,
};
use reqwest::Method;
use serde_json::Value;

impl Client {
    /// Lists the services.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn services(&self) -> Result<Reply<ServiceList>, Error> {
        self.call(self.api(Method::GET, &["services"])).await
    }

    /// Returns a service.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the service does not exist.
    pub async fn service(&self, name: &str) -> Result<Reply<ServiceRecord>, Error> {
        self.call(self.api(Method::GET, &["services", name])).await
    }

    /// Deletes the settings of a service, and returns what still uses it.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the service has no settings.
    pub async fn delete_service(&self, name: &str) -> Result<Reply<DeletedService>, Error> {
        self.call(self.api(Method::DELETE, &["services", name])).await
    }

    /// Lists the running processes.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn processes(&self) -> Result<Reply<ProcessList>, Error> {
        self.call(self.api(Method::GET, &["processes"])).await
    }

    /// Lists the dead letters, newest first.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn dead_letters(
        &self,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<DeadLetterPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["dead-letters"]).query(&query)).await
    }

    /// Returns a dead letter.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the dead letter does not exist.
    pub async fn dead_letter(&self, id: &str) -> Result<Reply<DeadLetter>, Error> {
        self.call(self.api(Method::GET, &["dead-letters", id])).await
    }

    /// Publishes a dead letter to its topic again.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the dead letter does not exist.
    pub async fn requeue_dead_letter(&self, id: &str) -> Result<Reply<DeadLetter>, Error> {
        self.call(self.api(Method::POST, &["dead-letters", id, "requeue"])).await
    }

    /// Deletes a dead letter.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the dead letter does not exist.
    pub async fn delete_dead_letter(&self, id: &str) -> Result<(), Error> {
        let request = self.api(Method::DELETE, &["dead-letters", id]).timeout(crate::CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Sets the address and the limits of a service, such as `{"http": {"url": …}}`. The previous settings are
    /// replaced.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the settings are invalid.
    pub async fn set_service(&self, name: &str, settings: &Value) -> Result<Reply<ServiceRecord>, Error> {
        self.call(self.api(Method::PUT, &["services", name]).json(settings)).await
    }
}
