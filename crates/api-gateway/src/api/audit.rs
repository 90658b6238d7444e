//! The audit log.

use super::{Api, PageRequest, cut_to_page, invalid_page_token};
use crate::error::{ApiResult, PARAMETER, Problem};
use crate::time::{self, Time};
use goconductor_store::{
    AuditFilter, AuditHead, AuditOutcome, AuditProblem, AuditRecord, AuditReport, AuditRequest, AuditVerifier,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Number of records that a verification reads at once.
const VERIFY_PAGE: u32 = 1000;
/// The outcomes that a filter may name.
pub(crate) const OUTCOMES: [&str; 4] = [
    AuditOutcome::Allowed.as_str(),
    AuditOutcome::Refused.as_str(),
    AuditOutcome::Failed.as_str(),
    AuditOutcome::Unknown.as_str(),
];

/// A record of the audit log. Without `hash`, its JSON is the text over which the hash is computed, once its names are
/// sorted and white space is removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditRecordView {
    /// Number, from 1 without gaps.
    pub(crate) seq: u64,
    /// Time of the request.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Time,
    /// Identifies the record.
    pub(crate) id: String,
    /// Name of the caller.
    pub(crate) actor: String,
    /// Id of its credential.
    pub(crate) credential: Option<String>,
    /// Address of the peer.
    pub(crate) source: Option<String>,
    /// Operation, such as `workflows.cancel`, or the path of an rpc.
    pub(crate) action: String,
    pub(crate) namespace: Option<String>,
    /// Kind of the target, such as `workflow`. `request` if only the path of the request is known.
    pub(crate) target_kind: Option<String>,
    /// Name or id of the target.
    pub(crate) target_name: Option<String>,
    /// `ALLOWED`, `REFUSED` or `FAILED`.
    pub(crate) outcome: String,
    /// Error code of a request that was refused or failed.
    pub(crate) code: Option<String>,
    /// Number of equal requests that the record stands for.
    pub(crate) count: i64,
    /// Value before the change, as JSON text.
    pub(crate) before: Option<String>,
    /// Value after the change, or the parameters of the request, as JSON text.
    pub(crate) after: Option<String>,
    /// Trace of the request.
    pub(crate) trace_id: Option<String>,
    /// Hash of the record before, in hexadecimal.
    pub(crate) prev_hash: String,
    /// Hash of the record, in hexadecimal.
    pub(crate) hash: String,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditPage {
    /// Records, newest first unless the request has `order=oldest`.
    pub(crate) records: Vec<AuditRecordView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// The last record of the audit log. Kept outside, it shows later whether the log was replaced.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditHeadView {
    /// Number of the record. 0 if the log is empty.
    pub(crate) seq: u64,
    /// Hash of the record, in hexadecimal.
    pub(crate) hash: String,
}

/// A request for a page of the audit log. Texts are as the caller wrote them.
#[derive(Debug, Default)]
pub(crate) struct ListAudit {
    pub(crate) filter: AuditFilter,
    /// RFC 3339.
    pub(crate) since: Option<String>,
    /// RFC 3339.
    pub(crate) until: Option<String>,
    pub(crate) oldest_first: bool,
    pub(crate) page: PageRequest,
}

impl Api {
    /// Lists records.
    pub(crate) async fn list_audit(&self, list: ListAudit) -> ApiResult<AuditPage> {
        let ListAudit { mut filter, since, until, oldest_first, page } = list;
        if let Some(outcome) = filter.outcome.as_deref().filter(|outcome| !OUTCOMES.contains(outcome)) {
            let detail = format!("invalid outcome `{outcome}`: it must be one of {}", OUTCOMES.join(", "));
            return Err(Problem::new(PARAMETER, detail));
        }
        check_filter(&filter)?;
        filter.since = since.map(|text| parse_time("since", &text)).transpose()?;
        filter.until = until.map(|text| parse_time("until", &text)).transpose()?;
        let size = self.page_size(page.size)?;
        let last = page.token().map(parse_page_token).transpose()?;
        let request = AuditRequest {
            filter,
            after: last.filter(|_| oldest_first).unwrap_or(0),
            before: last.filter(|_| !oldest_first),
            newest_first: !oldest_first,
            limit: size.saturating_add(1),
        };
        let mut records = self.store().audit_records(&request).await?;
        let is_more = cut_to_page(&mut records, size);
        let last = records.last().filter(|_| is_more).map(|last| last.seq.to_string());
        let records = records.into_iter().map(view).collect();
        Ok(AuditPage { records, next_page_token: last.unwrap_or_default() })
    }

    /// Returns the last record's number and hash.
    pub(crate) async fn audit_head(&self) -> ApiResult<AuditHeadView> {
        let AuditHead { seq, hash } = self.store().audit_head().await?;
        Ok(AuditHeadView { seq, hash })
    }

    /// Verifies the whole chain. `anchor` is a head that was exported earlier.
    pub(crate) async fn verify_audit(&self, anchor: Option<AuditHead>) -> ApiResult<AuditReport> {
        let mut verifier = AuditVerifier::new(anchor);
        loop {
            let after = verifier.last_seq();
            let request = AuditRequest { after, limit: VERIFY_PAGE, ..AuditRequest::default() };
            let records = self.store().audit_records(&request).await?;
            records.iter().for_each(|record| verifier.check(record));
            if !records.is_empty() {
                continue;
            }
            let head = self.store().audit_head().await?;
            // A record may have been appended after the last page was read.
            if head.seq <= verifier.last_seq() || self.is_removed(after).await? {
                return Ok(verifier.finish(&head));
            }
        }
    }

    /// Whether no record follows `after`, although the head was read after the last page.
    async fn is_removed(&self, after: u64) -> ApiResult<bool> {
        let request = AuditRequest { after, limit: 1, ..AuditRequest::default() };
        Ok(self.store().audit_records(&request).await?.is_empty())
    }
}

/// Checks that no condition is empty: it would match no record, and probably a variable of the caller was not set.
fn check_filter(filter: &AuditFilter) -> ApiResult<()> {
    for (name, value) in [
        ("actor", &filter.actor),
        ("credential", &filter.credential),
        ("source", &filter.source),
        ("action", &filter.action),
        ("namespace", &filter.namespace),
        ("target_kind", &filter.target_kind),
        ("target_name", &filter.target_name),
    ] {
        if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
            return Err(Problem::new(PARAMETER, format!("invalid {name}: it must not be empty")));
        }
    }
    Ok(())
}

