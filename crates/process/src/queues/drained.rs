//! What anybody takes from a queue, and how much of it waits.

use goconductor_queue::{Queue, Topic};
use goconductor_saga::Side;
use goconductor_store::Member;
use goconductor_transition::topic_of;
use std::collections::BTreeSet;

/// The services of which somebody takes commands, by namespace and name, as the processes say of themselves.
#[must_use]
pub fn served(members: &[Member]) -> BTreeSet<(String, String)> {
    let served = members.iter().flat_map(|member| member.announcement.info.served());
    served.map(|served| (served.namespace.clone(), served.service.clone())).collect()
}

/// Both lanes of each.
pub(crate) fn topics(services: &BTreeSet<(String, String)>) -> Vec<Topic> {
    let lanes = |(namespace, service): &(String, String)| {
        [Side::Execute, Side::Compensate].map(|side| topic_of(namespace, service, side))
    };
    services.iter().flat_map(lanes).collect()
}

/// How many messages wait together; none: it could not be found out.
pub(crate) async fn waiting(queue: &dyn Queue, topics: &[Topic]) -> Option<u64> {
    let looks = futures::future::join_all(topics.iter().map(|topic| queue.depth(topic))).await;
    looks.into_iter().map(|look| look.ok().map(|backlog| backlog.waiting)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::{Json, Timestamp};
    use goconductor_store::Announcement;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_service_has_two_lanes_whoever_serves_it() {
        let member = |about: Json| Member {
            announcement: Announcement {
                instance: "i".to_owned(),
                kind: "saga-executor".to_owned(),
                address: String::new(),
                info: about.into(),
                ttl: Duration::ZERO,
            },
            since: Timestamp(0),
            seen_at: Timestamp(0),
        };
        let one = json!({"services": [{"namespace": "default", "service": "stock"}, {"odd": 1}]});
        let members = [member(one.clone()), member(one), member(json!(null))];
        let names: Vec<String> = topics(&served(&members)).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["stock", "stock.compensate"]);
    }
}
