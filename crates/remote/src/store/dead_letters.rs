//! Dead letters.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_store::{DeadLetter, DeadLetterPosition, DeadLetterStore, Error};
use goconductor_wire::internal as wire;

#[async_trait]
impl DeadLetterStore for RemoteStore {
    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        let request = wire::PutDeadLettersRequest { letters: letters.iter().map(Into::into).collect() };
        let response = self.call(Repeat::Idempotent, rpc!(put_dead_letters, request)).await?;
        Ok(response.created)
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPosition>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let before_id = before.map(|position| position.id.clone()).unwrap_or_default();
        let before_at = before.map(|position| position.at.0);
        let request = wire::ListDeadLettersRequest { before_at, before_id, limit };
        let response = self.read(rpc!(list_dead_letters, request)).await?;
        Ok(response.letters.into_iter().map(Into::into).collect())
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let request = wire::GetDeadLetterRequest { id: id.to_owned() };
        let response = self.read(rpc!(get_dead_letter, request)).await?;
        Ok(response.letter.map(Into::into))
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        let request = wire::DeleteDeadLetterRequest { id: id.to_owned() };
        let response = self.call(Repeat::Never, rpc!(delete_dead_letter, request)).await?;
        Ok(response.deleted)
    }
}
