//! Moves of the election to the backend of changed settings.
//!
//! Each process moves by itself when it reads the settings: it ends its terms at the previous backend, publishes the era
//! that it has reached, and campaigns at the next backend. A term there begins when all processes have left earlier eras.
//! The settings are the whole state of a move, so a process that is killed continues it when it starts again. A process
//! that missed the move holds tokens of an earlier era, which are refused once a leader of the new era has written.

use super::backend::BackendElection;
use crate::live_config::LiveConfig;
use goconductor_election::{Election, MovableElection};
use goconductor_service_kit::config::Config;
use goconductor_store::ElectionView;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The action of a process on changed settings of the election.
#[derive(Debug, PartialEq, Eq)]
enum ElectionChange {
    /// The settings are in use.
    InUse,
    /// The backend is opened again, possibly at another place.
    Move,
    /// The settings are not used, for this reason.
    Refused(String),
}

/// The backend in use, and the move to it.
struct InUse {
    backend: Arc<BackendElection>,
    /// Its sender is dropped when the terms of all previous backends have ended. `None` before the first move.
    left: Option<oneshot::Receiver<()>>,
}

/// Moves an election with the settings of the API.
pub(super) fn follow(live: &Arc<LiveConfig>, first: BackendElection) -> Arc<dyn Election> {
    live.set_election(view(&first.config, None));
    let first = Arc::new(first);
    let movable = Arc::new(MovableElection::new(first.clone()));
    let in_use = Mutex::new(InUse { backend: first, left: None });
    let (moved, publisher) = (Arc::clone(&movable), Arc::downgrade(live));
    live.on_change(move |config| {
        let mut in_use = in_use.lock();
        let Some(live) = publisher.upgrade() else { return };
        match change(&in_use.backend.config, config) {
            ElectionChange::InUse => live.set_election(reached(&live, &in_use.backend.config, None)),
            ElectionChange::Refused(reason) => {
                tracing::error!(reason, "election stayed at its backend");
                live.set_election(reached(&live, &in_use.backend.config, Some(reason)));
            }
            ElectionChange::Move => {
                let next = Arc::new(in_use.backend.at(config.clone()));
                let terms_end = moved.replace(next.clone());
                let (has_left, left) = oneshot::channel::<()>();
                let earlier = std::mem::replace(&mut *in_use, InUse { backend: next, left: Some(left) }).left;
                let next = view(config, None);
                tracing::info!(backend = next.backend, era = next.era, "election moved to another backend");
                // Published when the terms have ended, because others wait for it. Terms of a backend that was left in an
                // earlier move may last longer than those of this one.
                drop(goconductor_supervisor::spawn("election-move", async move {
                    if let Some(earlier) = earlier {
                        drop(earlier.await);
                    }
                    terms_end.await;
                    live.set_election(next);
                    drop(has_left);
                }));
            }
        }
    });
    movable
}

/// Returns what a process publishes while no move begins. Its era is not raised before the terms of a move have ended.
fn reached(live: &LiveConfig, config: &Config, error: Option<String>) -> ElectionView {
    let new = view(config, error);
    match live.election().filter(|known| known.era < new.era) {
        Some(known) => ElectionView { error: new.error, ..known },
        None => new,
    }
}

fn view(config: &Config, error: Option<String>) -> ElectionView {
    let (backend, era) = (config.election.backend.name().to_owned(), config.election.era);
    ElectionView { backend, era, error, ..ElectionView::default() }
}

/// Compares the settings in use with new ones.
fn change(old: &Config, new: &Config) -> ElectionChange {
    let (before, after) = (old.election.era, new.election.era);
    let is_moved = place(old) != place(new);
    if after < before {
        return ElectionChange::Refused(format!(
            "election.era must not fall below {before}, because fencing tokens would fall"
        ));
    }
    if is_moved && after == before {
        return ElectionChange::Refused(format!(
            "election.era must be raised above {before} to move to another backend"
        ));
    }
    if is_moved || after > before || !has_same_connection(old, new) {
        ElectionChange::Move
    } else {
        ElectionChange::InUse
    }
}

/// The settings that decide which tokens and leaders exist.
fn place(config: &Config) -> impl PartialEq + use<> {
    let election = &config.election;
    let url = config.election_url().map(|url| url.expose().to_owned());
    (election.backend, url, election.settings.endpoints.clone(), election.settings.prefix.clone())
}

