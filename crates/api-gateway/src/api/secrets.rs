//! Secrets. They are write-only: no operation returns a value.

use super::{Api, CallContext, PageRequest, cut_to_page, invalid_page_token};
use crate::audit_notes;
use crate::error::{
    ApiResult, INTERNAL, MASTER_KEY, NO_MASTER_KEY, NO_SECRET, PARAMETER, Problem, SECRET_CONFLICT,
    WRONG_SHAPE,
};
use crate::time::Time;
use goconductor_process::{Vault, VaultError};
use goconductor_saga::NameKind;
use goconductor_store::SecretHead;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

/// The largest value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 64 << 10;
/// Names that are part of the paths of other operations.
const RESERVED: [&str; 2] = ["rotate-key", "rotate-payload-key"];

/// A secret without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    pub(crate) name: String,
    /// The newest version, from 1. Versions are not used again after a deletion.
    pub(crate) version: u32,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    /// Time of the newest version.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Time,
}

/// A page of secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretPage {
    /// Secrets, ordered by name.
    pub(crate) secrets: Vec<SecretView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// The progress of a rotation of the master key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RotationView {
    /// The id of the current master key.
    pub(crate) key_id: String,
    /// Whether this request made it the current one.
    pub(crate) changed: bool,
    /// Versions whose data keys are still wrapped with an earlier master key, at most 1000. Earlier keys can be removed
    /// from the processes when it is 0.
    pub(crate) pending: u32,
}

/// The key of the payloads of a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PayloadKeyView {
    pub(crate) namespace: String,
    /// The newest version, from 1. It encrypts new payloads within five seconds.
    pub(crate) version: u32,
}

impl Api {
    /// Sets the value of a secret: creates its next version.
    pub(crate) async fn put_secret(
        &self,
        context: &CallContext,
        name: &str,
        value: &SecretString,
    ) -> ApiResult<SecretView> {
        NameKind::Secret.check(name)?;
        audit_notes::target("secret", name);
        if RESERVED.contains(&name) {
            return Err(Problem::new(PARAMETER, format!("the name {name} is reserved: choose another one")));
        }
        let bytes = value.expose_secret().len();
        if !(1..=MAX_VALUE_BYTES).contains(&bytes) {
            let detail = format!("the value has {bytes} bytes: it must have 1 to {MAX_VALUE_BYTES}");
            return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/value", detail));
        }
        let head = self.vault()?.put(context.namespace.as_str(), name, value).await?;
        audit_notes::after(&json!({"version": head.version}));
        Ok(view(head))
    }

    /// Returns a secret without its value.
    pub(crate) async fn secret(&self, context: &CallContext, name: &str) -> ApiResult<SecretView> {
        NameKind::Secret.check(name)?;
        let head = self.store().secret_head(context.namespace.as_str(), name).await?;
        head.filter(|head| !head.is_deleted).map(view).ok_or_else(|| not_found(name))
    }

    /// Lists the secrets of the namespace.
    pub(crate) async fn list_secrets(
        &self,
        context: &CallContext,
        page: &PageRequest,
    ) -> ApiResult<SecretPage> {
        let size = self.page_size(page.size)?;
        if page.token().is_some_and(|name| NameKind::Secret.check(name).is_err()) {
            return Err(invalid_page_token());
        }
        let mut heads =
            self.store().secrets(context.namespace.as_str(), page.token(), size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut heads, size);
        let last = heads.last().filter(|_| is_more).map(|head| head.name.clone());
        let secrets = heads.into_iter().map(view).collect();
        Ok(SecretPage { secrets, next_page_token: last.unwrap_or_default() })
    }

    /// Deletes a secret with all its versions.
    pub(crate) async fn delete_secret(&self, context: &CallContext, name: &str) -> ApiResult<()> {
        NameKind::Secret.check(name)?;
        audit_notes::target("secret", name);
        let deleted = self.store().delete_secret(context.namespace.as_str(), name).await?;
        if deleted { Ok(()) } else { Err(not_found(name)) }
    }

    /// Makes the first master key of this process the current one.
    pub(crate) async fn rotate_master_key(&self) -> ApiResult<RotationView> {
        let rotation = self.vault()?.rotate().await?;
        audit_notes::target("master_key", &rotation.key_id);
        audit_notes::after(&json!({"changed": rotation.changed, "pending": rotation.pending}));
        Ok(RotationView { key_id: rotation.key_id, changed: rotation.changed, pending: rotation.pending })
    }

    /// Creates the next key for the payloads of the namespace.
    pub(crate) async fn rotate_payload_key(&self, context: &CallContext) -> ApiResult<PayloadKeyView> {
        let namespace = context.namespace.as_str();
        audit_notes::target("payload_key", namespace);
        let head = self.vault()?.create_payload_key(namespace).await?;
        audit_notes::after(&json!({"version": head.version}));
        Ok(PayloadKeyView { namespace: namespace.to_owned(), version: head.version })
    }

    fn vault(&self) -> ApiResult<&Arc<Vault>> {
        let detail = "no master key is configured: set secrets.master_key in the configuration of the processes, such as \
                      file:///etc/goconductor/master.key; create a key with `goconductor secret generate-key`";
        self.vault.as_ref().ok_or_else(|| Problem::new(NO_MASTER_KEY, detail))
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        let kind = match &error {
            VaultError::Store(error) => return error.clone().into(),
            VaultError::Contention { .. } => SECRET_CONFLICT,
            VaultError::Source { .. } | VaultError::NoKey { .. } | VaultError::WrongKey { .. } => MASTER_KEY,
            VaultError::Corrupt { .. } | VaultError::Randomness(_) => INTERNAL,
        };
        Self::new(kind, error.to_string())
    }
}

fn not_found(name: &str) -> Problem {
    Problem::new(NO_SECRET, format!("secret {name} not found"))
}

fn view(head: SecretHead) -> SecretView {
    SecretView {
        name: head.name,
        version: head.version,
        created_at: head.created_at.into(),
        updated_at: head.updated_at.into(),
    }
}
