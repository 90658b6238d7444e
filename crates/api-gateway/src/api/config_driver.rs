//! The effects of a changed configuration outside one process: the addresses of services, and the move to another queue.
//!
//! Every gateway tries it for each version, and a configuration entry notes what was done. A version is therefore applied
//! also if the gateway that received it stops, and what an operator changes later is not reverted.

use super::{Api, Inner};
use crate::error::ApiResult;
use goconductor_process::queue_of_api;
use goconductor_queue_migration::MigrationError;
use goconductor_saga::Namespace;
use goconductor_service_kit::config::{Config, ServiceConfig, setting_of};
use goconductor_store::{ActionLimits, HttpEndpoint, ServiceRecord, ServiceSettings};
use goconductor_transition::clock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Entry of the services that were applied.
const SERVICES: &str = "config/services";
/// Entry of the queue that was requested.
const QUEUE: &str = "config/queue";
/// Delay after an attempt that did not complete.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The part of a version that was applied.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Applied {
    version: u64,
    /// The services that the version sets, with the digests of their settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    services: BTreeMap<String, String>,
    /// The queue that the version names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
}

impl Api {
    /// Follows the configuration: applies its limits, and starts the task that applies the rest.
    pub(crate) fn follow_config(&self) {
        let (sender, receiver) = watch::channel(());
        let inner = Arc::downgrade(&self.0);
        let version = |config: &Config| config.dynamic().map(|dynamic| dynamic.version);
        let first = version(self.config.started_with());
        self.config.on_change(move |config| {
            // The gateway was created with these limits.
            if version(config) != first
                && let Some(inner) = inner.upgrade()
            {
                inner.set_limits(config);
            }
            sender.send_replace(());
        });
        drop(goconductor_supervisor::spawn("config-driver", drive(self.clone(), receiver)));
    }

    /// Applies the services and the queue of the newest configuration. Returns whether nothing is left to do.
    async fn apply_shared(&self) -> ApiResult<bool> {
        let config = self.config.current();
        let Some(version) = config.dynamic().map(|dynamic| dynamic.version) else { return Ok(true) };
        self.apply_services(&config, version).await?;
        self.apply_queue(&config, version).await
    }

    async fn apply_services(&self, config: &Config, version: u64) -> ApiResult<()> {
        let (revision, applied) = self.applied(SERVICES).await?;
        if applied.version >= version {
            return Ok(());
        }
        let document = config.dynamic().map(|dynamic| &dynamic.settings);
        let section = document.and_then(|document| setting_of(document, "services")?.as_object());
        let services: BTreeMap<String, String> = section
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), goconductor_definition::digest(value)))
            .collect();
        let stored = self.store().services().await?;
        let is_stored = |name: &str, settings: &ServiceSettings| {
            stored.iter().any(|record| {
                record.namespace == Namespace::DEFAULT && record.name == name && record.settings == *settings
            })
        };
        let names: BTreeSet<&String> = services.keys().chain(applied.services.keys()).collect();
        for name in names {
            // An operator may have changed or deleted the service since.
            if services.get(name).is_some_and(|digest| applied.services.get(name) == Some(digest)) {
                continue;
            }
            match config.services.get(name).map(settings_of) {
                Some(settings) if is_stored(name, &settings) => {}
                Some(settings) => {
                    let (namespace, name) = (Namespace::DEFAULT.to_owned(), name.clone());
                    let updated_at = clock::now();
                    self.store().put_service(ServiceRecord { namespace, name, settings, updated_at }).await?;
                }
                None => {
                    self.store().delete_service(Namespace::DEFAULT, name).await?;
                }
            }
        }
        self.engine.services_changed().notify_one();
        let applied = Applied { version, services, ..Applied::default() };
        // On a conflict, another gateway applied the same version or a newer one.
        self.store().compare_and_set(SERVICES, revision, &json!(applied)).await?;
        Ok(())
    }

    /// Requests the migration to the queue that the configuration names, if a version names another one than before.
    async fn apply_queue(&self, config: &Config, version: u64) -> ApiResult<bool> {
        let Some(queues) = &self.queues else { return Ok(true) };
        let (revision, applied) = self.applied(QUEUE).await?;
        if applied.version >= version {
            return Ok(true);
        }
        let queue = queue_of_api(config).map(str::to_owned);
        // Without a queue of the API, the queue of the file applies.
        let wanted = queue.clone().unwrap_or_else(|| self.config.base().queue.backend.name().to_owned());
        if queue != applied.queue {
            match queues.request(&wanted, Some("config".to_owned())).await {
                Ok(_) | Err(MigrationError::InUse(_)) => {}
                Err(MigrationError::Store(error)) => return Err(error.into()),
                // Each process needs up to a second to read the settings of the queue.
                Err(error) => {
                    tracing::warn!(%error, queue = wanted, "migration to the queue of the configuration did not start");
                    return Ok(false);
                }
            }
        }
        let applied = Applied { version, queue, ..Applied::default() };
        self.store().compare_and_set(QUEUE, revision, &json!(applied)).await?;
        Ok(true)
    }

    /// Returns an entry and its revision.
    async fn applied(&self, name: &str) -> ApiResult<(u64, Applied)> {
        let Some(entry) = self.store().config_entry(name).await? else { return Ok((0, Applied::default())) };
        Ok((entry.revision, serde_json::from_value(entry.value).unwrap_or_default()))
    }
}

impl Inner {
    /// Replaces the limits that can change while the gateway runs.
    fn set_limits(&self, config: &Config) {
        *self.limits.write() = crate::limits(config);
        self.admission.set_limits(crate::admission(config));
    }
}

/// Applies each new version until it is applied completely.
async fn drive(api: Api, mut changed: watch::Receiver<()>) {
    while !api.stop.is_cancelled() {
        changed.borrow_and_update();
        let is_done = match api.apply_shared().await {
            Ok(is_done) => is_done,
            Err(error) => {
                tracing::debug!(%error, "configuration was not applied completely");
                false
            }
        };
        // All arms are cancel-safe: they only wait.
        tokio::select! {
            () = api.stop.cancelled() => {}
            result = changed.changed() => if result.is_err() { return },
            () = tokio::time::sleep(RETRY_DELAY), if !is_done => {}
        }
    }
}

fn settings_of(service: &ServiceConfig) -> ServiceSettings {
    let limits = |(action, limit): (&String, &u32)| {
        (action.clone(), ActionLimits { max_in_flight: u64::from(*limit) })
    };
    ServiceSettings {
        max_in_flight: Some(service.max_in_flight.into()),
        actions: service.actions.iter().map(limits).collect(),
        http: Some(HttpEndpoint {
            url: service.http.url.expose().to_owned(),
            headers: service.http.headers.clone(),
        }),
        ..ServiceSettings::default()
    }
}
