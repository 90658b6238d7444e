//! Requests about the audit log.

use crate::{AuditHead, AuditPage, Client, Error, Reply};
use reqwest::Method;

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
