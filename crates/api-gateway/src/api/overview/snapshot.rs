//! The reads of an overview.

use super::figures::{RecentView, WINDOW, recent};
use super::{DeadLetterCount, ElectionsView, QueueSwitchView, ServiceLoadView};
use crate::api::Api;
use crate::error::ApiResult;
use goconductor_saga::{CALLS_SERVICE, Namespace, Side, Status, Timestamp, WorkflowId};
use goconductor_store::{
    Comparison, Field, Filter, FilterValue, ListRequest, Member, ServiceRecord, Summary,
};
use goconductor_transition::{clock, topic_of};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Number of the newest workflows from which rates are computed.
const SAMPLE: u32 = 500;
/// Number of workflows that need a person.
const SHOWN: u32 = 10;
/// The age from which an open workflow is reported.
const LONG: Duration = WINDOW;
/// Up to this number, dead letters are counted. Each is read as a whole.
const MAX_DEAD_LETTERS: u32 = 20;
/// Timeout of the reads that may be missing from an overview.
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The figures of a namespace.
#[derive(Debug)]
pub(super) struct OverviewFigures {
    pub(super) at: Timestamp,
    /// Numbers of workflows by status.
    pub(super) counts: Vec<(String, u64)>,
    pub(super) recent: RecentView,
    pub(super) errors: Vec<Summary>,
    pub(super) stuck: Vec<Summary>,
    pub(super) services: Vec<ServiceLoadView>,
    /// Namespaces that are in use, as far as they are known.
    pub(super) namespaces: BTreeSet<String>,
    pub(super) dead_letters: Option<DeadLetterCount>,
    pub(super) elections: Option<ElectionsView>,
    pub(super) queue_switch: Option<QueueSwitchView>,
}

impl Api {
    pub(super) async fn snapshot(&self, namespace: &str) -> ApiResult<OverviewFigures> {
        let at = clock::now();
        let counts = self.store().counts(namespace, Field::Status, Some(&Filter::without_elements())).await?;
        let (sample, is_complete) = self.sample(namespace, at).await?;
        let (errors, _) = self.newest(namespace, Some(Status::Error), None, SHOWN).await?;
        let members = self.store().members().await?;
        let registered = self.store().services().await?;
        Ok(OverviewFigures {
            at,
            counts: counts.into_iter().map(|count| (count.value, count.count)).collect(),
            recent: recent(&sample, is_complete, at),
            errors,
            stuck: self.stuck(namespace, at).await?,
            services: self.service_loads(namespace, at, &members, &registered).await?,
            namespaces: namespaces(&members, &registered),
            dead_letters: self.count_dead_letters().await,
            elections: self.elections_without_leader(&members).await,
            queue_switch: self.running_switch().await,
        })
    }

    /// Returns the newest workflows of the window, and whether they are all.
    async fn sample(&self, namespace: &str, now: Timestamp) -> ApiResult<(Vec<Summary>, bool)> {
        let (mut sample, is_more) = self.newest(namespace, None, None, SAMPLE).await?;
        let read = sample.len();
        sample.retain(|summary| now.since(summary.created_at) < WINDOW);
        let is_complete = !is_more || sample.len() < read;
        Ok((sample, is_complete))
    }

    /// Returns the newest workflows with a status, without those that run elements of a step, and whether there are more.
    async fn newest(
        &self,
        namespace: &str,
        status: Option<Status>,
        before: Option<WorkflowId>,
        limit: u32,
    ) -> ApiResult<(Vec<Summary>, bool)> {
        let mut parts: Vec<Filter> = status.map(is_status).into_iter().collect();
        parts.push(Filter::without_elements());
        let filter = Some(Filter::All(parts));
        let request = ListRequest { namespace: namespace.to_owned(), filter, limit, before };
        let page = self.store().list(&request).await?;
        Ok((page.workflows, page.more))
    }

    /// Returns the newest of the workflows that have been open for long.
    async fn stuck(&self, namespace: &str, now: Timestamp) -> ApiResult<Vec<Summary>> {
        let before = Some(first_id_at(Timestamp(now.0.saturating_sub(micros(LONG)))));
        let mut stuck = Vec::new();
        for status in [Status::RollingBack, Status::InProgress, Status::Queued] {
            stuck.extend(self.newest(namespace, Some(status), before, SHOWN).await?.0);
        }
        stuck.sort_by_key(|summary| std::cmp::Reverse(summary.id));
        stuck.truncate(usize::try_from(SHOWN).unwrap_or(usize::MAX));
        Ok(stuck)
    }

    /// Returns the load of each service of a namespace that has settings, due commands or executors.
    async fn service_loads(
        &self,
        namespace: &str,
        now: Timestamp,
        members: &[Member],
        registered: &[ServiceRecord],
    ) -> ApiResult<Vec<ServiceLoadView>> {
        let mut backlogs: BTreeMap<String, u64> = BTreeMap::new();
        for (lane, due) in self.store().backlog(now).await? {
            if let Some(service) = service_of(&lane, namespace) {
                *backlogs.entry(service.to_owned()).or_default() += due;
            }
        }
        let mut served: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let all = members.iter().flat_map(|member| member.announcement.info.served());
        for each in all.filter(|served| served.namespace == namespace) {
            let (executors, workers) = served.entry(each.service.as_str()).or_default();
            *executors += 1;
            *workers += u64::try_from(each.workers).unwrap_or(u64::MAX);
        }
        let registered = registered
            .iter()
            .filter(|record| record.namespace == namespace)
            .map(|record| record.name.as_str());
        let names: BTreeSet<&str> =
            registered.chain(backlogs.keys().map(String::as_str)).chain(served.keys().copied()).collect();
        let mut loads = Vec::with_capacity(names.len());
        for name in names.into_iter().filter(|name| *name != CALLS_SERVICE) {
            let (executors, workers) = served.get(name).copied().unwrap_or_default();
            let is_served = executors > 0 || self.has_local_consumer(namespace, name).await;
            let backlog = backlogs.get(name).copied().unwrap_or_default();
            loads.push(ServiceLoadView { service: name.to_owned(), backlog, executors, workers, is_served });
        }
        Ok(loads)
    }

