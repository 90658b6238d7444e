//! One service that is served.

use super::Served;
use crate::lane::Endpoint;
use crate::room::{Actions, Places};
use crate::task::Participant;
use crate::workers::ServiceKey;
use goconductor_store::ServiceSettings;
use std::sync::{Arc, RwLock};
use tokio_util::sync::CancellationToken;

/// How a service is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// By its address: the service's settings.
    Http(ServiceSettings),
    /// By workers, or in this process.
    Participant(Arc<dyn Participant>),
}

impl Way {
    /// Whether it is the same way.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(one), Self::Http(two)) => one == two,
            (Self::Participant(one), Self::Participant(two)) => Arc::ptr_eq(one, two),
            (Self::Http(_), Self::Participant(_)) | (Self::Participant(_), Self::Http(_)) => false,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Participant(_) => "workers",
        }
    }
}

/// One service that is served.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    pub(super) endpoint: Endpoint,
    pub(super) executes: Places,
    pub(super) compensations: Places,
    pub(super) actions: Arc<Actions>,
    /// Ends its lanes.
    pub(super) stop: CancellationToken,
}

impl Entry {
    pub(super) fn new(
        way: Way,
        participant: Arc<dyn Participant>,
        executes: usize,
        compensations: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            way,
            endpoint: Arc::new(RwLock::new(participant)),
            executes: Places::new(executes),
            compensations: Places::new(compensations),
            actions: Arc::default(),
            stop,
        }
    }

    pub(super) fn served(&self, (namespace, service): &ServiceKey) -> Served {
        Served {
            namespace: namespace.clone(),
            service: service.clone(),
            executes: self.executes.size(),
            compensations: self.compensations.size(),
        }
    }
}
