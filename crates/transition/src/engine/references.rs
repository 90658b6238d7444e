//! Payloads that workflows carry by reference: the engine stores a large value before the transition that refers to it, and
//! reads it only where its value is needed.
//!
//! A payload is linked to its workflow before the commit, and the link keeps it. A process that is killed between the two
//! leaves a link without a reference. The link is removed with the workflow or, if the workflow does not exist, by the
//! maintenance of the store.

use super::Engine;
use crate::payload_memory::LoadedPayloads;
use crate::payload_values::{
    carries_payloads, chunks, exceeds, insert_payloads, payload_bytes, references, replace,
};
use crate::{Error, clock, payloads};
use goconductor_saga::{
    ChildEnd, EventKind, Failure, Input, Json, Outcome, PayloadDigest, PayloadRef, RulesVersion, Side, State,
    Transition, WorkflowId,
};
use goconductor_secrets::{PayloadKey, Randomness, payload_key_version};
use goconductor_store::{Error as StoreError, PayloadChunk, PayloadLink, StoredPayload};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Maximum repetitions of a write whose outcome is unknown. Each write is idempotent.
const MAX_UNKNOWN_RETRIES: u32 = 3;
/// Texts from this size on are encoded and decoded on a thread that serves no other tasks.
const LONG_TEXT_BYTES: u64 = 256 << 10;
/// Maximum bytes of all payloads in one value, such as the input of a compensation.
const MAX_EXPANDED_BYTES: u64 = 160 << 20;
/// The first character of a chunk that is encrypted.
const SEALED: &str = "s";
/// The first character of a chunk that is not encrypted.
const PLAIN: &str = "p";

/// The workflow that payloads are read for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PayloadOwner<'a> {
    pub(super) namespace: &'a str,
    pub(super) id: WorkflowId,
    /// The workflow that has the step whose elements this one runs. Their expressions refer to it.
    pub(super) elements_of: Option<WorkflowId>,
}

impl<'a> PayloadOwner<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self { namespace: &state.namespace, id: state.id, elements_of: state.elements_of() }
    }

    fn stored(&self, digest: PayloadDigest) -> StoredPayload {
        StoredPayload { namespace: self.namespace.to_owned(), digest }
    }

    /// Returns what binds an encrypted chunk to its payload. Workflows share payloads, so they are not part of it.
    fn place(&self, digest: PayloadDigest, number: u32) -> String {
        format!("{}/payload/{digest}/{number}", self.namespace)
    }
}

