//! The settings of the API: a versioned document, which every process applies.

mod views;

pub(crate) use views::{
    ChangeView, ConfigHistoryPage, ConfigProcessView, ConfigVersionView, ConfigView, PendingView,
};

use super::reason::optional_reason;
use super::{Api, CallContext, PageRequest, cut_to_page, invalid_page_token};
use crate::audit_notes;
use crate::error::{
    ApiResult, CONFIG_CHANGED, CONFIG_FILE_ONLY, CONFIG_INVALID, CONFIG_TOKENS, CONFIG_UNREACHABLE, Location,
    NO_CONFIG_VERSION, Problem, TOO_LARGE, VALIDATION_BUSY, token,
};
use goconductor_process::{SettingsError, with_settings};
use goconductor_saga::Json;
use goconductor_service_kit::config::{
    Apply, Config, DynamicSettings, Invalid, QueueBackend, apply_of, changed_settings, merge,
};
use goconductor_store::{ClusterStore, ConfigChange, ConfigHistory, ConfigVersion};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of a document. Every process reads it, and each version keeps it.
const MAX_SETTINGS_BYTES: usize = 256 << 10;
/// The most attempts of a change without `If-Match`, while others change the settings as well.
const MAX_ATTEMPTS: usize = 5;
/// The delay after which a refused check is worth a retry.
const CHECK_RETRY_AFTER: Duration = Duration::from_secs(2);

/// A change of the settings.
#[derive(Debug)]
pub(crate) enum NewSettings {
    /// These settings replace all others.
    Replace(Json),
    /// A JSON merge patch.
    Merge(Json),
    /// The settings of an earlier version. Version 0 has none.
    Restore(u64),
}

/// The conditions of a change.
#[derive(Debug, Default)]
pub(crate) struct WriteConfig {
    /// The version that the settings must have. `None` for any.
    pub(crate) if_version: Option<u64>,
    /// Whether the change is only checked.
    pub(crate) dry_run: bool,
    pub(crate) reason: Option<String>,
}

/// The newest version, or the state before the first one.
struct Current {
    version: u64,
    settings: Json,
    newest: Option<ConfigVersion>,
}

impl Current {
    fn of(newest: Option<ConfigVersion>) -> Self {
        let version = newest.as_ref().map_or(0, |newest| newest.version);
        let settings = newest.as_ref().map_or_else(|| json!({}), |newest| newest.change.settings.clone());
        Self { version, settings, newest }
    }
}

impl Api {
    /// Returns the settings of the API.
    pub(crate) async fn config(&self) -> ApiResult<ConfigView> {
        let newest = self.config_history().newest().await?;
        self.config_view(newest, Vec::new()).await
    }

    /// Changes the settings of the API, unless they are invalid or something that they name does not respond.
    pub(crate) async fn change_config(
        &self,
        context: &CallContext,
        new: NewSettings,
        write: WriteConfig,
    ) -> ApiResult<ConfigView> {
        let reason = optional_reason(write.reason)?;
        for _ in 0..MAX_ATTEMPTS {
            let current = Current::of(self.config_history().newest().await?);
            if let Some(expected) = write.if_version.filter(|expected| *expected != current.version) {
                return Err(changed(expected, current.version));
            }
            let settings = self.new_settings(&current, &new).await?;
            let changes = changes(&current.settings, &settings);
            self.check_config(&current, &settings).await?;
            // After the check: it refuses settings that contain a secret itself.
            note_change(&current, &settings, reason.as_deref(), write.dry_run);
            if changes.is_empty() {
                return self.config_view(current.newest, changes).await;
            }
            let digest = goconductor_definition::digest(&settings);
            let id = uuid::Uuid::now_v7().to_string();
            let actor = context.actor.clone();
            let change = ConfigChange { id, settings, digest, actor, reason: reason.clone() };
            if write.dry_run {
                return self.dry_run_view(&current, change, changes).await;
            }
            if let Some(added) = self.config_history().append(current.version, &change).await? {
                tracing::info!(version = added.version, actor = change.actor, "configuration was changed");
                if let Err(error) = self.config.refresh(self.engine.store()).await {
                    tracing::debug!(%error, "changed configuration was not read back");
                }
                return self.config_view(Some(added), changes).await;
            }
            if let Some(expected) = write.if_version {
                return Err(changed(expected, expected.saturating_add(1)));
            }
        }
        Err(Problem::new(
            CONFIG_CHANGED,
            "other callers changed the configuration during each attempt: retry later",
        ))
    }

