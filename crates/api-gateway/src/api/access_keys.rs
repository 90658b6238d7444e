//! Access keys: issue, list, rotate and revoke.

use super::{Api, CallContext, PageRequest, cut_to_page, invalid_page_token};
use crate::audit_notes;
use crate::error::{ApiResult, EXCESSIVE_GRANT, FORBIDDEN, INTERNAL, NO_ACCESS_KEY, Problem, WRONG_SHAPE};
use crate::time::Time;
use goconductor_access::{Grants, IssuedKey};
use goconductor_saga::NameKind;
use goconductor_service_kit::config::{AccessConfig, is_namespace_pattern};
use goconductor_service_kit::duration;
use goconductor_store::{AccessKey, AccessKeyEnd, AccessScope};
use goconductor_transition::clock;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// The longest name of a key, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 128;
/// The most roles, namespaces or services of a key.
pub(crate) const MAX_SCOPE_ITEMS: usize = 64;
/// The shortest time after which a key expires.
pub(crate) const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The longest time after which a key expires, and the longest overlap of a rotation.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);

/// A request to create a key.
#[derive(Debug)]
pub(crate) struct CreateAccessKey {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    /// Empty for the namespace of the request.
    pub(crate) namespaces: Vec<String>,
    /// Empty for all.
    pub(crate) services: Vec<String>,
    /// `None` if the key does not expire.
    pub(crate) expires_in: Option<Duration>,
}

/// An access key, without its token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessKeyView {
    /// Identifies the key. Its token begins with `gck_` and the id.
    pub(crate) id: String,
    /// Purpose of the key.
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    /// Namespaces in which the roles apply, or `*` for all.
    pub(crate) namespaces: Vec<String>,
    /// Services that a worker with the key may serve. Empty for all.
    pub(crate) services: Vec<String>,
    /// Caller that created the key.
    pub(crate) created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    /// Time from which on the key is refused. `null` if it does not expire.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Time>,
    /// Time at which the key was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) revoked_at: Option<Time>,
}

/// A new access key with its token.
#[derive(Debug)]
pub(crate) struct CreatedAccessKey {
    pub(crate) key: AccessKeyView,
    pub(crate) token: SecretString,
}

/// A page of access keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessKeyPage {
    /// Keys, ordered by id.
    pub(crate) keys: Vec<AccessKeyView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

impl Api {
    /// Creates a key. Its token is returned once.
    pub(crate) async fn create_access_key(
        &self,
        context: &CallContext,
        create: CreateAccessKey,
    ) -> ApiResult<CreatedAccessKey> {
        let CreateAccessKey { name, roles, mut namespaces, services, expires_in } = create;
        check_name(&name)?;
        if namespaces.is_empty() {
            namespaces = vec![context.namespace.to_string()];
        }
        let scope = AccessScope { roles, namespaces, services };
        self.check_scope(&scope)?;
        let lifetime = expires_in.map(|time| check_time(time, MIN_LIFETIME, "/expires_in")).transpose()?;
        self.issue(context, name, scope, lifetime).await
    }

    /// Returns a key.
    pub(crate) async fn access_key(&self, id: &str) -> ApiResult<AccessKeyView> {
        Ok(view(self.load_access_key(id).await?))
    }

    /// Lists the keys, by id.
    pub(crate) async fn list_access_keys(&self, page: &PageRequest) -> ApiResult<AccessKeyPage> {
        let size = self.page_size(page.size)?;
        let after = page.token();
        if after.is_some_and(|after| !is_id(after)) {
            return Err(invalid_page_token());
        }
        let mut keys = self.store().access_keys(after, size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut keys, size);
        let last = keys.last().filter(|_| is_more).map(|key| key.id.clone());
        Ok(AccessKeyPage {
            keys: keys.into_iter().map(view).collect(),
            next_page_token: last.unwrap_or_default(),
        })
    }

    /// Revokes a key. Every process refuses it within two seconds.
    pub(crate) async fn revoke_access_key(&self, id: &str) -> ApiResult<AccessKeyView> {
        audit_notes::target("access_key", id);
        audit_notes::before(&view(self.load_access_key(id).await?));
        self.end(id, AccessKeyEnd::Revoked(clock::wall())).await
    }

    /// Creates a key with the rights of another one, which expires after `overlap`.
    pub(crate) async fn rotate_access_key(
        &self,
        context: &CallContext,
        id: &str,
        overlap: Duration,
    ) -> ApiResult<CreatedAccessKey> {
        let overlap = check_time(overlap, Duration::ZERO, "/overlap")?;
        audit_notes::target("access_key", id);
        let previous = self.load_access_key(id).await?;
        audit_notes::before(&view(previous.clone()));
        let now = clock::wall();
        let has_ended =
            previous.revoked_at.is_some() || previous.expires_at.is_some_and(|expires_at| expires_at <= now);
        if has_ended {
            let detail = format!("access key {id} has ended: create a new key");
            return Err(Problem::new(NO_ACCESS_KEY, detail));
        }
        let AccessKey { name, scope, created_at, expires_at, .. } = previous;
        // The new key lives as long as the previous one was made for.
        let lifetime = expires_at.map(|expires_at| expires_at.since(created_at).max(MIN_LIFETIME));
        let created = self.issue(context, name, scope, lifetime).await?;
        self.end(id, AccessKeyEnd::Expires(now.after(overlap))).await?;
        Ok(created)
    }