impl Engine {
    /// Sets the size from which on a payload is stored apart from the state, in bytes.
    pub fn set_inline_bytes(&self, bytes: usize) {
        self.inline_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns whether a value is stored apart from the state. A value that looks like a reference is stored as well, so
    /// that no caller can name the payload of another one.
    fn is_stored_apart(&self, value: &Json) -> bool {
        let is_large =
            PayloadRef::of(value).is_some() || exceeds(value, &mut self.inline_bytes.load(Ordering::Relaxed));
        is_large && self.stores_payloads()
    }

    /// Returns whether large payloads are stored apart from the state. An earlier release in use does not know references,
    /// so they are part of the state until the upgrade is finished.
    #[must_use]
    pub fn stores_payloads(&self) -> bool {
        *self.start_rules.lock() >= RulesVersion::CURRENT
    }

    /// Returns the input of a start, or the reference to it if it is large. The input of a child can be a payload of its
    /// parent.
    pub(super) async fn stored_start(
        &self,
        owner: PayloadOwner<'_>,
        input: Json,
        parent: Option<WorkflowId>,
    ) -> Result<Json, Error> {
        if let (Some(parent), Some(reference)) = (parent, PayloadRef::of(&input)) {
            self.link_from(owner, reference, parent).await?;
            return Ok(input);
        }
        if !self.is_stored_apart(&input) {
            return Ok(input);
        }
        Ok(self.store_payload(owner, &Arc::new(input)).await?.to_json())
    }

    /// Stores the large values of an input, and puts references in their place. If that fails, the input is unchanged and
    /// the call can be repeated. An input that was changed must be applied by [`submit_stored`](Self::submit_stored).
    ///
    /// # Errors
    /// Returns the errors of [`Engine::load`], and [`Error::Store`] if a value was not stored.
    pub async fn store_values(&self, id: WorkflowId, input: &mut Input) -> Result<(), Error> {
        match input {
            Input::ReportOutcome { side: Side::Execute, outcome: Outcome::Done { output }, .. }
            | Input::CompleteStep { output, .. } => {
                let stored = self.stored_value(id, output).await?;
                *output = stored.unwrap_or_else(|| std::mem::take(output));
                Ok(())
            }
            Input::Signal { payload, .. } => {
                if let Some(stored) = self.stored_value(id, Arc::make_mut(payload)).await? {
                    *payload = Arc::new(stored);
                }
                Ok(())
            }
            // The output of a child was stored when the child completed. A later input of the same transition can make the
            // parent forget the child, so the parent gets its link first.
            Input::ChildEnded { child: Some(child), end: ChildEnd::Completed { output }, .. } => {
                if let Some(reference) = PayloadRef::of(output) {
                    let state = self.cached_or_load(id).await?;
                    self.link_from(PayloadOwner::of(&state), reference, *child).await?;
                }
                Ok(())
            }
            Input::ChildEnded { .. }
            | Input::ReportOutcome { .. }
            | Input::StartAttempt { .. }
            | Input::LoseAttempt { .. }
            | Input::WithdrawCommand { .. }
            | Input::FireTimer { .. }
            | Input::AcquireLocks { .. }
            | Input::Cancel { .. }
            | Input::RollBack { .. }
            | Input::Rerun { .. }
            | Input::ChildStarted { .. }
            | Input::Terminate { .. }
            | Input::Pause { .. }
            | Input::Resume { .. }
            | Input::RetryStep { .. }
            | Input::SkipStep { .. } => Ok(()),
        }
    }

    /// Stores a value if it is large, and returns the reference. The value is unchanged if it was not stored.
    async fn stored_value(&self, id: WorkflowId, value: &mut Json) -> Result<Option<Json>, Error> {
        if !self.is_stored_apart(value) {
            return Ok(None);
        }
        let state = self.cached_or_load(id).await?;
        let owner = PayloadOwner::of(&state);
        let shared = Arc::new(std::mem::take(value));
        match self.store_payload(owner, &shared).await {
            Ok(reference) => Ok(Some(reference.to_json())),
            Err(error) => {
                *value = Arc::unwrap_or_clone(shared);
                Err(error)
            }
        }
    }

    /// Stores the large values that the rules made, and links the payloads that a child has passed on.
    pub(super) async fn with_stored_values(&self, mut transition: Transition) -> Result<Transition, Error> {
        for at in 0..transition.events.len() {
            let Some(event) = transition.events.get_mut(at) else { continue };
            let Some(value) = payloads::value_of(&mut event.kind).map(|value| Arc::clone(value)) else {
                continue;
            };
            if let Some(reference) = PayloadRef::of(&value) {
                if let EventKind::StepCompleted { step, .. } = &event.kind
                    && let Some(child) = transition.state.step(*step).and_then(|step| step.child)
                {
                    self.link_from(PayloadOwner::of(&transition.state), reference, child).await?;
                }
                continue;
            }
            let carries = carries_payloads(&transition.state);
            if !carries && !self.is_stored_apart(&value) {
                continue;
            }
            let owner = PayloadOwner::of(&transition.state);
            let mut new = Arc::clone(&value);
            match over_expanded_limit(if carries { payload_bytes(&new) } else { 0 }) {
                None if carries => new = self.expanded(owner, new).await?,
                None => {}
                // The steps have completed, and an error here would be repeated without end.
                Some(reason) => {
                    refuse_output(&mut transition, at, reason);
                    continue;
                }
            }
            if self.is_stored_apart(&new) {
                new = Arc::new(self.store_payload(owner, &new).await?.to_json());
            }
            if !Arc::ptr_eq(&new, &value) {
                replace(&mut transition, at, &value, &new);
            }
        }
        Ok(transition)
    }

    /// Links a payload of another workflow. A value that looks like a reference, but is not a payload of that workflow, is
    /// not linked: a digest alone must not give access to a payload.
    pub(super) async fn link_from(
        &self,
        owner: PayloadOwner<'_>,
        reference: PayloadRef,
        from: WorkflowId,
    ) -> Result<(), Error> {
        let digest = reference.digest;
        if self.payloads.links.lock().get(&(owner.id, digest)).is_some() {
            return Ok(());
        }
        if self.store.payload_chunk(&owner.stored(digest), from, 0).await?.is_some() {
            // The payload is complete, because the other workflow refers to it.
            self.link_chunks(owner, digest, 0).await?;
        }
        Ok(())
    }

    /// Links a payload. Returns whether it has as many chunks.
    async fn link_chunks(
        &self,
        owner: PayloadOwner<'_>,
        digest: PayloadDigest,
        chunks: u32,
    ) -> Result<bool, Error> {
        let link =
            PayloadLink { payload: owner.stored(digest), workflow: owner.id, chunks, now: clock::now() };
        let stored = repeated(|| self.store.link_payload(&link)).await?;
        self.payloads.links.lock().put((owner.id, digest), ());
        Ok(stored)
    }

    /// Stores a value, linked to a workflow. Returns the reference. Each process can repeat it at any point.
    async fn store_payload(&self, owner: PayloadOwner<'_>, value: &Arc<Json>) -> Result<PayloadRef, Error> {
        let permit = self.payloads.conversions.acquire().await;
        let encoded = Arc::clone(value);
        let encode = move || {
            let text = encoded.to_string();
            let digest = digest_of(&text);
            (text, digest)
        };
        let (text, digest) = tokio::task::spawn_blocking(encode).await.map_err(|_| STOPPED)?;
        let reference = PayloadRef { digest, bytes: u64::try_from(text.len()).unwrap_or(u64::MAX) };
        let count = u32::try_from(chunks(&text).count()).unwrap_or(u32::MAX);
        if !self.link_chunks(owner, digest, count).await? {
            let key = match self.keys().filter(|keys| keys.seals(owner.namespace)) {
                Some(keys) => Some(keys.current(owner.namespace).await?),
                None => None,
            };
            for (number, part) in (0u32..).zip(chunks(&text)) {
                let data = encoded_chunk(key.as_deref(), &owner.place(digest, number), part)?;
                let chunk = PayloadChunk { payload: owner.stored(digest), number, data };
                repeated(|| self.store.put_payload_chunk(&chunk)).await?;
            }
        }
        drop(permit);
        self.payloads.put(owner.id, reference, value);
        Ok(reference)
    }

    /// Returns the text of a chunk of a payload of a workflow. Returns `None` if there is no such chunk, or if the payload
    /// is not one of the workflow.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store failed, or if an encrypted chunk cannot be opened.
    pub async fn payload_chunk(
        &self,
        namespace: &str,
        id: WorkflowId,
        digest: PayloadDigest,
        number: u32,
    ) -> Result<Option<String>, Error> {
        let owner = PayloadOwner { namespace, id, elements_of: None };
        let Some(data) = self.store.payload_chunk(&owner.stored(digest), id, number).await? else {
            return Ok(None);
        };
        let place = owner.place(digest, number);
        let corrupt = |reason: &str| StoreError::corrupt(format!("a chunk of {place}"), reason);
        let text = String::from_utf8(data).map_err(|_| corrupt("it is not UTF-8"))?;
        if let Some(plain) = text.strip_prefix(PLAIN) {
            return Ok(Some(plain.to_owned()));
        }
        let sealed = text.strip_prefix(SEALED).ok_or_else(|| corrupt("its form is not known"))?;
        let version = payload_key_version(sealed).ok_or_else(|| corrupt("it has no key version"))?;
        let keys = self.keys().ok_or_else(|| {
            let reason = "is encrypted, and this process has no master key: set secrets.master_key";
            StoreError::configuration(format!("payload {digest} of workflow {id} {reason}"))
        })?;
        let key = keys.version(namespace, version).await?;
        Ok(Some(key.open(&place, sealed).map_err(|error| corrupt(&error.to_string()))?))
    }

    /// Returns the value of a payload of a workflow. The digest identifies it. The size in the reference is not used.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store failed, or if the payload is not complete or was changed.
    pub async fn payload(
        &self,
        namespace: &str,
        id: WorkflowId,
        reference: PayloadRef,
    ) -> Result<Arc<Json>, Error> {
        self.payload_of(PayloadOwner { namespace, id, elements_of: None }, reference).await
    }

    async fn payload_of(&self, owner: PayloadOwner<'_>, reference: PayloadRef) -> Result<Arc<Json>, Error> {
        for id in [Some(owner.id), owner.elements_of].into_iter().flatten() {
            if let Some(value) = self.found_payload(owner.namespace, id, reference.digest).await? {
                return Ok(value);
            }
        }
        // The workflow has no such payload, so this is a value of its own that looks like a reference.
        let PayloadRef { digest, .. } = reference;
        tracing::warn!(workflow = %owner.id, %digest, "payload was not found; its reference is used as a value");
        Ok(Arc::new(reference.to_json()))
    }

    async fn found_payload(
        &self,
        namespace: &str,
        id: WorkflowId,
        digest: PayloadDigest,
    ) -> Result<Option<Arc<Json>>, Error> {
        if let Some(value) = self.payloads.get(id, digest) {
            return Ok(Some(value));
        }
        let _permit = self.payloads.conversions.acquire().await;
        let mut text = String::new();
        let mut number = 0;
        while let Some(part) = self.payload_chunk(namespace, id, digest, number).await? {
            text.push_str(&part);
            number += 1;
        }
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let decode = move || {
            if digest_of(&text) != digest {
                let what = format!("payload {digest} of workflow {id}");
                let reason = format!("the {bytes} stored bytes have another digest");
                return Err(StoreError::corrupt(what, reason));
            }
            goconductor_store::json::parsed::<Json>("a payload", &text).map(Arc::new)
        };
        let value = if bytes < LONG_TEXT_BYTES {
            decode()?
        } else {
            tokio::task::spawn_blocking(decode).await.map_err(|_| STOPPED)??
        };
        self.payloads.put(id, PayloadRef { digest, bytes }, &value);
        Ok(Some(value))
    }

    /// Returns the payloads of a workflow that a decision needs.
    pub(super) async fn load_payloads(
        &self,
        owner: PayloadOwner<'_>,
        loaded: &mut LoadedPayloads,
        missing: Vec<PayloadRef>,
    ) -> Result<(), Error> {
        for reference in missing {
            if !loaded.has(reference.digest) {
                let value = self.payload_of(owner, reference).await?;
                loaded.insert(reference.digest, value);
            }
        }
        Ok(())
    }

    /// Returns a value with the payloads in place of the references in it.
    pub(super) async fn expanded(
        &self,
        owner: PayloadOwner<'_>,
        value: Arc<Json>,
    ) -> Result<Arc<Json>, Error> {
        if let Some(reference) = PayloadRef::of(&value) {
            return self.payload_of(owner, reference).await;
        }
        let mut found = Vec::new();
        references(&value, &mut found);
        if found.is_empty() {
            return Ok(value);
        }
        if let Some(reason) = over_expanded_limit(payload_bytes(&value)) {
            return Err(StoreError::configuration(format!("workflow {}: {reason}", owner.id)).into());
        }
        let mut loaded = LoadedPayloads::default();
        self.load_payloads(owner, &mut loaded, found).await?;
        let mut value = Arc::unwrap_or_clone(value);
        insert_payloads(&mut value, &loaded);
        Ok(Arc::new(value))
    }
}

const STOPPED: Error = Error::Internal("the thread that converts payloads stopped");

/// Returns why payloads of so many bytes cannot be parts of one value.
pub(super) fn over_expanded_limit(bytes: u64) -> Option<String> {
    (bytes > MAX_EXPANDED_BYTES).then(|| {
        format!(
            "the value contains payloads of {bytes} bytes, and the limit is {MAX_EXPANDED_BYTES}; pass fewer of them"
        )
    })
}

/// Takes the output of a workflow back that cannot be stored. Any other value remains as it is: it comes from a
/// participant, which wrote what looks like references.
fn refuse_output(transition: &mut Transition, event: usize, reason: String) {
    let event = transition.events.get_mut(event).map(|event| &mut event.kind);
    let Some(EventKind::WorkflowCompleted { output, failure }) = event else { return };
    *output = Arc::new(Json::Null);
    *failure = Some(Failure::of("OUTPUT_TOO_LARGE", reason));
    transition.state.output = Some(Arc::clone(output));
    transition.state.error.clone_from(failure);
}

fn digest_of(text: &str) -> PayloadDigest {
    PayloadDigest(Sha256::digest(text.as_bytes()).into())
}

fn encoded_chunk(key: Option<&PayloadKey>, place: &str, part: &str) -> Result<Vec<u8>, Error> {
    let Some(key) = key else { return Ok([PLAIN.as_bytes(), part.as_bytes()].concat()) };
    let nonce =
        Randomness::nonce().map_err(|_| Error::Internal("the operating system has no random bytes"))?;
    Ok([SEALED.as_bytes(), key.seal(place, part, nonce).as_bytes()].concat())
}

/// Repeats an idempotent write whose outcome is unknown.
async fn repeated<T, F>(write: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut retries = 0;
    loop {
        match write().await {
            Err(StoreError::OutcomeUnknown { .. }) if retries < MAX_UNKNOWN_RETRIES => retries += 1,
            other => return other,
        }
    }
}
