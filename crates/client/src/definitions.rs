//! Calls about definitions.

use crate::{AppliedDefinition, Client, DefinitionList, DefinitionRecord, Error, Reply};
use reqwest::{Method, StatusCode, header};

impl Client {
    /// Applies a definition: equal content changes nothing, changed content is the next version. With
    /// `dry_run` it is only checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every problem and its place.
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

    /// The newest version of each definition.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
    pub async fn definitions(&self) -> Result<Reply<DefinitionList>, Error> {
        self.call(self.api(Method::GET, &["definitions"])).await
    }

    /// A definition; none for `version` means the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
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

    /// Every version of a definition, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn definition_versions(&self, name: &str) -> Result<Reply<DefinitionList>, Error> {
        self.call(self.api(Method::GET, &["definitions", name, "versions"])).await
    }
}
