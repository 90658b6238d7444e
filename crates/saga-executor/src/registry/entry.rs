//! One service that is served.

use super::Served;
use crate::lane::Endpoint;
use crate::task::Participant;
use crate::workers::ServiceKey;
use goconductor_saga::Json;
use std::sync::{Arc, RwLock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How a service is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// By its address: the service's settings.
    Http(Json),
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

/// Places of one lane.
#[derive(Debug)]
pub(super) struct Places {
    permits: Arc<Semaphore>,
    size: usize,
}

impl Places {
    fn new(size: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(size)), size }
    }

    pub(super) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Gives the lane as many places as it is to have. What is taken is not taken away: the next look goes
    /// on where this one had to stop.
    pub(super) fn resize(&mut self, size: usize) {
        if size > self.size {
            self.permits.add_permits(size - self.size);
            self.size = size;
        } else {
            self.size -= self.permits.forget_permits(self.size - size);
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
            stop,
        }
    }

    pub(super) fn served(&self, (namespace, service): &ServiceKey) -> Served {
        Served {
            namespace: namespace.clone(),
            service: service.clone(),
            executes: self.executes.size,
            compensations: self.compensations.size,
        }
    }
}
