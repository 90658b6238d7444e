//! The audit log: one chain for all writers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::Timestamp;

use super::fixture::{Fixture, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{AuditEvent, AuditFilter, AuditHead, AuditRecord, AuditRequest, AuditVerifier};

fn event(id: &str) -> AuditEvent {
    AuditEvent {
        id: id.to_owned(),
        at: Timestamp(1_800_000_000_000_000),
        actor: "ada".to_owned(),
        credential: None,
        source: None,
        action: "workflow.cancel".to_owned(),
        namespace: None,
        target_kind: None,
        target_name: None,
        outcome: "ALLOWED".to_owned(),
        code: None,
        count: 1,
        before: None,
        after: None,
        trace_id: None,
    }
}

/// An event with every field, and with text that a database may change.
fn full(id: &str) -> AuditEvent {
    AuditEvent {
        credential: Some("gck_1".to_owned()),
        source: Some("2001:db8::7".to_owned()),
        namespace: Some("shop".to_owned()),
        target_kind: Some("definition".to_owned()),
        target_name: Some("ord\u{e4}r\u{0}\u{1}0 ".to_owned()),
        code: Some("GC2060".to_owned()),
        count: 1 << 40,
        before: Some(String::new()),
        after: Some("{\"a\": \"\u{0}\"}".repeat(1000)),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        ..event(id)
    }
}

impl Fixture {
    async fn append(&self, events: &[AuditEvent]) -> Result<AuditHead, String> {
        self.store.append_audit(events).await.map_err(unexpected("append_audit"))
    }

    async fn audit(&self, request: &AuditRequest) -> Result<Vec<AuditRecord>, String> {
        self.store.audit_records(request).await.map_err(unexpected("audit_records"))
    }

    async fn all_audit(&self) -> Result<Vec<AuditRecord>, String> {
        self.audit(&AuditRequest { limit: u32::MAX, ..AuditRequest::default() }).await
    }

    /// Checks the chain of all records.
    async fn check_chain(&self, records: &[AuditRecord]) -> CaseResult {
        let head = self.store.audit_head().await.map_err(unexpected("audit_head"))?;
        let mut verifier = AuditVerifier::new(None);
        records.iter().for_each(|record| verifier.check(record));
        expect_eq("the problems of the chain", &verifier.finish(&head).problems, &Vec::new())
    }
}

pub(super) async fn chained(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let head = fixture.store.audit_head().await.map_err(unexpected("audit_head"))?;
    expect_eq("the head of an empty log", &head, &AuditHead::default())?;
    expect_eq("the head after no event", &fixture.append(&[]).await?, &head)?;
    let events: Vec<AuditEvent> = (0..300)
        .map(|number| if number % 2 == 0 { full(&number.to_string()) } else { event(&number.to_string()) })
        .collect();
    let (first, rest) = events.split_at(1);
    expect_eq("the number of the first record", &fixture.append(first).await?.seq, &1)?;
    let head = fixture.append(rest).await?;
    let records = fixture.all_audit().await?;
    let found: Vec<AuditEvent> = records.iter().map(|record| record.event.clone()).collect();
    expect_eq("the events of the log", &found, &events)?;
    expect_eq("the head", &Some(&head.hash), &records.last().map(|last| &last.hash))?;
    fixture.check_chain(&records).await
}

pub(super) async fn repeated(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    fixture.append(&[event("a"), event("b")]).await?;
    let head = fixture.append(&[event("a"), event("b")]).await?;
    expect_eq("the number of records after a repeated call", &head.seq, &2)?;
    let head = fixture.append(&[event("b"), event("c"), event("c")]).await?;
    expect_eq("the number of records with one new event", &head.seq, &3)?;
    fixture.check_chain(&fixture.all_audit().await?).await
}

pub(super) async fn concurrent(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..20 {
        let fixture = fixture.clone();
        writers.spawn(async move {
            for batch in 0..5 {
                let events: Vec<AuditEvent> =
                    (0..3).map(|number| event(&format!("{writer}-{batch}-{number}"))).collect();
                fixture.append(&events).await?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    let records = fixture.all_audit().await?;
    let ids: BTreeSet<&str> = records.iter().map(|record| record.event.id.as_str()).collect();
    expect_eq("the number of records of 20 writers", &(records.len(), ids.len()), &(300, 300))?;
    fixture.check_chain(&records).await
}

pub(super) async fn intents(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let note = async |events: &[AuditEvent]| {
        fixture.store.note_audit_intents(events).await.map_err(unexpected("note_audit_intents"))
    };
    let settle = async |age: Duration| {
        fixture.store.settle_audit_intents(age).await.map_err(unexpected("settle_audit_intents"))
    };
    note(&[full("a"), event("b")]).await?;
    note(&[event("a"), event("c")]).await?;
    fixture.append(&[event("b"), event("d")]).await?;
    expect_eq("the intents that are old enough", &settle(Duration::from_secs(3600)).await?, &0)?;
    expect_eq("the intents without an outcome", &settle(Duration::ZERO).await?, &2)?;
    expect_eq("the intents after they were settled", &settle(Duration::ZERO).await?, &0)?;
    // The outcome of a slow request is recorded as well.
    fixture.append(&[event("c")]).await?;
    let records = fixture.all_audit().await?;
    let found: Vec<(&str, &str)> =
        records.iter().map(|record| (record.event.id.as_str(), record.event.outcome.as_str())).collect();
    let expected = [
        ("b", "ALLOWED"),
        ("d", "ALLOWED"),
        ("a.unknown", "UNKNOWN"),
        ("c.unknown", "UNKNOWN"),
        ("c", "ALLOWED"),
    ];
    expect_eq("the records", &found, &expected.to_vec())?;
    let kept = AuditEvent { outcome: "UNKNOWN".to_owned(), ..full("a.unknown") };
    let recorded = records.iter().find(|record| record.event.id == "a.unknown").map(|record| &record.event);
    expect_eq("the intent that was noted first", &recorded, &Some(&kept))?;
    fixture.check_chain(&records).await?;
    // An outcome that is repeated after its record was written forgets a late intent, too.
    note(&[event("d")]).await?;
    fixture.append(&[event("d")]).await?;
    expect_eq("the intents of recorded outcomes", &settle(Duration::ZERO).await?, &0)?;
    // So is a note that a network delivers twice.
    note(&[event("d")]).await?;
    expect_eq("the late intents of recorded outcomes", &settle(Duration::ZERO).await?, &0)?;
    expect_eq("the number of records", &fixture.all_audit().await?.len(), &records.len())
}

pub(super) async fn listed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut other = full("3");
    other.actor = "eve".to_owned();
    other.action = "access".to_owned();
    other.outcome = "REFUSED".to_owned();
    other.at = Timestamp(1_800_000_000_000_007);
    fixture.append(&[event("1"), event("2"), other.clone(), event("4")]).await?;
    let numbers = async |request: AuditRequest| {
        let records = fixture.audit(&request).await?;
        Ok::<Vec<u64>, String>(records.iter().map(|record| record.seq).collect())
    };
    let some = |text: &str| Some(text.to_owned());
    let filters = [
        ("actor", AuditFilter { actor: some("eve"), ..AuditFilter::default() }),
        ("credential", AuditFilter { credential: other.credential.clone(), ..AuditFilter::default() }),
        ("source", AuditFilter { source: other.source.clone(), ..AuditFilter::default() }),
        ("action", AuditFilter { action: some("access"), ..AuditFilter::default() }),
        ("namespace", AuditFilter { namespace: some("shop"), ..AuditFilter::default() }),
        ("target_kind", AuditFilter { target_kind: some("definition"), ..AuditFilter::default() }),
        ("target_name", AuditFilter { target_name: other.target_name.clone(), ..AuditFilter::default() }),
        ("outcome", AuditFilter { outcome: some("REFUSED"), ..AuditFilter::default() }),
        ("since", AuditFilter { since: Some(other.at), ..AuditFilter::default() }),
    ];
    for (name, filter) in filters {
        let found = numbers(AuditRequest { filter, limit: 10, ..AuditRequest::default() }).await?;
        expect_eq(&format!("the records with {name}"), &found, &vec![3])?;
    }
    let until = AuditFilter { until: Some(other.at), ..AuditFilter::default() };
    let found = numbers(AuditRequest { filter: until, limit: 10, ..AuditRequest::default() }).await?;
    expect_eq("the records with until", &found, &vec![1, 2, 4])?;
    let oldest = AuditRequest { after: 1, before: Some(4), limit: 10, ..AuditRequest::default() };
    expect_eq("the records between 1 and 4", &numbers(oldest).await?, &vec![2, 3])?;
    let newest = AuditRequest { newest_first: true, limit: 2, ..AuditRequest::default() };
    expect_eq("the newest records", &numbers(newest.clone()).await?, &vec![4, 3])?;
    expect_eq("the next page", &numbers(AuditRequest { before: Some(3), ..newest }).await?, &vec![2, 1])
}
