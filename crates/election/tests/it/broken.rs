//! Elections with one fault each. The cases must find every fault.

#![allow(clippy::wildcard_enum_match_arm, reason = "a fault changes one behaviour and keeps the rest")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::{Election, Error, FencingToken, Leader, Leadership, LocalElection, Term};
use tokio::sync::watch;

/// A fault of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    EverybodyLeads,
    NamesakesLead,
    StarvesEachTenth,
    TokensStay,
    TokensFall,
    TermsEndByThemselves,
    ForgetsResignations,
    ForgetsDrops,
    StepsNobodyDown,
    StepsDownInSilence,
    OldTermsEndNewOnes,
    LeadsAfterCancel,
    SharesNames,
    ObservesNobody,
    ListsNobody,
    ListsBackwards,
}

/// Each fault, a case that must find it, and a part of the message.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::EverybodyLeads, "one_candidate_leads_at_a_time", "leads together with"),
    (Fault::EverybodyLeads, "term_lasts_until_it_ends", "executor-2 leads relay together with another"),
    (Fault::NamesakesLead, "term_lasts_until_it_ends", "executor-1 leads relay together with another"),
    (Fault::StarvesEachTenth, "hundred_candidates_lead_once_each", "90 of 100"),
    (Fault::TokensStay, "tokens_increase", "token 7 came after"),
    (Fault::TokensStay, "hundred_candidates_lead_once_each", "100 terms had 1 tokens"),
    (Fault::TokensStay, "one_candidate_leads_at_a_time", "token 7 was issued twice"),
    (Fault::TokensFall, "tokens_increase", "came after"),
    (Fault::TokensFall, "resigning_hands_over", "came after"),
    (Fault::TokensFall, "dropping_hands_over", "came after"),
    (Fault::TokensFall, "stepping_down_hands_over", "came after"),
    (Fault::TermsEndByThemselves, "term_lasts_until_it_ends", "reported without a cause"),
    (Fault::ForgetsResignations, "resigning_hands_over", "after a resignation, executor-2 did not"),
    (Fault::ForgetsDrops, "dropping_hands_over", "after a drop, executor-2 did not"),
    (Fault::StepsNobodyDown, "stepping_down_hands_over", "a step-down was reported without a leader"),
    (Fault::StepsDownInSilence, "stepping_down_hands_over", "the end of the term was not reported"),
    (Fault::OldTermsEndNewOnes, "old_term_cannot_end_a_new_one", "when the old term was ended"),
    (Fault::LeadsAfterCancel, "cancelled_campaign_leaves_nothing_behind", "after cancelled campaigns"),
    (Fault::TokensStay, "stale_write_is_refused", "a write with token 7 was accepted after"),
    (Fault::TokensFall, "stale_write_is_refused", "was refused after one with"),
    (Fault::SharesNames, "names_are_independent", "with relay"),
    (Fault::ObservesNobody, "leaders_are_observed_and_listed", "None is observed"),
    (Fault::ListsNobody, "leaders_are_observed_and_listed", "[] are listed"),
    (Fault::ListsBackwards, "leaders_are_observed_and_listed", "with two, "),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_is_found_by_its_case() {
    for (fault, name, said) in FAULTS {
        let case = CASES.iter().find(|case| case.name == *name).expect("the table names cases");
        let result = case.check(Arc::new(*fault)).await;
        let found = result.expect_err(&format!("{name} did not find {fault:?}"));
        assert!(found.contains(said), "{name} reported for {fault:?}: {found}");
    }
}

#[test]
fn every_case_finds_some_fault() {
    let finders: BTreeSet<&str> = FAULTS.iter().map(|(_, name, _)| *name).collect();
    let all: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(finders, all);
    assert_eq!(all.len(), CASES.len(), "two cases have the same name");
}

#[async_trait]
impl Factory for Fault {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Ok(Arc::new(Broken { fault: *self, inner: LocalElection::new(1), campaigns: AtomicU64::new(0) }))
    }

    fn time_limit(&self) -> Duration {
        Duration::from_millis(400)
    }
}

