//! A bank of the money transfer. The program runs once for each bank, `north` and `south`, each with a database of its own.

use clap::Parser;
use goconductor::{ActionError, CompensationInput, Context, ProbeAnswer, Service};
use goconductor_example_participant::{Arguments, Database, compensated, executed, rolled_back, run_with};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use std::time::Duration;

/// `token` is the highest fencing token that has changed the account.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS accounts (
    id TEXT NOT NULL PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0), token INTEGER NOT NULL DEFAULT 0
);
INSERT OR IGNORE INTO accounts (id, balance) VALUES ('ada', 100), ('bob', 100), ('late', 0), ('lost', 0);
CREATE TABLE IF NOT EXISTS credits (key TEXT NOT NULL PRIMARY KEY, balance INTEGER NOT NULL)";

/// How long after its deadline a late answer is sent.
const LATE: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
struct BankArguments {
    /// Name of the bank: north or south
    #[arg(long)]
    bank: String,
    #[command(flatten)]
    common: Arguments,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Amount {
    account: String,
    amount: i64,
}

/// One change of an account.
#[derive(Debug)]
struct Change {
    account: String,
    amount: i64,
    /// The fencing token of the transfer's lock on the account.
    token: i64,
}

/// A bank. Cheap to clone.
#[derive(Debug, Clone)]
struct Bank {
    name: String,
    database: Database,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let BankArguments { bank, common } = BankArguments::parse();
    run_with(common, TABLES, |database| [service(&Bank { name: bank, database })]).await
}

fn service(bank: &Bank) -> Service {
    let [debiting, crediting_back, crediting, debiting_back, finding] = [(); 5].map(|()| bank.clone());
    Service::new(format!("{}-bank", bank.name))
        .action("debit", move |context, input| debiting.clone().debit(context, input))
        .compensation("credit_back", move |context, input| crediting_back.clone().undo(context, input, 1))
        .action("credit", move |context, input| crediting.clone().credit(context, input))
        .compensation("debit_back", move |context, input| debiting_back.clone().undo(context, input, -1))
        .probe("find_credit", move |context, input| finding.clone().find_credit(context, input))
}

impl Bank {
    async fn debit(self, context: Context, input: Amount) -> Result<Value, ActionError> {
        let change = self.change(&context, &input, -1)?;
        let done = self.database.inbox.execute(context.key(), |db| {
            Box::pin(async move {
                let balance = apply(db, &change).await?;
                Ok(json!({"balance": balance}))
            })
        });
        executed(done.await)
    }

    /// Credits the account. The account `late` is credited and answered too late, and a request for `lost` is lost.
    async fn credit(self, context: Context, input: Amount) -> Result<Value, ActionError> {
        let late = context.time_left().saturating_add(LATE);
        if input.account == "lost" {
            tokio::time::sleep(late).await;
            return Err(ActionError::unknown("LOST", "the request was lost"));
        }
        let (change, key) = (self.change(&context, &input, 1)?, context.key().to_owned());
        let done = self.database.inbox.execute(context.key(), |db| {
            Box::pin(async move {
                let balance = apply(&mut *db, &change).await?;
                sqlx::query("INSERT INTO credits (key, balance) VALUES (?1, ?2)")
                    .bind(key)
                    .bind(balance)
                    .execute(db)
                    .await
                    .map_err(|error| rolled_back(&error))?;
                Ok(json!({"balance": balance}))
            })
        });
        let output = executed(done.await)?;
        if input.account == "late" {
            tokio::time::sleep(late).await;
        }
        Ok(output)
    }

    /// Answers whether the credit with this idempotency key happened. The bank keeps no queue of requests, so a credit
    /// that did not happen before its deadline will not happen.
    async fn find_credit(self, context: Context, _: Amount) -> Result<ProbeAnswer<Value>, ActionError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT balance FROM credits WHERE key = ?1")
            .bind(context.key())
            .fetch_optional(&self.database.pool)
            .await
            .map_err(|error| rolled_back(&error))?;
        Ok(match found {
            Some(balance) => ProbeAnswer::Done(json!({"balance": balance})),
            None => ProbeAnswer::NotDone,
        })
    }

    /// Undoes a change of an account: `sign` is 1 to credit it and -1 to debit it.
    async fn undo(
        self,
        context: Context,
        undo: CompensationInput<Amount, Value>,
        sign: i64,
    ) -> Result<Value, ActionError> {
        let change = self.change(&context, &undo.input, sign)?;
        let done = self.database.inbox.compensate(context.key(), |db, _| {
            Box::pin(async move {
                let balance = apply(db, &change).await?;
                Ok(json!({"balance": balance}))
            })
        });
        compensated(done.await)
    }

    fn change(&self, context: &Context, input: &Amount, sign: i64) -> Result<Change, ActionError> {
        let lock = format!("account/{}/{}", self.name, input.account);
        let token = context.lock_token(&lock).and_then(|token| i64::try_from(token).ok());
        let token = token.ok_or_else(|| {
            ActionError::refused("NOT_LOCKED", format!("the workflow does not hold the lock {lock}"))
        })?;
        Ok(Change { account: input.account.clone(), amount: input.amount.saturating_mul(sign), token })
    }
}

/// Changes an account, and returns its new balance. Refuses a token that is lower than the highest one so far: the
/// transfer has lost its lock.
async fn apply(db: &mut SqliteConnection, change: &Change) -> Result<i64, ActionError> {
    let account: Option<(i64, i64)> = sqlx::query_as("SELECT balance, token FROM accounts WHERE id = ?1")
        .bind(&change.account)
        .fetch_optional(&mut *db)
        .await
        .map_err(|error| rolled_back(&error))?;
    let Some((balance, token)) = account else {
        return Err(ActionError::refused(
            "NO_SUCH_ACCOUNT",
            format!("there is no account {}", change.account),
        ));
    };
    if token > change.token {
        return Err(ActionError::refused("FENCED", "a transfer with a newer lock has changed the account"));
    }
    let balance = balance.saturating_add(change.amount);
    if balance < 0 {
        return Err(ActionError::refused("INSUFFICIENT_FUNDS", "the balance of the account is too low"));
    }
    sqlx::query("UPDATE accounts SET balance = ?1, token = ?2 WHERE id = ?3")
        .bind(balance)
        .bind(change.token)
        .bind(&change.account)
        .execute(db)
        .await
        .map_err(|error| rolled_back(&error))?;
    Ok(balance)
}
