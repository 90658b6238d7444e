//! One service that this executor serves.

use crate::concurrency::{ActionPermits, ResizableSemaphore};
use crate::endpoint::ServiceEndpoint;
use crate::lane_consumer::Endpoint;
use crate::task::Participant;
use crate::workers::ServiceKey;
use parking_lot::RwLock;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The lanes of a service, with their capacities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServedLanes {
    pub(crate) namespace: String,
    pub(crate) service: String,
    /// Execute commands that may be in flight.
    pub(crate) executes: usize,
    /// Compensate commands that may be in flight.
    pub(crate) compensations: usize,
}

/// The transport to a service.
#[derive(Debug, Clone)]
pub(super) enum Transport {
    /// HTTP requests to an endpoint.
    Http(Arc<ServiceEndpoint>),
    /// Workers, or code in this process.
    Participant(Arc<dyn Participant>),
}

impl Transport {
    /// Returns whether both are the same transport with the same settings.
    pub(super) fn is_same(&self, other: &Self) -> bool {
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

/// One service that this executor serves.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) transport: Transport,
    pub(super) endpoint: Endpoint,
    pub(super) executes: ResizableSemaphore,
    pub(super) compensations: ResizableSemaphore,
    pub(super) actions: Arc<ActionPermits>,
    /// Stops the consumers of the service.
    pub(super) stop: CancellationToken,
}

impl Entry {
    pub(super) fn new(
        transport: Transport,
        participant: Arc<dyn Participant>,
        executes: usize,
        compensations: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            transport,
            endpoint: Arc::new(RwLock::new(participant)),
            executes: ResizableSemaphore::new(executes),
            compensations: ResizableSemaphore::new(compensations),
            actions: Arc::default(),
            stop,
        }
    }

    pub(super) fn lanes(&self, (namespace, service): &ServiceKey) -> ServedLanes {
        ServedLanes {
            namespace: namespace.clone(),
            service: service.clone(),
            executes: self.executes.size(),
            compensations: self.compensations.size(),
        }
    }
}
