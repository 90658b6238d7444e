//! How all processes move from one queue to another: what is agreed on, and when the next phase may begin. Pure.
//!
//! Every phase is safe to be in for ever, and harmless to whoever hears of it late: what is published to a queue that is
//! about to be let go is taken from it as long as anybody consumes it, and is brought back by the dispatch ledger after
//! that. So a phase needs no more than that those who are there have heard of it.

use goconductor_store::{Member, QueueView};
use serde::{Deserialize, Serialize};

/// Processes that neither publish nor consume.
const OTHERS: [&str; 2] = ["state-store", "leader-elector"];

/// How far a move from one queue to another has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// The new queue is consumed beside the old one; all publish to the old one.
    ConsumingBoth,
    /// Both are consumed; all begin to publish to the new one.
    Producing,
    /// Both are consumed; nobody publishes to the old one any more, until nothing waits there.
    Draining,
}

impl Phase {
    /// As the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsumingBoth => "CONSUMING_BOTH",
            Self::Producing => "PRODUCING",
            Self::Draining => "DRAINING",
        }
    }
}

/// A move from one queue to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The new queue.
    pub to: String,
    /// How far it has come.
    pub phase: Phase,
    /// Who asked for it.
    #[serde(default)]
    pub actor: Option<String>,
}

/// Which queue all processes use, and which they move to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The queue that is used; in a move the old one.
    pub current: String,
    /// None: all stay where they are.
    #[serde(default)]
    pub moving: Option<Move>,
}

impl Standing {
    /// One queue.
    pub(super) fn on(queue: &str) -> Self {
        Self { current: queue.to_owned(), moving: None }
    }

    /// Where messages are published, and what is consumed beside that.
    pub(super) fn route(&self) -> (&str, Option<&str>) {
        match &self.moving {
            None => (&self.current, None),
            Some(Move { to, phase: Phase::ConsumingBoth, .. }) => (&self.current, Some(to)),
            Some(Move { to, phase: Phase::Producing | Phase::Draining, .. }) => (to, Some(&self.current)),
        }
    }

    /// Whether nobody publishes to the new queue yet.
    pub(super) fn begins(&self) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.phase == Phase::ConsumingBoth)
    }

    /// The queue that is used in the end.
    pub(super) fn newest(&self) -> &str {
        self.moving.as_ref().map_or(&self.current, |moving| &moving.to)
    }

    /// After somebody has asked for a move to a queue. To ask for the queue that is being left turns the move back: all
    /// who have heard of it consume both, so those who publish go first.
    pub(super) fn asked(&self, to: &str, actor: Option<String>) -> Result<Self, Refused> {
        let to_other = |phase| Some(Move { to: to.to_owned(), phase, actor });
        match &self.moving {
            None if self.current == to => Err(Refused::InUse),
            None => Ok(Self { current: self.current.clone(), moving: to_other(Phase::ConsumingBoth) }),
            Some(moving) if moving.to == to => Err(Refused::AlreadyAsked),
            // Nobody has published to the new one.
            Some(Move { phase: Phase::ConsumingBoth, .. }) if self.current == to => Ok(Self::on(to)),
            Some(moving) if self.current == to => {
                Ok(Self { current: moving.to.clone(), moving: to_other(Phase::Producing) })
            }
            Some(moving) => Err(Refused::Moving(moving.clone())),
        }
    }

    /// What is to be agreed on next, if the time has come.
    pub(super) fn next(&self, revision: u64, users: &[User], old: Old) -> Option<Self> {
        let moving = self.moving.as_ref()?;
        let follows = |phase| {
            let moving = Move { phase, ..moving.clone() };
            users
                .iter()
                .all(|user| user.applied >= revision)
                .then(|| Self { moving: Some(moving), ..self.clone() })
        };
        match moving.phase {
            Phase::ConsumingBoth => follows(Phase::Producing),
            Phase::Producing => follows(Phase::Draining),
            Phase::Draining => match old {
                Old::Empty => Some(Self::on(&moving.to)),
                // What only some can't reach is drained by the others.
                Old::Lost if users.iter().all(|user| user.has_lost_old) => Some(Self::on(&moving.to)),
                Old::Lost | Old::Unknown => None,
            },
        }
    }
}

/// Why no move begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is the queue that is used.
    InUse,
    /// This very move is under way.
    AlreadyAsked,
    /// Another move is under way.
    Moving(Move),
}

/// What this process has found in the old queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// Nothing waits in it.
    Empty,
    /// It can't be reached for so long that it is taken for lost.
    Lost,
    /// Something waits in it, or nobody could say.
    Unknown,
}

/// A process that uses queues, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its random identity.
    pub instance: String,
    /// `api-gateway`, `saga-executor`
    pub kind: String,
    /// The revision of what is agreed on that it acts by.
    pub applied: u64,
    /// The queues that its configuration says how to reach.
    pub backends: Vec<String>,
    /// Whether it can't reach the old queue for so long that it is taken for lost.
    pub has_lost_old: bool,
}