    /// Lists the versions of the settings, newest first.
    pub(crate) async fn list_config_versions(&self, page: &PageRequest) -> ApiResult<ConfigHistoryPage> {
        let size = self.page_size(page.size)?;
        let before = match page.token() {
            Some(token) => token.parse().map_err(|_| invalid_page_token())?,
            None => {
                self.config_history().newest().await?.map_or(1, |newest| newest.version.saturating_add(1))
            }
        };
        let mut versions = self.config_history().before(before, size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut versions, size);
        let last = versions.last().filter(|_| is_more).map(|last| last.version.to_string());
        let versions = versions.into_iter().map(|version| version_view(version, false)).collect();
        Ok(ConfigHistoryPage { versions, next_page_token: last.unwrap_or_default() })
    }

    /// Returns a version of the settings.
    pub(crate) async fn config_version(&self, version: u64) -> ApiResult<ConfigVersionView> {
        let found = self.config_history().version(version).await?;
        found.map(|found| version_view(found, true)).ok_or_else(|| no_version(version))
    }

    fn cluster_store(&self) -> &dyn ClusterStore {
        self.store()
    }

    fn config_history(&self) -> ConfigHistory<'_> {
        ConfigHistory::of(self.cluster_store())
    }

    async fn new_settings(&self, current: &Current, new: &NewSettings) -> ApiResult<Json> {
        let mut settings = match new {
            NewSettings::Replace(settings) => settings.clone(),
            NewSettings::Merge(patch) => {
                let mut settings = current.settings.clone();
                merge(&mut settings, patch);
                settings
            }
            NewSettings::Restore(0) => json!({}),
            NewSettings::Restore(version) => match self.config_history().version(*version).await? {
                Some(found) => found.change.settings,
                None => return Err(no_version(*version)),
            },
        };
        // An empty YAML document is null.
        if settings.is_null() {
            settings = json!({});
        }
        let bytes = settings.to_string().len();
        if bytes > MAX_SETTINGS_BYTES {
            let detail = format!("the settings have {bytes} bytes, and the limit is {MAX_SETTINGS_BYTES}");
            return Err(Problem::new(TOO_LARGE, detail));
        }
        Ok(settings)
    }

    /// Checks new settings: by themselves, with the other layers of this process, and against what they name.
    async fn check_config(&self, current: &Current, settings: &Json) -> ApiResult<()> {
        let new = match self.config_with(current.version.saturating_add(1), settings).await {
            Ok(new) => new,
            Err(SettingsError::Invalid(problems)) => return Err(invalid(problems)),
            Err(SettingsError::Store(error)) => return Err(error.into()),
        };
        let changed = changed_settings(&current.settings, settings);
        self.check_backends(&new, &changed)?;
        // Settings of another release may be invalid here. Then the layers of this process are in effect.
        let old = match self.config_with(current.version, &current.settings).await {
            Ok(old) => old,
            Err(SettingsError::Invalid(_)) => self.config.base().clone(),
            Err(SettingsError::Store(error)) => return Err(error.into()),
        };
        check_election_move(&old, &new)?;
        if !changed.iter().any(|path| path.starts_with("queue.") || path.starts_with("election.")) {
            return Ok(());
        }
        let Ok(_permit) = self.config_checks.try_acquire() else {
            let detail =
                "other changes of the configuration are being checked; nothing was changed, retry later";
            return Err(Problem::new(VALIDATION_BUSY, detail).retry_after(CHECK_RETRY_AFTER));
        };
        let store = Arc::clone(self.engine.store());
        // Boxed, because the futures of the drivers are large.
        let probed = Box::pin(goconductor_process::probe(&new, &current.settings, settings, store));
        let failures = probed.await;
        let Some(first) = failures.first() else { return Ok(()) };
        let problem = Problem::new(CONFIG_UNREACHABLE, format!("nothing was changed: {}", first.reason));
        Err(failures
            .into_iter()
            .fold(problem, |problem, failure| problem.at(pointer(failure.setting), failure.reason)))
    }

    /// Returns the configuration of this process with these settings of the API.
    async fn config_with(&self, version: u64, settings: &Json) -> Result<Config, SettingsError> {
        let settings = DynamicSettings { version, settings: settings.clone() };
        with_settings(self.config.base(), settings, self.engine.store()).await
    }

    /// Refuses queues and elections that cannot connect the processes.
    fn check_backends(&self, new: &Config, changed: &[String]) -> ApiResult<()> {
        let find = |section: &str| changed.iter().find(|path| path.starts_with(section));
        let (path, detail) = if self.queues.is_none() {
            let Some(path) = find("queue.").or_else(|| find("election.")) else { return Ok(()) };
            let detail = "this server runs all services in one process, with a queue and an election of its own: run \
                          the services as separate processes";
            (path, detail)
        } else {
            let is_memory = new.queue.backend == QueueBackend::Memory;
            let Some(path) = find("queue.backend").filter(|_| is_memory) else { return Ok(()) };
            (path, "queue memory cannot connect processes: use a broker")
        };
        Err(Problem::new(CONFIG_INVALID, format!("{path}: {detail}")).at(pointer(path), detail))
    }

    async fn dry_run_view(
        &self,
        current: &Current,
        change: ConfigChange,
        changes: Vec<ChangeView>,
    ) -> ApiResult<ConfigView> {
        let view = self.config_view(None, changes).await?;
        let time = current.newest.as_ref().map(|newest| newest.time.into());
        let ConfigChange { settings, digest, actor, reason, .. } = change;
        Ok(ConfigView { version: current.version, digest, time, actor, reason, settings, ..view })
    }

    async fn config_view(
        &self,
        newest: Option<ConfigVersion>,
        changes: Vec<ChangeView>,
    ) -> ApiResult<ConfigView> {
        let (mut pending, mut processes) = (Vec::new(), Vec::new());
        for member in self.store().members().await? {
            let announcement = member.announcement;
            let (process, kind) = (announcement.instance, announcement.kind);
            let view = announcement.info.config;
            for waiting in view.iter().flat_map(|view| &view.pending) {
                pending.push(PendingView {
                    setting: waiting.setting.clone(),
                    process: process.clone(),
                    kind: kind.clone(),
                    since: waiting.since.into(),
                });
            }
            let version = view.as_ref().map(|view| view.version);
            let error = view.and_then(|view| view.error);
            processes.push(ConfigProcessView { process, kind, version, error });
        }
        let version = newest.as_ref().map_or(0, |newest| newest.version);
        let time = newest.as_ref().map(|newest| newest.time.into());
        let (digest, actor, reason, settings) = match newest {
            Some(ConfigVersion { change, .. }) => {
                (change.digest, change.actor, change.reason, change.settings)
            }
            None => (goconductor_definition::digest(&json!({})), None, None, json!({})),
        };
        Ok(ConfigView { version, digest, time, actor, reason, settings, changes, pending, processes })
    }
}