    /// Returns whether this process consumes the commands of a service. A broker does not know who consumes.
    async fn has_local_consumer(&self, namespace: &str, service: &str) -> bool {
        let queue = self.engine.queue();
        if queue.is_durable() {
            return false;
        }
        queue.has_consumer(&topic_of(namespace, service, Side::Execute)).await.unwrap_or(true)
    }

    async fn count_dead_letters(&self) -> Option<DeadLetterCount> {
        let letters = self.store().dead_letters(None, MAX_DEAD_LETTERS + 1).await.ok()?;
        let limit = u64::from(MAX_DEAD_LETTERS);
        let count = u64::try_from(letters.len()).unwrap_or(u64::MAX);
        Some(DeadLetterCount { count: count.min(limit), is_more: count > limit })
    }

    /// Returns the elections of the executors that have no leader. `None` if the election does not respond.
    async fn elections_without_leader(&self, members: &[Member]) -> Option<ElectionsView> {
        let election = self.hosted.as_ref()?.election();
        let leaders = tokio::time::timeout(OPTIONAL_TIMEOUT, election.list()).await.ok()?.ok()?;
        let led: BTreeSet<&str> = leaders.iter().map(|leader| leader.name.as_str()).collect();
        let is_executor = |member: &Member| member.announcement.info.services.is_some();
        let expected = if members.iter().any(is_executor) {
            duties(&led, self.config.base().executor.duty_shards)
        } else {
            Vec::new()
        };
        let without_leader = expected.into_iter().filter(|name| !led.contains(name.as_str()));
        Some(ElectionsView {
            without_leader: without_leader.collect(),
            leaders: u64::try_from(leaders.len()).unwrap_or(u64::MAX),
        })
    }

    async fn running_switch(&self) -> Option<QueueSwitchView> {
        let status = tokio::time::timeout(OPTIONAL_TIMEOUT, self.queue_switch()).await.ok()?.ok()?;
        Some(QueueSwitchView {
            to: status.to?,
            phase: status
                .phase
                .and_then(|phase| serde_json::to_value(phase).ok()?.as_str().map(str::to_owned)),
            behind: u64::try_from(status.behind.len()).unwrap_or(u64::MAX),
        })
    }
}

/// Returns the names of the executors' elections. Their number is that of the elections that have a leader or, without
/// one, of the configuration.
fn duties(led: &BTreeSet<&str>, configured: u32) -> Vec<String> {
    let number = led.iter().find_map(|name| name.strip_prefix("duties/")?.split_once("-of-")?.1.parse().ok());
    let number: u32 = number.unwrap_or(configured);
    let shards = (0..number).map(|index| format!("duties/{index}-of-{number}"));
    shards.chain(["duties/schedules".to_owned()]).collect()
}

/// Returns the service of a lane `namespace/service/side` of a namespace.
fn service_of<'l>(lane: &'l str, namespace: &str) -> Option<&'l str> {
    let (service, _) = lane.strip_prefix(namespace)?.strip_prefix('/')?.rsplit_once('/')?;
    Some(service)
}

/// Returns the namespaces of the services that are registered or served.
fn namespaces(members: &[Member], registered: &[ServiceRecord]) -> BTreeSet<String> {
    let served = members.iter().flat_map(|member| member.announcement.info.served());
    let served = served.map(|served| served.namespace.clone());
    let registered = registered.iter().map(|record| record.namespace.clone());
    served.chain(registered).chain([Namespace::DEFAULT.to_owned()]).collect()
}

fn is_status(status: Status) -> Filter {
    Filter::Compare(Field::Status, Comparison::Equal, FilterValue::Text(status.as_str().to_owned()))
}

/// Returns an id below those of all workflows that start at a time or later: ids begin with the time in milliseconds.
fn first_id_at(time: Timestamp) -> WorkflowId {
    let millis = u128::try_from(time.as_millis()).unwrap_or_default();
    WorkflowId(uuid::Uuid::from_u128(millis << 80))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elections_of_executors_follow_from_those_with_a_leader() {
        let led = BTreeSet::from(["duties/1-of-2", "reports"]);
        assert_eq!(duties(&led, 4), ["duties/0-of-2", "duties/1-of-2", "duties/schedules"]);
        assert_eq!(duties(&BTreeSet::new(), 1), ["duties/0-of-1", "duties/schedules"]);
    }

    #[test]
    fn workflows_of_a_time_have_higher_ids() {
        let time = Timestamp(1_800_000_000_000_000);
        let id = uuid::Builder::from_unix_timestamp_millis(1_800_000_000_000, &[0; 10]).into_uuid();
        assert!(first_id_at(time) < WorkflowId(id));
        let earlier = uuid::Builder::from_unix_timestamp_millis(1_799_999_999_999, &[0xff; 10]).into_uuid();
        assert!(WorkflowId(earlier) < first_id_at(time));
    }

    #[test]
    fn lane_belongs_to_its_namespace() {
        assert_eq!(service_of("default/payments/execute", "default"), Some("payments"));
        assert_eq!(service_of("default2/payments/execute", "default"), None);
        assert_eq!(service_of("", "default"), None);
    }
}
