//! The configuration of a running process: its own layers, and the settings of the API as they change.
//!
//! Each process polls the newest version of the settings. It applies those that can change while it runs, and publishes
//! with its membership which version it has seen and which settings wait for a restart. A version that is invalid together
//! with the layers of a process changes nothing in that process, and is reported in the same way.

use crate::configuration::{SettingsError, with_settings};
use crate::process::Process;
use goconductor_service_kit::config::{
    Apply, Config, DynamicSettings, Invalid, RetentionConfig, apply_of, changed_settings, setting_of,
};
use goconductor_service_kit::telemetry;
use goconductor_store::{
    AppliedConfig, ConfigHistory, ConfigVersion, ElectionView, Error, PendingSetting, Retention, Store,
};
use goconductor_transition::clock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Interval between polls of the newest version. A change takes effect within 2 s in every process.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a poll. A state store that does not respond must not delay the next poll for long.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a process that can work without a state store waits for it at its start.
const OPTIONAL_STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// The mask of a secret. A changed secret is printed like the previous one.
const MASK: &str = "***";

type Subscriber = Box<dyn Fn(&Config) + Send + Sync>;
type SettingFilter = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// The configuration of a running process.
pub struct LiveConfig {
    /// The configuration without the settings of the API.
    base: Config,
    /// The settings of the API with which the process started.
    at_start: Value,
    /// The configuration with which the process started.
    started_with: Arc<Config>,
    state: Mutex<State>,
    subscribers: Mutex<Vec<Subscriber>>,
    /// Returns whether a setting that usually needs a restart is applied without one.
    is_applied: OnceLock<SettingFilter>,
    /// Notified when [`view`](Self::view) changed.
    view_changed: OnceLock<Arc<Notify>>,
}

#[derive(Debug)]
struct State {
    current: Arc<Config>,
    view: AppliedConfig,
    election: Option<ElectionView>,
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveConfig").field("state", &self.state).finish_non_exhaustive()
    }
}

/// A version of the settings, and the configuration with them.
#[derive(Debug)]
pub struct ReadVersion {
    version: ConfigVersion,
    config: Result<Config, Invalid>,
}

impl ReadVersion {
    /// Reads the layers of a configuration again with a version of the settings.
    async fn read(version: ConfigVersion, base: &Config, store: &Arc<dyn Store>) -> Result<Self, Error> {
        let settings =
            DynamicSettings { version: version.version, settings: version.change.settings.clone() };
        let config = match with_settings(base, settings, store).await {
            Ok(config) => Ok(config),
            Err(SettingsError::Invalid(invalid)) => Err(invalid),
            Err(SettingsError::Store(error)) => return Err(error),
        };
        Ok(Self { version, config })
    }
}

impl LiveConfig {
    /// Creates the configuration of a process from its own layers and the newest settings of the API, if there are any.
    /// Settings that are invalid together with the layers of the process are reported and not used.
    #[must_use]
    pub fn new(base: Config, newest: Option<ReadVersion>) -> Arc<Self> {
        let mut view = AppliedConfig::default();
        let (mut current, mut at_start) = (base.clone(), json!({}));
        if let Some(ReadVersion { version, config }) = newest {
            view.seen = version.version;
            match config {
                Ok(config) => {
                    view.version = version.version;
                    (current, at_start) = (config, version.change.settings);
                }
                Err(invalid) => view.error = Some(report(version.version, &invalid)),
            }
        }
        let current = Arc::new(current);
        Arc::new(Self {
            base,
            at_start,
            started_with: Arc::clone(&current),
            state: Mutex::new(State { current, view, election: None }),
            subscribers: Mutex::default(),
            is_applied: OnceLock::new(),
            view_changed: OnceLock::new(),
        })
    }

    /// Reads the newest settings of a store, and the secrets that they refer to.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the store cannot be reached.
    pub async fn load(base: Config, store: &Arc<dyn Store>) -> Result<Arc<Self>, Error> {
        let newest = match ConfigHistory::of(&**store).newest().await? {
            Some(version) => Some(ReadVersion::read(version, &base, store).await?),
            None => None,
        };
        Ok(Self::new(base, newest))
    }

    /// Returns the configuration without the settings of the API.
    #[must_use]
    pub fn base(&self) -> &Config {
        &self.base
    }