/// Notes the settings before and after a change for the audit log. They contain references to secrets, and no secrets.
fn note_change(current: &Current, settings: &Json, reason: Option<&str>, dry_run: bool) {
    audit_notes::target("configuration", current.version);
    audit_notes::before(&current.settings);
    audit_notes::after(&json!({"settings": settings, "reason": reason, "dry_run": dry_run}));
}

/// Returns the changed settings. A section that is added without a setting is not a change.
fn changes(current: &Json, new: &Json) -> Vec<ChangeView> {
    let changed = changed_settings(current, new);
    changed.into_iter().map(|setting| ChangeView { apply: apply_of(&setting).as_str(), setting }).collect()
}

/// Checks that fencing tokens keep rising: those of another backend start again, below the high bits of the era.
fn check_election_move(old: &Config, new: &Config) -> ApiResult<()> {
    let location = |config: &Config| {
        let election = &config.election;
        let url = config.election_url().map(|url| url.expose().to_owned());
        (election.backend, url, election.settings.endpoints.clone(), election.settings.prefix.clone())
    };
    let (before, after) = (old.election.era, new.election.era);
    let detail = if after < before {
        format!("election.era must not fall below {before}: fencing tokens would fall with it")
    } else if location(old) != location(new) && after == before {
        format!(
            "election.era must be raised to at least {}, because the election moves to another backend, whose fencing \
             tokens would start below those of the current one",
            before.saturating_add(1)
        )
    } else {
        return Ok(());
    };
    Err(Problem::new(CONFIG_TOKENS, detail.clone()).at("/election/era", detail))
}

/// Returns the JSON pointer of a setting. The keys of settings contain no dots.
fn pointer(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    path.split('.').map(|key| format!("/{}", token(key))).collect()
}