#[derive(Debug)]
struct Broken {
    fault: Fault,
    inner: LocalElection,
    campaigns: AtomicU64,
}

impl Broken {
    /// The name of the election in the correct implementation.
    fn name(&self, name: &str, number: u64) -> String {
        match self.fault {
            Fault::EverybodyLeads => format!("{name}#{number}"),
            Fault::SharesNames => "one".to_owned(),
            _ => name.to_owned(),
        }
    }

    fn spoil(&self, name: &str, won: Leadership) -> Leadership {
        let mut leader = Leader { name: name.to_owned(), ..won.leader().clone() };
        leader.token = match self.fault {
            Fault::TokensStay => FencingToken(7),
            Fault::TokensFall => FencingToken(u64::MAX - leader.token.0),
            _ => leader.token,
        };
        let (ended, lost) = watch::channel(false);
        let fault = self.fault;
        let end = won.lost();
        drop(tokio::spawn(async move {
            match fault {
                Fault::StepsDownInSilence => std::future::pending().await,
                Fault::TermsEndByThemselves => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => end.await,
            }
            ended.send_replace(true);
        }));
        let inner = self.inner.clone();
        let term = BrokenTerm { fault: self.fault, election: inner, name: name.to_owned(), inner: Some(won) };
        Leadership::new(leader, lost, Box::new(term))
    }
}

#[async_trait]
impl Election for Broken {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let number = self.campaigns.fetch_add(1, Ordering::Relaxed);
        let asked = self.name(name, number);
        match self.fault {
            Fault::NamesakesLead => {
                let leader = self.inner.observe(name).await?;
                let namesake = leader.is_some_and(|leader| leader.candidate == candidate);
                let asked = if namesake { format!("{name}#{number}") } else { asked };
                Ok(self.spoil(name, self.inner.campaign(&asked, candidate).await?))
            }
            Fault::StarvesEachTenth if number % 10 == 9 => std::future::pending().await,
            Fault::LeadsAfterCancel => {
                let (inner, candidate) = (self.inner.clone(), candidate.to_owned());
                let (sender, receiver) = tokio::sync::oneshot::channel();
                drop(tokio::spawn(async move {
                    let won = inner.campaign(&asked, &candidate).await;
                    // The term is held even if no caller takes it.
                    std::mem::forget(sender.send(won));
                }));
                Ok(self.spoil(name, receiver.await.expect("sent")?))
            }
            _ => Ok(self.spoil(name, self.inner.campaign(&asked, candidate).await?)),
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        match self.fault {
            Fault::ObservesNobody => Ok(None),
            // These faults are in other methods.
            Fault::TokensStay | Fault::TokensFall => self.inner.observe(name).await,
            _ => self.inner.observe(&self.name(name, 0)).await,
        }
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        let mut leaders = self.inner.list().await?;
        match self.fault {
            Fault::ListsNobody => leaders.clear(),
            Fault::ListsBackwards => leaders.reverse(),
            _ => {}
        }
        Ok(leaders)
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let stepped = self.inner.step_down(&self.name(name, 0)).await?;
        Ok(stepped || self.fault == Fault::StepsNobodyDown)
    }
}

#[derive(Debug)]
struct BrokenTerm {
    fault: Fault,
    election: LocalElection,
    name: String,
    inner: Option<Leadership>,
}

#[async_trait]
impl Term for BrokenTerm {
    async fn resign(mut self: Box<Self>) -> Result<(), Error> {
        let inner = self.inner.take().expect("the term is present until it ends");
        match self.fault {
            Fault::ForgetsResignations => std::mem::forget(inner),
            Fault::OldTermsEndNewOnes => drop(self.election.step_down(&self.name).await),
            _ => inner.resign().await?,
        }
        Ok(())
    }
}

impl Drop for BrokenTerm {
    fn drop(&mut self) {
        if self.fault == Fault::ForgetsDrops {
            std::mem::forget(self.inner.take());
        }
    }
}