    /// Returns the newest configuration. Settings that need a restart have their new values in it.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.state.lock().current)
    }

    /// Returns the configuration with which the process started.
    #[must_use]
    pub fn started_with(&self) -> &Config {
        &self.started_with
    }

    /// Returns what the process publishes about its configuration.
    #[must_use]
    pub fn view(&self) -> AppliedConfig {
        self.state.lock().view.clone()
    }

    /// Returns what the process publishes about its election. `None` if it has none that moves.
    #[must_use]
    pub fn election(&self) -> Option<ElectionView> {
        self.state.lock().election.clone()
    }

    /// Sets what the process publishes about its election, unless it has published a higher era.
    pub(crate) fn set_election(&self, new: ElectionView) {
        let mut state = self.state.lock();
        if state.election.as_ref().is_some_and(|known| known.era > new.era || *known == new) {
            return;
        }
        state.election = Some(new);
        drop(state);
        if let Some(view_changed) = self.view_changed.get() {
            view_changed.notify_one();
        }
    }

    /// Calls `apply` with the newest configuration, now and after each change.
    pub fn on_change(&self, apply: impl Fn(&Config) + Send + Sync + 'static) {
        let mut subscribers = self.subscribers.lock();
        apply(&self.current());
        subscribers.push(Box::new(apply));
    }

    /// Returns the times for which ended workflows are kept, and their changes.
    #[must_use]
    pub fn retention(&self) -> watch::Receiver<Retention> {
        let (sender, receiver) = watch::channel(retention_of(&self.current()));
        self.on_change(move |config| {
            sender.send_if_modified(|known| {
                let new = retention_of(config);
                std::mem::replace(known, new) != new
            });
        });
        receiver
    }

    /// Sets the filter of settings that this process applies without a restart, although they usually need one.
    pub fn set_applied_filter(&self, is_applied: impl Fn(&str) -> bool + Send + Sync + 'static) {
        drop(self.is_applied.set(Box::new(is_applied)));
    }

    /// Starts to follow the settings of a store until `stop`. `view_changed` is notified when [`view`](Self::view)
    /// changes, so that it is published at once.
    pub fn follow(
        self: &Arc<Self>,
        store: Arc<dyn Store>,
        view_changed: Arc<Notify>,
        stop: CancellationToken,
    ) {
        drop(self.view_changed.set(view_changed));
        self.on_change(|config| telemetry::set_log_level(&config.telemetry.log_level));
        let this = Arc::clone(self);
        let following = async move {
            while !stop.is_cancelled() {
                match tokio::time::timeout(POLL_TIMEOUT, this.refresh(&store)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "poll of the configuration failed"),
                    Err(_) => tracing::debug!("poll of the configuration timed out"),
                }
                // Both arms are cancel-safe: they only wait.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
            }
        };
        drop(goconductor_supervisor::spawn("config", following));
    }

    /// Reads and applies the newest settings, if there are newer ones.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the store cannot be reached.
    pub async fn refresh(&self, store: &Arc<dyn Store>) -> Result<(), Error> {
        let seen = self.state.lock().view.seen;
        if let Some(newest) = ConfigHistory::of(&**store).newest_after(seen).await? {
            self.apply(ReadVersion::read(newest, &self.base, store).await?);
        }
        Ok(())
    }

    /// Applies a version of the settings, unless a newer one is known.
    fn apply(&self, ReadVersion { version: newest, config }: ReadVersion) {
        // Held for the whole change, so that subscribers see the versions in order.
        let subscribers = self.subscribers.lock();
        if self.state.lock().view.seen >= newest.version {
            return;
        }
        let version = newest.version;
        match config {
            Ok(config) => {
                let config = Arc::new(config);
                for subscriber in subscribers.iter() {
                    subscriber(&config);
                }
                let mut state = self.state.lock();
                let pending = self.pending(&config, &newest.change.settings, &state.view.pending);
                state.current = config;
                state.view = AppliedConfig { version, seen: version, pending, ..AppliedConfig::default() };
                let pending: Vec<&str> = state.view.pending.iter().map(|each| &*each.setting).collect();
                tracing::info!(version, ?pending, "configuration was changed by the API");
            }
            Err(invalid) => {
                let error = report(version, &invalid);
                tracing::error!(version, error, "configuration of the API was not applied");
                let mut state = self.state.lock();
                (state.view.seen, state.view.error) = (version, Some(error));
            }
        }
        if let Some(view_changed) = self.view_changed.get() {
            view_changed.notify_one();
        }
    }

    /// Returns the settings whose new values take effect at a restart.
    fn pending(&self, new: &Config, settings: &Value, known: &[PendingSetting]) -> Vec<PendingSetting> {
        let needs_restart = |path: &String| {
            apply_of(path) == Apply::Restart
                && !self.is_applied.get().is_some_and(|is_applied| is_applied(path))
                && !is_same(&self.started_with, new, path)
        };
        let changed = changed_settings(&self.at_start, settings);
        let mut pending: Vec<PendingSetting> = Vec::new();
        for setting in changed.into_iter().filter(needs_restart) {
            let since =
                known.iter().find(|each| each.setting == setting).map_or_else(clock::now, |each| each.since);
            pending.push(PendingSetting { setting, since });
        }
        pending
    }
}

