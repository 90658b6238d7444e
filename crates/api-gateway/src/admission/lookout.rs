//! Looks how far behind the services are that starts need: one task, and nothing to do while nobody starts
//! anything.

use super::lanes::Look;
use crate::App;
use goconductor_queue::Backlog;
use goconductor_saga::Side;
use goconductor_store::Member;
use goconductor_transition::{clock, topic_of};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between looks at an in-process queue, and at a broker, whom it costs something: unless much has been let in
/// since.
const EVERY: Duration = Duration::from_millis(100);
const EVERY_AFAR: Duration = Duration::from_millis(500);
/// Who serves what is asked again after this.
const MEMBERS: Duration = Duration::from_secs(1);
/// Lanes that a broker is asked about at once.
const AT_ONCE: usize = 4;

/// What the executors say of themselves.
#[derive(Debug, Default)]
struct Served {
    asked: Option<Instant>,
    services: BTreeSet<(String, String)>,
    /// What waits for a place of an action that has a limit.
    actions: BTreeMap<(String, String, String), u64>,
}

/// Follows the lanes that starts need, until the gateway ends.
pub(crate) async fn follow(app: App) {
    let every = if app.conductor.queue().outlives_processes() { EVERY_AFAR } else { EVERY };
    let mut served = Served::default();
    loop {
        // All are safe to cancel: what is needed stays so until it was looked at.
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.admission.lanes.needed() => {}
            () = tokio::time::sleep(MEMBERS) => {
                app.admission.show();
                continue;
            }
        }
        app.admission.show();
        let looks = app.admission.lanes.looks(clock::monotonic());
        if !looks.is_empty() {
            let heard = served.refresh(&app).await;
            let (actions, services): (Vec<_>, Vec<_>) =
                looks.iter().partition(|look| look.key.action.is_some());
            // Of an action nothing more is known than the executors said.
            for look in actions {
                if heard {
                    look_at_action(&app, &served, look);
                } else {
                    app.admission.lanes.later(look);
                }
            }
            for some in services.chunks(AT_ONCE) {
                futures::future::join_all(some.iter().map(|look| look_at(&app, &served, look))).await;
            }
        }
        tokio::time::sleep(EVERY).await;
        // Both are safe to cancel: what is scarce is looked at now.
        tokio::select! {
            () = tokio::time::sleep(every - EVERY) => {}
            () = app.admission.lanes.scarce() => {}
        }
    }
}

fn look_at_action(app: &App, served: &Served, look: &Look) {
    let key = &look.key;
    let action = key.action.clone().unwrap_or_default();
    match served.actions.get(&(key.namespace.clone(), key.service.clone(), action)) {
        Some(waiting) => {
            app.admission.lanes.found(look, Backlog { waiting: *waiting, ..Backlog::default() });
        }
        None => app.admission.lanes.open(look),
    }
}

async fn look_at(app: &App, served: &Served, look: &Look) {
    let lanes = &app.admission.lanes;
    let key = &look.key;
    let queue = app.conductor.queue();
    let topic = topic_of(&key.namespace, &key.service, Side::Execute);
    let is_served = if queue.outlives_processes() {
        served.services.contains(&(key.namespace.clone(), key.service.clone()))
    } else {
        queue.has_consumer(&topic).await.unwrap_or(false)
    };
    if !is_served {
        lanes.open(look);
        return;
    }
    match queue.depth(&topic).await {
        Ok(backlog) => lanes.found(look, backlog),
        Err(error) => {
            tracing::debug!(%topic, %error, "how far it is behind is not known for now");
            lanes.open(look);
        }
    }
}

impl Served {
    /// Asks again, if it is time to; whether it was answered.
    async fn refresh(&mut self, app: &App) -> bool {
        let now = clock::monotonic();
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < MEMBERS) {
            return false;
        }
        self.asked = Some(now);
        let members = match app.store().members().await {
            Ok(members) => members,
            Err(error) => {
                tracing::debug!(%error, "who serves what is not known for now");
                return false;
            }
        };
        let gateways = members.iter().filter(|member| member.announcement.kind == "api-gateway").count();
        app.admission.lanes.share(u64::try_from(gateways).unwrap_or(1));
        self.services.clear();
        self.actions.clear();
        for member in &members {
            self.hear(member);
        }
        true
    }

    fn hear(&mut self, member: &Member) {
        for served in member.announcement.info.served() {
            let (namespace, name) = (served.namespace.clone(), served.service.clone());
            for limited in &served.actions {
                let key = (namespace.clone(), name.clone(), limited.action.clone());
                *self.actions.entry(key).or_default() += limited.waiting;
            }
            self.services.insert((namespace, name));
        }
    }
}