/// Whether the same place is reached in the same way.
fn has_same_connection(old: &Config, new: &Config) -> bool {
    let (old, new) = (&old.election.settings, &new.election.settings);
    let times = |settings: &goconductor_election::settings::Settings| {
        (settings.lease, settings.connect_timeout, settings.request_timeout)
    };
    let has_same_credentials = match (&old.credentials, &new.credentials) {
        (None, None) => true,
        (Some(old), Some(new)) => {
            old.user == new.user && old.password.expose_secret() == new.password.expose_secret()
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    times(old) == times(new) && old.tls == new.tls && has_same_credentials
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live_config::tests::set;
    use goconductor_election::{Credentials, LocalElection};
    use goconductor_service_kit::config::{DynamicSettings, Sources};
    use goconductor_store::Store;
    use goconductor_store::sqlite::SqliteStore;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn config(election: Value) -> Config {
        let base = Config::load(&Sources::default()).expect("the defaults are valid");
        let settings = json!({"election": election});
        base.with_dynamic(Some(DynamicSettings { version: 1, settings })).expect("the settings are valid")
    }

    #[test]
    fn election_moves_to_a_higher_era_and_opens_changed_connections_again() {
        let etcd = |era: u8| config(json!({"backend": "etcd", "endpoints": ["10.0.0.1:2379"], "era": era}));
        let with = |key: &str, value: Value| {
            let mut settings = json!({"backend": "etcd", "endpoints": ["10.0.0.1:2379"], "era": 1});
            settings[key] = value;
            config(settings)
        };
        let zookeeper = |era: u8| config(json!({"backend": "zookeeper", "endpoints": ["h:1"], "era": era}));
        let refused = |reason: &str| Some(reason.to_owned());
        for (new, expected) in [
            (etcd(1), None),
            (etcd(2), Some("move".to_owned())),
            (zookeeper(2), Some("move".to_owned())),
            (with("lease", json!("9s")), Some("move".to_owned())),
            (etcd(0), refused("election.era must not fall below 1, because fencing tokens would fall")),
            (zookeeper(1), refused("election.era must be raised above 1 to move to another backend")),
            (
                with("prefix", json!("b")),
                refused("election.era must be raised above 1 to move to another backend"),
            ),
        ] {
            let found = match change(&etcd(1), &new) {
                ElectionChange::InUse => None,
                ElectionChange::Move => Some("move".to_owned()),
                ElectionChange::Refused(reason) => Some(reason),
            };
            assert_eq!(found, expected);
        }
        let user = |password: &str| {
            let mut config = etcd(1);
            let credentials = Credentials { user: "u".to_owned(), password: password.into() };
            config.election.settings.credentials = Some(credentials);
            config
        };
        assert_eq!(change(&user("a"), &user("a")), ElectionChange::InUse);
        assert_eq!(change(&user("a"), &user("b")), ElectionChange::Move, "a rotated password is used");
    }

    #[tokio::test]
    async fn era_is_published_when_the_holders_of_all_terms_have_dropped_them() {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created"));
        let base = Config::load(&Sources::default()).expect("the defaults are valid");
        let live = LiveConfig::load(base.clone(), &store).await.expect("the store can be read");
        let local = Arc::new(LocalElection::new(1));
        let election = follow(&live, BackendElection::opened(base, local, None));
        let era = || live.election().map(|view| view.era);
        assert_eq!(era(), Some(0));
        let leads = election.campaign("relay", "a").await.expect("there is no other candidate");
        let moved = |era: u8| json!({"backend": "etcd", "endpoints": ["127.0.0.1:1"], "era": era});
        let changes = [
            json!({"election": moved(1)}),
            // Neither another change nor another move ends the wait for the holder.
            json!({"election": moved(1), "limits": {"page_size": 7}}),
            json!({"election": moved(2), "limits": {"page_size": 7}}),
        ];
        for (current, settings) in (0u64..).zip(changes) {
            set(&store, current, settings).await;
            live.refresh(&store).await.expect("the store can be read");
            assert!(!leads.is_valid(), "the term has ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!((era(), live.view().pending.len()), (Some(0), 0), "the holder may still act");
        }
        drop(leads);
        let published = async {
            while era() != Some(2) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), published).await.expect("the era is published");
    }
}
