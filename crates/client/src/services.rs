//! Calls about services.

use crate::{Client, Error, ProcessList, Reply, ServiceList, ServiceRecord};
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

    /// Says how a service is reached, as `{"http": {"url": …}}`; what is there is replaced.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the settings can't be.
    pub async fn set_service(&self, name: &str, settings: &Value) -> Result<Reply<ServiceRecord>, Error> {
        self.call(self.api(Method::PUT, &["services", name]).json(settings)).await
    }
}