/// Returns whether a setting has the same value in two configurations.
fn is_same(one: &Config, other: &Config, path: &str) -> bool {
    let value = |config: &Config| {
        config.explain().iter().find(|setting| setting.path == path).map(|setting| setting.value.clone())
    };
    let (ours, theirs) = (value(one), value(other));
    // A list is not recorded by its items, and a secret is masked.
    ours == theirs && !ours.is_some_and(|text| text.contains(MASK))
}

fn report(version: u64, invalid: &Invalid) -> String {
    let problems: Vec<String> = invalid.problems.iter().map(ToString::to_string).collect();
    format!("version {version} is invalid with the configuration of this process: {}", problems.join("; "))
}

/// Returns whether the settings of the API name the queue to use.
#[must_use]
pub fn queue_of_api(config: &Config) -> Option<&str> {
    setting_of(&config.dynamic()?.settings, "queue.backend")?.as_str()
}

impl Process {
    /// Reads the settings of the API, which the configuration of the process then contains. Waits until the state store
    /// is reachable. In the meantime, the process is not ready.
    ///
    /// # Errors
    /// Returns an error if the process drains before the store is reachable, or if the store cannot work.
    pub async fn load_config(&mut self, store: Arc<dyn Store>) -> anyhow::Result<Arc<LiveConfig>> {
        let base = self.config.clone();
        let live =
            self.open_with_retry("configuration", async || LiveConfig::load(base.clone(), &store).await);
        let live = live.await?;
        self.add_check("configuration", &live, |_| async { Ok(()) });
        self.config = Config::clone(&live.current());
        Ok(live)
    }

    /// Like [`load_config`](Self::load_config), but waits only for a short time, and then continues without settings of the
    /// API. They are applied when the store is reachable.
    pub async fn load_config_within_limit(&mut self, store: &Arc<dyn Store>) -> Arc<LiveConfig> {
        let loading = LiveConfig::load(self.config.clone(), store);
        let live = match tokio::time::timeout(OPTIONAL_STORE_TIMEOUT, loading).await {
            Ok(Ok(live)) => live,
            Ok(Err(error)) => {
                tracing::warn!(%error, "settings of the API were not read at the start");
                LiveConfig::new(self.config.clone(), None)
            }
            Err(_) => {
                tracing::warn!(
                    "settings of the API were not read at the start, because the store did not respond"
                );
                LiveConfig::new(self.config.clone(), None)
            }
        };
        self.config = Config::clone(&live.current());
        live
    }
}