impl User {
    /// None: it uses no queue.
    pub(super) fn of(member: &Member) -> Option<Self> {
        let announced = &member.announcement;
        if OTHERS.contains(&announced.kind.as_str()) {
            return None;
        }
        // One who says nothing is of a release that knows of no move, and never applies one.
        let QueueView { applied, backends, has_lost_old, .. } =
            announced.info.queue.clone().unwrap_or_default();
        Some(Self {
            instance: announced.instance.clone(),
            kind: announced.kind.clone(),
            applied,
            backends,
            has_lost_old,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{ConsumingBoth, Draining, Producing};
    use goconductor_saga::{Json, Timestamp};
    use goconductor_store::Announcement;
    use serde_json::json;
    use std::time::Duration;

    fn moving(current: &str, to: &str, phase: Phase) -> Standing {
        let to = to.to_owned();
        Standing { current: current.to_owned(), moving: Some(Move { to, phase, actor: None }) }
    }

    fn user(applied: u64, has_lost_old: bool) -> User {
        let (instance, kind) = ("i".to_owned(), "saga-executor".to_owned());
        User { instance, kind, applied, backends: Vec::new(), has_lost_old }
    }

    #[test]
    fn a_phase_ends_when_all_have_applied_it() {
        let (ours, late) = (user(7, false), user(6, false));
        let table = [
            (ConsumingBoth, vec![], Old::Unknown, Some(Producing)),
            (ConsumingBoth, vec![ours.clone(), ours.clone()], Old::Unknown, Some(Producing)),
            (ConsumingBoth, vec![ours.clone(), late.clone()], Old::Unknown, None),
            // That the old queue holds nothing, or is lost, makes nobody consume the new one.
            (ConsumingBoth, vec![ours.clone(), late.clone()], Old::Empty, None),
            (ConsumingBoth, vec![ours.clone(), late.clone()], Old::Lost, None),
            (ConsumingBoth, vec![user(9, false)], Old::Unknown, Some(Producing)),
            (Producing, vec![ours.clone()], Old::Unknown, Some(Draining)),
            (Producing, vec![late.clone(), ours.clone()], Old::Empty, None),
        ];
        for (phase, users, old, next) in table {
            let next = next.map(|next| moving("a", "b", next));
            assert_eq!(moving("a", "b", phase).next(7, &users, old), next, "{phase:?} {users:?} {old:?}");
        }
        assert_eq!(Standing::on("a").next(7, &[ours], Old::Empty), None);
    }

    #[test]
    fn the_old_queue_is_let_go_when_it_is_empty_or_all_have_lost_it() {
        let (reaches, lost) = (user(7, false), user(7, true));
        let done = Some(Standing::on("b"));
        let table = [
            (vec![reaches.clone()], Old::Unknown, None),
            (vec![reaches.clone()], Old::Empty, done.clone()),
            // Whoever comes late has applied what is agreed on before it publishes anything.
            (vec![user(0, false)], Old::Empty, done.clone()),
            (vec![lost.clone(), reaches.clone()], Old::Lost, None),
            (vec![lost.clone(), lost.clone()], Old::Lost, done.clone()),
            (vec![lost.clone()], Old::Unknown, None),
            (vec![], Old::Lost, done),
        ];
        for (users, old, next) in table {
            assert_eq!(moving("a", "b", Draining).next(7, &users, old), next, "{users:?} {old:?}");
        }
    }

    #[test]
    fn where_messages_go_and_what_is_consumed() {
        let table = [
            (Standing::on("a"), ("a", None)),
            (moving("a", "b", ConsumingBoth), ("a", Some("b"))),
            (moving("a", "b", Producing), ("b", Some("a"))),
            (moving("a", "b", Draining), ("b", Some("a"))),
        ];
        for (standing, route) in table {
            assert_eq!(standing.route(), route);
            assert_eq!(standing.begins(), standing == moving("a", "b", ConsumingBoth));
            assert_eq!(standing.newest(), if standing.moving.is_some() { "b" } else { "a" });
            let text = serde_json::to_string(&standing).unwrap();
            assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing);
        }
    }

    #[test]
    fn one_move_at_a_time_and_it_can_be_turned_back() {
        let ask = |standing: &Standing, to: &str| standing.asked(to, None);
        let on = Standing::on("a");
        assert_eq!(ask(&on, "a"), Err(Refused::InUse));
        assert_eq!(ask(&on, "b"), Ok(moving("a", "b", ConsumingBoth)));
        for phase in [ConsumingBoth, Producing, Draining] {
            let under_way = moving("a", "b", phase);
            assert_eq!(ask(&under_way, "b"), Err(Refused::AlreadyAsked));
            let other = under_way.moving.clone().unwrap();
            assert_eq!(ask(&under_way, "c"), Err(Refused::Moving(other)));
        }
        // Nobody has published to it.
        assert_eq!(ask(&moving("a", "b", ConsumingBoth), "a"), Ok(Standing::on("a")));
        for phase in [Producing, Draining] {
            assert_eq!(ask(&moving("a", "b", phase), "a"), Ok(moving("b", "a", Producing)));
        }
    }

    #[test]
    fn who_uses_queues_says_so() {
        let member = |kind: &str, about: Json| Member {
            announcement: Announcement {
                instance: "i".to_owned(),
                kind: kind.to_owned(),
                address: String::new(),
                info: about.into(),
                ttl: Duration::ZERO,
            },
            since: Timestamp(0),
            seen_at: Timestamp(0),
        };
        let about = json!({"queue": {"applied": 3, "backends": ["kafka", "nats"], "has_lost_old": true}});
        let found = User::of(&member("saga-executor", about)).unwrap();
        assert_eq!((found.applied, found.has_lost_old), (3, true));
        assert_eq!(found.backends, ["kafka", "nats"]);
        let silent = User::of(&member("api-gateway", json!({}))).unwrap();
        assert_eq!((silent.applied, silent.has_lost_old, silent.backends.len()), (0, false, 0));
        for kind in OTHERS {
            assert_eq!(User::of(&member(kind, json!({}))), None);
        }
    }
}
