//! Lists of workflows.

use crate::conductor::Conductor;
use crate::error::Error;
use futures::stream::{self, Stream};
use goconductor_client::{Client, Listing, Workflow};
use std::collections::VecDeque;

/// The workflows of a list, newest first. Pages are requested as they are needed.
#[derive(Debug)]
pub struct WorkflowList {
    client: Client,
    /// The request for the next page; `None` after the last page and after an error.
    next_page: Option<Listing>,
    /// The workflows of the current page that were not returned yet.
    page: VecDeque<Workflow>,
}

impl Conductor {
    /// Lists workflows, newest first. Steps, inputs and outputs are absent: [`Handle::describe`](crate::Handle::describe)
    /// returns them. Sends no request yet.
    ///
    /// ```no_run
    /// use goconductor::Listing;
    ///
    /// # async fn run(conductor: goconductor::Conductor) -> Result<(), goconductor::Error> {
    /// let listing = Listing { filter: Some("status = ERROR".to_owned()), ..Listing::default() };
    /// let mut workflows = conductor.list(listing);
    /// while let Some(workflow) = workflows.next().await {
    ///     println!("{}", workflow?.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn list(&self, listing: Listing) -> WorkflowList {
        WorkflowList { client: self.client().clone(), next_page: Some(listing), page: VecDeque::new() }
    }
}

impl WorkflowList {
    /// Returns the next workflow, or `None` after the last. Cancel-safe.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the filter is invalid or the gateway cannot be reached. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Workflow, Error>> {
        while self.page.is_empty() {
            // The request is kept until its response, so that a call that is dropped in between loses no page.
            let listing = self.next_page.clone()?;
            let response = self.client.workflows(&listing).await;
            self.next_page = None;
            let page = match response {
                Ok(reply) => reply.value,
                Err(error) => return Some(Err(error.into())),
            };
            self.page = page.workflows.into();
            let token = page.next_page_token.filter(|token| !token.is_empty());
            self.next_page = token.map(|token| Listing { page_token: Some(token), ..listing });
        }
        self.page.pop_front().map(Ok)
    }

    /// Returns the workflows as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Workflow, Error>> + Send {
        stream::unfold(self, |mut list| async move {
            let item = list.next().await?;
            Some((item, list))
        })
    }
}