    async fn issue(
        &self,
        context: &CallContext,
        name: String,
        scope: AccessScope,
        lifetime: Option<Duration>,
    ) -> ApiResult<CreatedAccessKey> {
        if self.gate.is_none() {
            let detail = "access control is off, so the caller is not known: create keys with \
                          `goconductor access key create --offline`";
            return Err(Problem::new(FORBIDDEN, detail));
        }
        self.check_creator(context, &scope)?;
        let IssuedKey { id, text, digest } =
            IssuedKey::generate().map_err(|error| Problem::new(INTERNAL, error.to_string()))?;
        let created_at = clock::wall();
        let key = AccessKey {
            id,
            name,
            digest,
            scope,
            created_by: context.actor.clone().unwrap_or_else(|| "api".to_owned()),
            created_at,
            expires_at: lifetime.map(|lifetime| created_at.after(lifetime)),
            revoked_at: None,
        };
        audit_notes::target("access_key", &key.id);
        audit_notes::after(&view(key.clone()));
        if !self.store().create_access_key(&key).await? {
            return Err(Problem::new(INTERNAL, "a random id is in use: repeat the request"));
        }
        Ok(CreatedAccessKey { key: view(key), token: text })
    }

    async fn end(&self, id: &str, end: AccessKeyEnd) -> ApiResult<AccessKeyView> {
        self.store().end_access_key(id, end).await?.map(view).ok_or_else(|| not_found(id))
    }

    async fn load_access_key(&self, id: &str) -> ApiResult<AccessKey> {
        let key = if is_id(id) { self.store().access_key(id).await? } else { None };
        key.ok_or_else(|| not_found(id))
    }

    /// Checks that a caller has all rights that a key would have.
    fn check_creator(&self, context: &CallContext, scope: &AccessScope) -> ApiResult<()> {
        let (Some(principal), Some(gate)) = (&context.principal, &self.gate) else { return Ok(()) };
        if principal.grants.cover(&Grants::of_scope(scope, gate.access.config())) {
            return Ok(());
        }
        let detail = "the key would have rights that its creator does not have: choose fewer roles, namespaces or services";
        Err(Problem::new(EXCESSIVE_GRANT, detail))
    }

    fn check_scope(&self, scope: &AccessScope) -> ApiResult<()> {
        let default = AccessConfig::default();
        let config = self.gate.as_ref().map_or(&default, |gate| gate.access.config());
        let AccessScope { roles, namespaces, services } = scope;
        if roles.is_empty() {
            return Err(invalid("/roles", "a key needs at least one role".to_owned()));
        }
        let is_role = |role: &str| config.permissions_of(role).is_some();
        let known = || format!("use {}", Vec::from_iter(config.role_names()).join(", "));
        check_items(roles, "/roles", is_role, known)?;
        check_items(namespaces, "/namespaces", is_namespace_pattern, || {
            format!("{}, or * for all", NameKind::Namespace.rule())
        })?;
        check_items(
            services,
            "/services",
            |name| NameKind::Service.check(name).is_ok(),
            || NameKind::Service.rule().to_owned(),
        )
    }
}

impl CreatedAccessKey {
    /// Returns the token for the response, which is the only place that shows it.
    pub(crate) fn token(&self) -> String {
        self.token.expose_secret().to_owned()
    }
}

fn check_items(
    items: &[String],
    pointer: &str,
    is_valid: impl Fn(&str) -> bool,
    rule: impl Fn() -> String,
) -> ApiResult<()> {
    if items.len() > MAX_SCOPE_ITEMS {
        return Err(invalid(pointer, format!("{} items: use at most {MAX_SCOPE_ITEMS}", items.len())));
    }
    match items.iter().position(|item| !is_valid(item)) {
        None => Ok(()),
        Some(index) => {
            let item: String = items.get(index).into_iter().flat_map(|item| item.chars().take(64)).collect();
            Err(invalid(&format!("{pointer}/{index}"), format!("invalid value {item:?}: {}", rule())))
        }
    }
}

fn check_name(name: &str) -> ApiResult<()> {
    let chars = name.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&chars) || name.trim().is_empty() || name.contains(char::is_control) {
        let detail = format!("invalid name: use 1 to {MAX_NAME_CHARS} visible characters");
        return Err(invalid("/name", detail));
    }
    Ok(())
}

fn check_time(time: Duration, min: Duration, pointer: &str) -> ApiResult<Duration> {
    if (min..=MAX_LIFETIME).contains(&time) {
        return Ok(time);
    }
    let [time, min, max] = [time, min, MAX_LIFETIME].map(duration::format);
    Err(invalid(pointer, format!("invalid duration {time}: it must be between {min} and {max}")))
}

/// The problem of a field of the body.
pub(crate) fn invalid(pointer: &str, detail: String) -> Problem {
    Problem::new(WRONG_SHAPE, detail.clone()).at(pointer, detail)
}

/// Whether a text can be the id of a key.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn not_found(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    Problem::new(NO_ACCESS_KEY, format!("access key {id} not found"))
}

fn view(key: AccessKey) -> AccessKeyView {
    let AccessScope { roles, namespaces, services } = key.scope;
    AccessKeyView {
        id: key.id,
        name: key.name,
        roles,
        namespaces,
        services,
        created_by: key.created_by,
        created_at: key.created_at.into(),
        expires_at: key.expires_at.map(Into::into),
        revoked_at: key.revoked_at.map(Into::into),
    }
}
