//! The session of the console: who the caller is and what it may do.

use super::Api;
use crate::access::SignedIn;
use crate::error::{ApiResult, NO_SIGN_IN, Problem, WRONG_SHAPE};
use crate::single_header::header_text;
use crate::time::Time;
use axum::http::{HeaderMap, HeaderValue};
use goconductor_access::{CredentialId, Principal};
use goconductor_saga::Namespace;
use goconductor_service_kit::permission::Permission;
use serde::Serialize;
use utoipa::ToSchema;

/// The caller of a request, and what it may do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// Whether the server checks callers. If it does not, every caller may do everything.
    pub(crate) access_control: bool,
    /// Whether the request has a valid credential.
    pub(crate) signed_in: bool,
    /// Whether the credential is a session of the console.
    pub(crate) by_session: bool,
    /// How a user can sign in: `access_key`, `oidc`
    pub(crate) sign_in: Vec<&'static str>,
    /// Name that the history records.
    pub(crate) actor: Option<String>,
    /// `access_key`, `bootstrap_key`, `user`, `certificate`
    pub(crate) credential: Option<&'static str>,
    /// Names of the roles in the namespace of the request.
    pub(crate) roles: Vec<String>,
    /// Time at which the session, or the credential, ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Time>,
    /// Namespace of the request.
    pub(crate) namespace: String,
    /// Permissions in the namespace of the request.
    pub(crate) permissions: Vec<&'static str>,
    /// All permissions, by namespace.
    pub(crate) grants: Vec<GrantView>,
}

/// Permissions in some namespaces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantView {
    /// Null for all namespaces.
    pub(crate) namespaces: Option<Vec<String>>,
    pub(crate) roles: Vec<String>,
    pub(crate) permissions: Vec<&'static str>,
}

impl Api {
    /// Returns the session of a caller. `signed_in` is `None` for a caller without a valid credential.
    pub(crate) fn session_view(
        &self,
        headers: &HeaderMap,
        signed_in: Option<&SignedIn>,
    ) -> ApiResult<SessionView> {
        let namespace = header_text(headers, "goconductor-namespace")?;
        let namespace = namespace.map(str::parse::<Namespace>).transpose()?.unwrap_or_default();
        let all = || Permission::ALL.iter().map(|permission| permission.as_str()).collect::<Vec<_>>();
        let access_control = self.gate.is_some();
        let mut view = SessionView {
            access_control,
            signed_in: signed_in.is_some(),
            by_session: signed_in.is_some_and(|caller| caller.by_session),
            sign_in: self.sign_in_methods(),
            actor: None,
            credential: None,
            roles: Vec::new(),
            expires_at: None,
            namespace: namespace.to_string(),
            permissions: if access_control { Vec::new() } else { all() },
            grants: Vec::new(),
        };
        if !access_control {
            view.grants = vec![GrantView { namespaces: None, roles: Vec::new(), permissions: all() }];
        }
        if let Some(caller) = signed_in {
            view.add_principal(&caller.principal, &namespace);
        }
        Ok(view)
    }

    fn sign_in_methods(&self) -> Vec<&'static str> {
        match &self.gate {
            None => Vec::new(),
            Some(gate) if gate.access.has_sign_in() => vec!["access_key", "oidc"],
            Some(_) => vec!["access_key"],
        }
    }

    /// Begins a session for a caller with an access key. Returns the cookie.
    pub(crate) fn begin_session(&self, principal: &Principal) -> ApiResult<HeaderValue> {
        let gate = self.gate.as_ref().ok_or_else(no_access_control)?;
        let identity = gate.access.identity_of(principal).ok_or_else(|| {
            let detail = "only an access key can begin a session: users sign in at the identity provider";
            Problem::new(WRONG_SHAPE, detail).at("/value", detail)
        })?;
        Ok(gate.sessions.begin(identity)?.0)
    }
}

/// The problem of a sign-in at a server that checks no callers.
pub(crate) fn no_access_control() -> Problem {
    Problem::new(NO_SIGN_IN, "access control is off, so there is nothing to sign in to: set access.enabled")
}

impl SessionView {
    fn add_principal(&mut self, principal: &Principal, namespace: &Namespace) {
        let summaries = principal.grants.summaries();
        let applies = |namespaces: &Option<Vec<String>>| {
            namespaces.as_ref().is_none_or(|names| names.iter().any(|name| name == namespace.as_str()))
        };
        let mut roles: Vec<String> = summaries
            .iter()
            .filter(|grant| applies(&grant.namespaces))
            .flat_map(|grant| grant.roles.iter().cloned())
            .collect();
        roles.sort_unstable();
        roles.dedup();
        self.roles = roles;
        self.actor = Some(principal.actor.clone());
        self.credential = Some(match &principal.credential {
            CredentialId::Key(_) => "access_key",
            CredentialId::Bootstrap => "bootstrap_key",
            CredentialId::User(_) => "user",
            CredentialId::Certificate(_) => "certificate",
        });
        self.expires_at = principal.expires_at.map(Time);
        let is_granted = |permission: &&Permission| principal.grants.allows(**permission, namespace.as_str());
        self.permissions =
            Permission::ALL.iter().filter(is_granted).map(|permission| permission.as_str()).collect();
        self.grants = summaries
            .into_iter()
            .map(|grant| GrantView {
                namespaces: grant.namespaces,
                roles: grant.roles,
                permissions: grant.permissions.into_iter().map(Permission::as_str).collect(),
            })
            .collect();
    }
}
