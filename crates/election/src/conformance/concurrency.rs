//! Many candidates for one name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::expect::{Fixture, ensure, failed};
use super::{CaseResult, Factory};
use crate::FencingToken;

const CANDIDATES: usize = 20;
const TERMS: usize = 5;
/// Long enough for other candidates to try.
const TERM: Duration = Duration::from_millis(1);

pub(super) async fn one_at_a_time(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let leading = Arc::new(AtomicUsize::new(0));
    let mut candidates = JoinSet::new();
    for number in 0..CANDIDATES {
        candidates.spawn(lead_repeatedly(fixture.clone(), number, Arc::clone(&leading)));
    }
    let mut tokens = BTreeSet::new();
    while let Some(ended) = candidates.join_next().await {
        for token in ended.map_err(|error| format!("a candidate failed: {error}"))?? {
            ensure(tokens.insert(token), || format!("token {token} was issued twice"))?;
        }
    }
    let leader = fixture.observed("relay").await?;
    ensure(leader.is_none(), || format!("{leader:?} leads after all terms have ended"))
}

/// Leads several times, and checks each time that no other candidate leads.
async fn lead_repeatedly(
    fixture: Fixture,
    number: usize,
    leading: Arc<AtomicUsize>,
) -> Result<Vec<FencingToken>, String> {
    let candidate = format!("executor-{number}");
    let mut tokens = Vec::new();
    for term in 0..TERMS {
        let leadership = fixture.election.campaign("relay", &candidate).await.map_err(failed("campaign"))?;
        let others = leading.fetch_add(1, Ordering::SeqCst);
        ensure(others == 0, || format!("{candidate} leads together with {others} others"))?;
        tokio::time::sleep(TERM).await;
        let observed = fixture.observed("relay").await?;
        ensure(observed.as_deref() == Some(&candidate), || {
            format!("{observed:?} is observed while {candidate} leads")
        })?;
        tokens.push(leadership.token());
        leading.fetch_sub(1, Ordering::SeqCst);
        if term % 2 == 0 {
            leadership.resign().await.map_err(failed("resign"))?;
        } else {
            drop(leadership);
        }
    }
    Ok(tokens)
}

pub(super) async fn each_once(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut candidates = JoinSet::new();
    for number in 0..100 {
        let fixture = fixture.clone();
        candidates.spawn(async move {
            let candidate = format!("executor-{number}");
            let leadership =
                fixture.election.campaign("relay", &candidate).await.map_err(failed("campaign"))?;
            let token = leadership.token();
            leadership.resign().await.map_err(failed("resign"))?;
            Ok::<_, String>(token)
        });
    }
    let mut tokens = BTreeSet::new();
    let all = async {
        while let Some(ended) = candidates.join_next().await {
            tokens.insert(ended.map_err(|error| format!("a candidate failed: {error}"))??);
        }
        Ok::<_, String>(())
    };
    let limit = fixture.time_limit * 5;
    let through = tokio::time::timeout(limit, all).await;
    let led = tokens.len();
    through.map_err(|_| format!("{led} of 100 candidates have led"))??;
    ensure(led == 100, || format!("100 terms had {led} tokens"))
}
