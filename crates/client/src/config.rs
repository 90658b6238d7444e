//! Requests about the configuration.

use crate::{Client, Config, ConfigHistory, ConfigVersion, Error, Reply};
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};

/// The conditions of a change of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigWrite {
    /// The version that the settings must still have. `None` for any.
    pub if_version: Option<u64>,
    /// Whether the change is only checked.
    pub dry_run: bool,
    /// The reason for the change.
    pub reason: Option<String>,
}

impl Client {
    /// Returns the settings of the API, and which of them wait for a restart.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn config(&self) -> Result<Reply<Config>, Error> {
        self.call(self.api(Method::GET, &["config"])).await
    }

    /// Replaces the settings of the API.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the settings have another version than `write.if_version`, and
    /// [`Error::Invalid`] if they are invalid or a server that they name does not respond.
    pub async fn put_config(&self, settings: &Value, write: &ConfigWrite) -> Result<Reply<Config>, Error> {
        self.call(conditional(self.api(Method::PUT, &["config"]), write).json(settings)).await
    }

    /// Changes some settings of the API by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// Returns the errors of [`put_config`](Self::put_config).
    pub async fn patch_config(&self, patch: &Value, write: &ConfigWrite) -> Result<Reply<Config>, Error> {
        self.call(conditional(self.api(Method::PATCH, &["config"]), write).json(patch)).await
    }

    /// Returns to the settings of an earlier version.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the version does not exist, and the errors of [`put_config`](Self::put_config).
    pub async fn rollback_config(
        &self,
        version: u64,
        if_version: Option<u64>,
        reason: Option<&str>,
    ) -> Result<Reply<Config>, Error> {
        let body = json!({"version": version, "reason": reason});
        let request = self.api(Method::POST, &["config", "rollback"]).json(&body);
        self.call(if_match(request, if_version)).await
    }

    /// Lists the versions of the settings, newest first.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn config_history(&self, page_size: u32) -> Result<Reply<ConfigHistory>, Error> {
        let request = self.api(Method::GET, &["config", "history"]);
        self.call(request.query(&[("page_size", page_size)])).await
    }

    /// Returns a version of the settings.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the version does not exist.
    pub async fn config_version(&self, version: u64) -> Result<Reply<ConfigVersion>, Error> {
        self.call(self.api(Method::GET, &["config", "history", &version.to_string()])).await
    }
}

fn conditional(request: RequestBuilder, write: &ConfigWrite) -> RequestBuilder {
    let mut query: Vec<(&str, &str)> = Vec::new();
    if write.dry_run {
        query.push(("dry_run", "true"));
    }
    query.extend(write.reason.as_deref().map(|reason| ("reason", reason)));
    if_match(request.query(&query), write.if_version)
}

fn if_match(request: RequestBuilder, version: Option<u64>) -> RequestBuilder {
    match version {
        Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
        None => request,
    }
}
