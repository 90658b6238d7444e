//! The services whose topics are consumed, and the backlog of these topics.

use goconductor_queue::{Queue, Topic};
use goconductor_saga::Side;
use goconductor_store::Member;
use goconductor_transition::topic_of;
use std::collections::BTreeSet;

/// Returns the services that the members serve, as pairs of namespace and name.
#[must_use]
pub fn served(members: &[Member]) -> BTreeSet<(String, String)> {
    let served = members.iter().flat_map(|member| member.announcement.info.served());
    served.map(|served| (served.namespace.clone(), served.service.clone())).collect()
}

/// Returns the topics of both lanes of each service.
pub(crate) fn topics(services: &BTreeSet<(String, String)>) -> Vec<Topic> {
    let lanes = |(namespace, service): &(String, String)| {
        [Side::Execute, Side::Compensate].map(|side| topic_of(namespace, service, side))
    };
    services.iter().flat_map(lanes).collect()
}

/// Returns the number of waiting messages in all topics. Returns `None` if the depth of any topic is unknown.
pub(crate) async fn waiting(queue: &dyn Queue, topics: &[Topic]) -> Option<u64> {
    let depths = futures::future::join_all(topics.iter().map(|topic| queue.depth(topic))).await;
    depths.into_iter().map(|depth| depth.ok().map(|backlog| backlog.waiting)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::Timestamp;
    use goconductor_store::{Announcement, ProcessInfo, ServedService};
    use std::time::Duration;

    #[test]
    fn service_of_several_members_has_two_topics() {
        let served_by = |services: Option<Vec<ServedService>>| Member {
            announcement: Announcement {
                instance: "i".to_owned(),
                kind: "saga-executor".to_owned(),
                address: String::new(),
                info: ProcessInfo { services, ..ProcessInfo::default() },
                ttl: Duration::ZERO,
            },
            since: Timestamp(0),
            seen_at: Timestamp(0),
        };
        let stock = ServedService {
            namespace: "default".to_owned(),
            service: "stock".to_owned(),
            ..ServedService::default()
        };
        let unnamed = ServedService::default();
        let services = Some(vec![stock, unnamed]);
        let members = [served_by(services.clone()), served_by(services), served_by(None)];
        let names: Vec<String> = topics(&served(&members)).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["stock", "stock.compensate"]);
    }
}
