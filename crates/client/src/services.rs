//! Calls about services.

use crate::{Client, DeadLetter, DeadLetterPage, Error, ProcessList, Reply, ServiceList, ServiceRecord};
use reqwest::Method;
use serde_json::Value;

impl Client {
    /// All services.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
    pub async fn services(&self) -> Result<Reply<ServiceList>, Error> {
        self.call(self.api(Method::GET, &["services"])).await
    }

    /// A service.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn service(&self, name: &str) -> Result<Reply<ServiceRecord>, Error> {
        self.call(self.api(Method::GET, &["services", name])).await
    }

    /// The processes that are there.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
    pub async fn processes(&self) -> Result<Reply<ProcessList>, Error> {
        self.call(self.api(Method::GET, &["processes"])).await
    }

    /// A page of the messages that nobody could act on, newest first.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
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

    /// A message that nobody could act on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn dead_letter(&self, id: &str) -> Result<Reply<DeadLetter>, Error> {
        self.call(self.api(Method::GET, &["dead-letters", id])).await
    }

    /// Puts a message back where it came from.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn requeue_dead_letter(&self, id: &str) -> Result<Reply<DeadLetter>, Error> {
        self.call(self.api(Method::POST, &["dead-letters", id, "requeue"])).await
    }

    /// Removes a message that nobody could act on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn delete_dead_letter(&self, id: &str) -> Result<(), Error> {
        let request = self.api(Method::DELETE, &["dead-letters", id]).timeout(crate::CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Says how a service is reached, as `{"http": {"url": …}}`; what is there is replaced.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the settings can't be.
    pub async fn set_service(&self, name: &str, settings: &Value) -> Result<Reply<ServiceRecord>, Error> {
        self.call(self.api(Method::PUT, &["services", name]).json(settings)).await
    }
}
