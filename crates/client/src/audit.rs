//! Requests about the audit log.

use crate::{Client, Error, Reply};
use reqwest::Method;
use serde::Deserialize;

/// A request for a page of the audit log. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditListing {
    /// Conditions: the names of the query parameters, such as `actor`, and their values.
    pub conditions: Vec<(&'static str, String)>,
    /// Whether the oldest records come first.
    pub oldest_first: bool,
    /// Size of the page: 1 to 1000. `None` for the server's default.
    pub page_size: Option<u32>,
    /// `next_page_token` of the previous page. Empty for the first page.
    pub page_token: String,
}

impl Client {
    /// Lists records of the audit log.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn audit(&self, listing: &AuditListing) -> Result<Reply<AuditPage>, Error> {
        let mut query = listing.conditions.clone();
        if listing.oldest_first {
            query.push(("order", "oldest".to_owned()));
        }
        query.extend(listing.page_size.map(|size| ("page_size", size.to_string())));
        if !listing.page_token.is_empty() {
            query.push(("page_token", listing.page_token.clone()));
        }
        self.call(self.api(Method::GET, &["audit"]).query(&query)).await
    }

    /// Returns the number and the hash of the last record of the audit log.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn audit_head(&self) -> Result<Reply<AuditHead>, Error> {
        self.call(self.api(Method::GET, &["audit", "head"])).await
    }
}

/// A record of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuditRecord {
    /// The number, from 1 without gaps.
    pub seq: u64,
    /// The time of the request.
    pub time: String,
    /// Identifies the record.
    pub id: String,
    /// The name of the caller.
    pub actor: String,
    /// The id of its credential.
    pub credential: Option<String>,
    /// The address of the peer.
    pub source: Option<String>,
    /// The operation, such as `workflows.cancel`, or the path of an rpc.
    pub action: String,
    /// The namespace of the target.
    pub namespace: Option<String>,
    /// The kind of the target, such as `workflow`.
    pub target_kind: Option<String>,
    /// The name or the id of the target.
    pub target_name: Option<String>,
    /// `ALLOWED`, `REFUSED`, `FAILED` or `UNKNOWN`.
    pub outcome: String,
    /// The error code of a request that was refused or failed.
    pub code: Option<String>,
    /// The number of equal requests that the record stands for.
    pub count: i64,
    /// The value before the change, as JSON text.
    pub before: Option<String>,
    /// The value after the change, or the parameters of the request, as JSON text.
    pub after: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// The hash of the record before, in hexadecimal.
    pub prev_hash: String,
    /// The hash of the record, in hexadecimal.
    pub hash: String,
}

/// A page of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<AuditRecord>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}

/// The last record of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuditHead {
    /// The number of the record. 0 if the log is empty.
    pub seq: u64,
    /// The hash of the record, in hexadecimal.
    pub hash: String,
}
