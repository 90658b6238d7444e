//! Verification of the chain.

use super::{AuditHead, AuditRecord};

/// Maximum number of problems that are listed. If the log was replaced as a whole, each record would be one.
const MAX_PROBLEMS: usize = 1000;

/// Verifies the records of a log, which must be passed in order.
#[derive(Debug, Default)]
pub struct AuditVerifier {
    last: AuditHead,
    anchor: Option<AuditHead>,
    report: AuditReport,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// The number of records.
    pub records: u64,
    /// The last record.
    pub head: AuditHead,
    /// The problems, in the order of their numbers, at most 1000.
    pub problems: Vec<AuditProblem>,
}

/// A break of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProblem {
    /// The number of the record. For records that were removed, the number of the first one.
    pub seq: u64,
    /// The kind.
    pub kind: AuditProblemKind,
    /// The details for an operator.
    pub detail: String,
}

/// The kind of a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditProblemKind {
    /// The content does not have the hash of the record.
    Altered,
    /// Records are missing.
    Removed,
    /// The record does not continue the one before it, or lies behind the head.
    Inserted,
    /// The log is not a continuation of the anchor.
    Anchor,
}

impl AuditProblemKind {
    /// The name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Altered => "ALTERED",
            Self::Removed => "REMOVED",
            Self::Inserted => "INSERTED",
            Self::Anchor => "ANCHOR",
        }
    }
}

impl AuditVerifier {
    /// Creates a verifier. `anchor` is a head that was exported earlier.
    #[must_use]
    pub fn new(anchor: Option<AuditHead>) -> Self {
        Self { anchor, ..Self::default() }
    }

    /// Returns the number of the last record that was checked.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last.seq
    }

    /// Checks the next record.
    pub fn check(&mut self, record: &AuditRecord) {
        let (seq, next) = (record.seq, self.last.seq.saturating_add(1));
        self.report.records = self.report.records.saturating_add(1);
        if seq > next {
            self.removed(next, seq.saturating_sub(1));
        } else if seq < next {
            self.problem(
                seq,
                AuditProblemKind::Inserted,
                format!("record {seq} follows record {}", self.last.seq),
            );
        } else if record.prev_hash != self.last.hash {
            let detail = format!(
                "record {seq} does not continue record {}: it was inserted, or the record before it was replaced",
                self.last.seq
            );
            self.problem(seq, AuditProblemKind::Inserted, detail);
        }
        if record.computed_hash() != record.hash {
            self.problem(seq, AuditProblemKind::Altered, format!("the content of record {seq} was altered"));
        }
        if self.anchor.as_ref().is_some_and(|anchor| anchor.seq == seq && anchor.hash != record.hash) {
            let detail = format!("record {seq} is not the one of the anchor: the log was replaced up to it");
            self.problem(seq, AuditProblemKind::Anchor, detail);
        }
        self.last = AuditHead { seq, hash: record.hash.clone() };
    }

    /// Checks the end of the log. `head` must have been read after the last record.
    #[must_use]
    pub fn finish(mut self, head: &AuditHead) -> AuditReport {
        let last = self.last.clone();
        let end = self.anchor.as_ref().map_or(0, |anchor| anchor.seq).max(head.seq);
        if end > last.seq {
            self.removed(last.seq.saturating_add(1), end);
        } else if head.seq < last.seq {
            let first = head.seq.saturating_add(1);
            let detail = format!("records {first} to {} follow the head of the log", last.seq);
            self.problem(first, AuditProblemKind::Inserted, detail);
        } else if head.hash != last.hash {
            let detail = format!("record {} is not the head of the log: one of them was replaced", last.seq);
            self.problem(last.seq, AuditProblemKind::Altered, detail);
        }
        self.report.problems.sort_by_key(|problem| problem.seq);
        self.report.head = last;
        self.report
    }

    fn removed(&mut self, first: u64, last: u64) {
        let detail = if first == last {
            format!("record {first} was removed")
        } else {
            format!("records {first} to {last} were removed")
        };
        self.problem(first, AuditProblemKind::Removed, detail);
    }

    fn problem(&mut self, seq: u64, kind: AuditProblemKind, detail: String) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(AuditProblem { seq, kind, detail });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuditEvent, chained};
    use super::*;
    use goconductor_saga::Timestamp;

    fn event(number: i64) -> AuditEvent {
        AuditEvent {
            id: format!("e-{number}"),
            at: Timestamp(number),
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

    fn log(length: i64) -> Vec<AuditRecord> {
        chained(&AuditHead::default(), (1..=length).map(event))
    }

    fn head(records: &[AuditRecord]) -> AuditHead {
        records
            .last()
            .map_or_else(AuditHead::default, |last| AuditHead { seq: last.seq, hash: last.hash.clone() })
    }

    fn problems(
        records: &[AuditRecord],
        head: &AuditHead,
        anchor: Option<AuditHead>,
    ) -> Vec<(u64, &'static str)> {
        let mut verifier = AuditVerifier::new(anchor);
        records.iter().for_each(|record| verifier.check(record));
        let report = verifier.finish(head);
        report.problems.iter().map(|problem| (problem.seq, problem.kind.as_str())).collect()
    }

    #[test]
    fn every_change_of_a_row_is_found_by_its_number() {
        let clean = log(5);
        let end = head(&clean);
        assert_eq!(problems(&clean, &end, None), []);
        assert_eq!(problems(&clean, &end, Some(head(&clean[..3]))), []);
        assert_eq!(problems(&[], &AuditHead::default(), None), []);
        let changed = |change: fn(&mut Vec<AuditRecord>)| {
            let mut records = clean.clone();
            change(&mut records);
            problems(&records, &end, None)
        };
        assert_eq!(changed(|records| records[2].event.actor = "eve".to_owned()), [(3, "ALTERED")]);
        assert_eq!(changed(|records| records[2].event.at = Timestamp(9)), [(3, "ALTERED")]);
        assert_eq!(changed(|records| records[0].event.before = Some(String::new())), [(1, "ALTERED")]);
        assert_eq!(changed(|records| drop(records.remove(2))), [(3, "REMOVED")]);
        assert_eq!(changed(|records| drop(records.drain(..2))), [(1, "REMOVED")]);
        assert_eq!(changed(|records| records.truncate(3)), [(4, "REMOVED")]);
        assert_eq!(changed(|records| records.clear()), [(1, "REMOVED")]);
        assert_eq!(
            changed(|records| {
                let forged = chained(&head(records), [event(9)].into_iter());
                records.extend(forged);
            }),
            [(6, "INSERTED")]
        );
        assert_eq!(
            changed(|records| {
                records[2].event.actor = "eve".to_owned();
                records[2].hash = records[2].computed_hash();
            }),
            [(4, "INSERTED")]
        );
    }

    #[test]
    fn anchor_shows_a_new_chain_and_a_removed_tail() {
        let clean = log(5);
        let anchor = Some(head(&clean[..4]));
        let mut other = clean.clone();
        other[1].event.actor = "eve".to_owned();
        let other = chained(&AuditHead::default(), other.into_iter().map(|record| record.event));
        assert_eq!(problems(&other, &head(&other), None), [], "only the anchor shows it");
        assert_eq!(problems(&other, &head(&other), anchor.clone()), [(4, "ANCHOR")]);
        let short = &clean[..2];
        assert_eq!(problems(short, &head(short), None), []);
        assert_eq!(problems(short, &head(short), anchor), [(3, "REMOVED")]);
    }
}
