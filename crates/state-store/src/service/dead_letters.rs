//! Dead letters.

use super::into_status;
use goconductor_saga::Timestamp;
use goconductor_store::{DeadLetterPosition, DeadLetterStore};
use goconductor_wire::internal as wire;
use tonic::Status;

pub(super) async fn put_dead_letters(
    store: &dyn DeadLetterStore,
    request: wire::PutDeadLettersRequest,
) -> Result<wire::PutDeadLettersResponse, Status> {
    let letters: Vec<_> = request.letters.into_iter().map(Into::into).collect();
    let created = into_status(store.put_dead_letters(&letters).await)?;
    Ok(wire::PutDeadLettersResponse { created })
}

pub(super) async fn list_dead_letters(
    store: &dyn DeadLetterStore,
    request: wire::ListDeadLettersRequest,
) -> Result<wire::ListDeadLettersResponse, Status> {
    let wire::ListDeadLettersRequest { before_at, before_id, limit } = request;
    let before = before_at.map(|at| DeadLetterPosition { at: Timestamp(at), id: before_id });
    let letters = into_status(store.dead_letters(before.as_ref(), limit).await)?;
    let letters = letters.iter().map(Into::into).collect();
    Ok(wire::ListDeadLettersResponse { letters })
}

pub(super) async fn get_dead_letter(
    store: &dyn DeadLetterStore,
    request: wire::GetDeadLetterRequest,
) -> Result<wire::GetDeadLetterResponse, Status> {
    let letter = into_status(store.dead_letter(&request.id).await)?;
    Ok(wire::GetDeadLetterResponse { letter: letter.as_ref().map(Into::into) })
}

pub(super) async fn delete_dead_letter(
    store: &dyn DeadLetterStore,
    request: wire::DeleteDeadLetterRequest,
) -> Result<wire::DeleteDeadLetterResponse, Status> {
    let deleted = into_status(store.delete_dead_letter(&request.id).await)?;
    Ok(wire::DeleteDeadLetterResponse { deleted })
}
