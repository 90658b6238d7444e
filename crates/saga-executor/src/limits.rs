//! The limits of attempts in flight, which can change while an executor runs.

use crate::settings::Settings;
use goconductor_service_kit::config::Config;
use std::sync::Arc;
use tokio::sync::watch;

/// The limits of the attempts in flight of an executor.
#[derive(Debug, Clone)]
pub struct InFlightLimits(Arc<watch::Sender<InFlightCounts>>);

/// The numbers of attempts that may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InFlightCounts {
    /// Executes of all services, and separately the compensations.
    pub(crate) all: usize,
    /// Executes of one service, unless the service has a limit of its own.
    pub(crate) executes: usize,
    /// Compensations of one service.
    pub(crate) compensations: usize,
}

impl InFlightLimits {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self(Arc::new(watch::Sender::new(InFlightCounts {
            all: settings.all_in_flight,
            executes: settings.executes_in_flight,
            compensations: settings.compensations_in_flight,
        })))
    }

    /// Changes the limits to those of a configuration. Attempts in flight continue.
    pub fn set(&self, config: &Config) {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let executor = &config.executor;
        let new = InFlightCounts {
            all: count(executor.all_in_flight),
            executes: count(executor.max_in_flight),
            compensations: count(executor.compensations_in_flight),
        };
        self.0.send_if_modified(|known| std::mem::replace(known, new) != new);
    }

    pub(crate) fn get(&self) -> InFlightCounts {
        *self.0.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<InFlightCounts> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::Sources;

    #[test]
    fn subscribers_receive_changed_limits_only() {
        let limits = InFlightLimits::of(&Settings::default());
        let mut changes = limits.subscribe();
        let mut config = Config::load(&Sources::default()).unwrap();
        config.executor.max_in_flight = 3;
        limits.set(&config);
        assert!(changes.has_changed().unwrap());
        assert_eq!(changes.borrow_and_update().executes, 3);
        limits.set(&config);
        assert!(!changes.has_changed().unwrap());
    }
}