/// Returns the times for which ended workflows are kept.
fn retention_of(config: &Config) -> Retention {
    let RetentionConfig { completed, rolled_back, terminated } = config.state_store.retention;
    Retention { completed, rolled_back, terminated }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::vault::Vault;
    use goconductor_service_kit::config::{Flag, Sources};
    use goconductor_store::ConfigChange;
    use goconductor_store::sqlite::SqliteStore;
    use secrecy::{ExposeSecret, SecretString};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Adds a version of the settings after the version `current`.
    pub(crate) async fn set(store: &Arc<dyn Store>, current: u64, settings: Value) {
        let change = ConfigChange {
            id: format!("change-{current}"),
            settings,
            digest: String::new(),
            actor: None,
            reason: None,
        };
        let added =
            ConfigHistory::of(&**store).append(current, &change).await.expect("the store can be written");
        assert_eq!(added.map(|added| added.version), Some(current + 1));
    }

    fn pending(live: &LiveConfig) -> Vec<String> {
        live.view().pending.into_iter().map(|pending| pending.setting).collect()
    }

    #[tokio::test]
    async fn live_settings_are_applied_and_others_are_pending_until_they_are_reverted() {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created"));
        set(&store, 0, json!({"executor": {"duty_shards": 2}})).await;
        let base = Config::load(&Sources::default()).expect("the defaults are valid");
        let live = LiveConfig::load(base, &store).await.expect("the store can be read");
        assert_eq!((live.view().version, pending(&live)), (1, Vec::new()));
        let page_size = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&page_size);
        live.on_change(move |config| seen.store(config.limits.page_size, Ordering::Relaxed));
        assert_eq!(page_size.load(Ordering::Relaxed), 100);

        let changed = json!({"executor": {"duty_shards": 8}, "limits": {"page_size": 7}});
        set(&store, 1, changed.clone()).await;
        live.refresh(&store).await.expect("the store can be read");
        assert_eq!(page_size.load(Ordering::Relaxed), 7);
        assert_eq!((live.view().version, pending(&live)), (2, vec!["executor.duty_shards".to_owned()]));
        let since = live.view().pending[0].since;

        let more =
            json!({"executor": {"duty_shards": 8}, "limits": {"page_size": 7, "bodies_bytes": "96MiB"}});
        set(&store, 2, more).await;
        live.refresh(&store).await.expect("the store can be read");
        assert_eq!(pending(&live), ["executor.duty_shards", "limits.bodies_bytes"]);
        assert_eq!(live.view().pending[0].since, since, "a setting is pending since its first change");

        // Invalid only together with the configuration of this process.
        set(&store, 3, json!({"election": {"lease": "3s", "request_timeout": "2s"}})).await;
        live.refresh(&store).await.expect("the store can be read");
        let view = live.view();
        assert_eq!((view.version, view.seen), (3, 4));
        assert!(view.error.is_some_and(|error| error.contains("election.lease")), "the reason is reported");
        assert_eq!(page_size.load(Ordering::Relaxed), 7);

        set(&store, 4, json!({"executor": {"duty_shards": 2}})).await;
        live.refresh(&store).await.expect("the store can be read");
        assert_eq!((live.view().version, live.view().error, pending(&live)), (5, None, Vec::new()));
        assert_eq!(page_size.load(Ordering::Relaxed), 100);
    }

    #[tokio::test]
    async fn secrets_of_the_settings_are_read_and_a_missing_one_is_reported() {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created"));
        let folder = tempfile::tempdir().expect("a directory can be created");
        let key = folder.path().join("master.key");
        std::fs::write(&key, format!("{}01", "5a".repeat(31))).expect("the file can be written");
        let flag = Flag {
            path: "secrets.master_key".to_owned(),
            value: format!("file://{}", key.display()),
            name: "--set".to_owned(),
        };
        let base = Config::load(&Sources { flags: vec![flag], ..Sources::default() });
        let base = base.expect("the configuration is valid");
        let vault = Vault::open(&base.secrets, Arc::clone(&store)).await.expect("the key can be read");
        let vault = vault.expect("the process has a key");
        let settings = |page_size: u32| {
            let broker = json!({"hosts": ["h:1"], "user": "me", "password": "secret://broker"});
            json!({"queue": {"rabbitmq": broker}, "limits": {"page_size": page_size}})
        };
        set(&store, 0, settings(7)).await;
        let keyless = Config::load(&Sources::default()).expect("the defaults are valid");
        let keyless = LiveConfig::load(keyless, &store).await.expect("the store can be read");
        let error = keyless.view().error.expect("the process has no key");
        assert!(error.contains("secrets.master_key is not set"), "{error}");

        let live = LiveConfig::load(base, &store).await.expect("the store can be read");
        let error = live.view().error.expect("the secret does not exist");
        assert!(error.contains("secret://broker refers to a secret that does not exist"), "{error}");
        assert_eq!(live.current().limits.page_size, 100);

        let value = SecretString::from("hunter2");
        vault.put("default", "broker", &value).await.expect("the secret is stored");
        set(&store, 1, settings(8)).await;
        live.refresh(&store).await.expect("the store can be read");
        assert_eq!((live.view().version, live.view().error), (2, None));
        let current = live.current();
        let broker = current.queue.rabbitmq.as_ref().expect("hosts are set");
        assert_eq!((broker.password.expose_secret(), current.limits.page_size), ("hunter2", 8));
        assert!(!format!("{live:?}").contains("hunter2"), "secrets are not printed");
    }
}
