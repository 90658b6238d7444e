//! Requests about definitions.

use crate::{AppliedDefinition, Client, DefinitionList, DefinitionRecord, Error, Reply};
use reqwest::{Method, StatusCode, header};

impl Client {
    /// Applies a definition. Equal content changes nothing, changed content becomes the next version. With `dry_run`,
    /// the definition is only checked.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with the location of every problem if the definition is invalid.
    pub async fn apply_definition(
        &self,
        name: &str,
        content_type: &str,
        source: &str,
        dry_run: bool,
    ) -> Result<Reply<AppliedDefinition>, Error> {
        let mut request = self
            .api(Method::PUT, &["definitions", name])
            .header(header::CONTENT_TYPE, content_type)
            .body(source.to_owned())
            .timeout(crate::CALL_TIMEOUT);
        if dry_run {
            request = request.query(&[("dry_run", "true")]);
        }
        let response = self.send(request).await?;
        let created = response.status() == StatusCode::CREATED;
        let mut reply: Reply<AppliedDefinition> = self.read(response).await?;
        reply.value.created = created;
        Ok(reply)
    }

    /// Lists the newest version of each definition.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn definitions(&self) -> Result<Reply<DefinitionList>, Error> {
        self.call(self.api(Method::GET, &["definitions"])).await
    }

    /// Returns a version of a definition, or the newest one.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the definition or the version does not exist.
    pub async fn definition(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Reply<DefinitionRecord>, Error> {
        match version {
            None => self.call(self.api(Method::GET, &["definitions", name])).await,
            Some(version) => {
                let version = version.to_string();
                self.call(self.api(Method::GET, &["definitions", name, "versions", &version])).await
            }
        }
    }

    /// Archives a definition: new starts are refused, and running workflows continue. Applying the definition again
    /// restores it.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the definition does not exist or is already archived.
    pub async fn delete_definition(&self, name: &str) -> Result<(), Error> {
        let request = self.api(Method::DELETE, &["definitions", name]).timeout(crate::CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Lists the versions of a definition, newest first.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the definition does not exist.
    pub async fn definition_versions(&self, name: &str) -> Result<Reply<DefinitionList>, Error> {
        self.call(self.api(Method::GET, &["definitions", name, "versions"])).await
    }
}