fn invalid(invalid: Invalid) -> Problem {
    let errors: Vec<Location> = invalid
        .problems
        .iter()
        .map(|problem| {
            let is_file_only = apply_of(&problem.path) == Apply::FileOnly;
            let kind = if is_file_only { CONFIG_FILE_ONLY } else { CONFIG_INVALID };
            Location {
                pointer: pointer(&problem.path),
                line: None,
                column: None,
                code: kind.code,
                detail: problem.message.clone(),
            }
        })
        .collect();
    let is_file_only = !errors.is_empty() && errors.iter().all(|error| error.code == CONFIG_FILE_ONLY.code);
    let kind = if is_file_only { CONFIG_FILE_ONLY } else { CONFIG_INVALID };
    let first = invalid.problems.first().map(|problem| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    });
    let detail = match (first, errors.len()) {
        (Some(first), 0 | 1) => first,
        (Some(first), count) => format!("{first}; and {} more", count - 1),
        (None, _) => "the settings are invalid".to_owned(),
    };
    Problem::new(kind, detail).with_errors(errors)
}

fn changed(expected: u64, found: u64) -> Problem {
    let detail = format!(
        "the configuration has version {found}, and the request expects version {expected}: read it again, and apply \
         the change to the newest version"
    );
    Problem::new(CONFIG_CHANGED, detail)
}

fn no_version(version: u64) -> Problem {
    let detail =
        format!("version {version} of the configuration not found; GET /api/v1/config/history lists all");
    Problem::new(NO_CONFIG_VERSION, detail)
}

fn version_view(version: ConfigVersion, has_settings: bool) -> ConfigVersionView {
    let ConfigVersion { version, time, change } = version;
    ConfigVersionView {
        version,
        digest: change.digest,
        time: time.into(),
        actor: change.actor,
        reason: change.reason,
        settings: has_settings.then_some(change.settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::Sources;

    fn config(settings: Json) -> Config {
        let base = Config::load(&Sources::default()).expect("the defaults are valid");
        base.with_dynamic(Some(DynamicSettings { version: 1, settings })).expect("the settings are valid")
    }

    #[test]
    fn election_moves_only_to_a_higher_era() {
        let etcd = |era: u32, endpoint: &str| {
            config(json!({"election": {"backend": "etcd", "endpoints": [endpoint], "era": era}}))
        };
        let at = |era: u32| etcd(era, "10.0.0.1:2379");
        let zookeeper = |era: u32| {
            config(json!({"election": {"backend": "zookeeper", "endpoints": ["h:1"], "era": era}}))
        };
        for (old, new, is_allowed) in [
            (at(1), at(1), true),
            (at(1), at(2), true),
            (at(1), at(0), false),
            (at(1), zookeeper(1), false),
            (at(1), zookeeper(2), true),
            (at(1), etcd(1, "10.0.0.9:2379"), false),
            (zookeeper(2), at(1), false),
        ] {
            let refused = check_election_move(&old, &new).err();
            assert_eq!(refused.is_none(), is_allowed, "{refused:?}");
            assert!(refused.is_none_or(|problem| problem.is(CONFIG_TOKENS)));
        }
        // The rest of the section does not move the election.
        let longer = config(json!({"election": {
            "backend": "etcd", "endpoints": ["10.0.0.1:2379"], "era": 1, "lease": "9s"
        }}));
        assert!(check_election_move(&at(1), &longer).is_ok());
    }

    #[test]
    fn problems_have_pointers_and_codes() {
        let base = Config::load(&Sources::default()).expect("the defaults are valid");
        let problem = |settings: Json| {
            let refused = base.with_dynamic(Some(DynamicSettings { version: 1, settings }));
            invalid(refused.expect_err("the settings are invalid")).into_body()
        };
        let body = problem(json!({"limits": {"page_sise": 1}}));
        assert_eq!((body.status, body.code), (422, CONFIG_INVALID.code));
        assert_eq!(body.errors.first().map(|error| &*error.pointer), Some("/limits/page_sise"));
        assert_eq!(body.detail, "limits.page_sise: unknown key; did you mean page_size?");
        let body = problem(json!({"tls": {"a": 1}, "listen": "127.0.0.1:1"}));
        assert_eq!((body.code, body.errors.len()), (CONFIG_FILE_ONLY.code, 2));
        let body = problem(json!({"tls": {"a": 1}, "limits": {"page_size": true}}));
        assert_eq!((body.code, body.errors.len()), (CONFIG_INVALID.code, 2));
    }
}