fn parse_page_token(token: &str) -> ApiResult<u64> {
    token.parse().map_err(|_| invalid_page_token())
}

fn parse_time(name: &str, text: &str) -> ApiResult<goconductor_saga::Timestamp> {
    time::parse(text).ok_or_else(|| {
        let detail = format!("invalid {name} `{text}`: write a time such as 2026-11-30T08:00:00Z");
        Problem::new(PARAMETER, detail)
    })
}

fn view(record: AuditRecord) -> AuditRecordView {
    let AuditRecord { seq, event, prev_hash, hash } = record;
    AuditRecordView {
        seq,
        time: event.at.into(),
        id: event.id,
        actor: event.actor,
        credential: event.credential,
        source: event.source,
        action: event.action,
        namespace: event.namespace,
        target_kind: event.target_kind,
        target_name: event.target_name,
        outcome: event.outcome,
        code: event.code,
        count: event.count,
        before: event.before,
        after: event.after,
        trace_id: event.trace_id,
        prev_hash,
        hash,
    }
}

/// Describes a problem for a message.
pub(crate) fn describe(problem: AuditProblem) -> (u64, &'static str, String) {
    (problem.seq, problem.kind.as_str(), problem.detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::Timestamp;
    use goconductor_store::AuditEvent;

    #[test]
    fn record_of_the_api_is_the_text_that_was_hashed() {
        let event = AuditEvent {
            id: "e-1".to_owned(),
            at: Timestamp(1_800_000_000_000_001),
            actor: "ada\u{e4}".to_owned(),
            credential: None,
            source: Some("192.0.2.7".to_owned()),
            action: "services.put".to_owned(),
            namespace: Some("default".to_owned()),
            target_kind: Some("service".to_owned()),
            target_name: Some("payments\n".to_owned()),
            outcome: "ALLOWED".to_owned(),
            code: None,
            count: 1,
            before: None,
            after: Some(r#"{"max_in_flight":7}"#.to_owned()),
            trace_id: None,
        };
        let record = AuditRecord { seq: 7, event, prev_hash: "0".repeat(64), hash: "f".repeat(64) };
        let canonical: serde_json::Value = serde_json::from_str(&record.canonical()).unwrap();
        let mut shown = serde_json::to_value(view(record)).unwrap();
        assert_eq!(shown.as_object_mut().unwrap().remove("hash"), Some("f".repeat(64).into()));
        assert_eq!(shown, canonical);
    }
}
