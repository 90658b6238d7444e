//! The services of the subscription billing: `subscriptions`, `cards` and `accounting`, in one program with one database.

use goconductor::{ActionError, CompensationInput, Context, Service};
use goconductor_example_participant::{Database, compensated, executed, rolled_back, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An entry is known by the workflow and the step that wrote it.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS entries (
    workflow TEXT NOT NULL, step TEXT NOT NULL, customer TEXT NOT NULL, PRIMARY KEY (workflow, step)
)";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Period {
    customer: String,
    period: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payment {
    invoice: String,
    customer: String,
    amount: i64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(TABLES, |database| [subscriptions(&database), cards(&database), accounting(&database)]).await
}

fn subscriptions(database: &Database) -> Service {
    let [invoicing, voiding, extending, shortening] = [(); 4].map(|()| database.clone());
    Service::new("subscriptions")
        .action("invoice", move |context: Context, input: Period| {
            let output = json!({"invoice": format!("invoice-{}-{}", input.customer, input.period)});
            write(invoicing.clone(), context, input.customer, output)
        })
        .compensation("void", move |context, _: CompensationInput<Value, Value>| {
            erase(voiding.clone(), context)
        })
        .action("extend", move |context, input: Period| {
            let database = extending.clone();
            async move {
                if input.customer == "closed" {
                    return Err(ActionError::refused(
                        "ACCOUNT_CLOSED",
                        "the customer has closed the account",
                    ));
                }
                write(database, context, input.customer, Value::Null).await
            }
        })
        .compensation("shorten", move |context, _: CompensationInput<Value, Value>| {
            erase(shortening.clone(), context)
        })
}

fn cards(database: &Database) -> Service {
    let [charging, refunding] = [(); 2].map(|()| database.clone());
    Service::new("cards")
        .action("charge", move |context, input: Payment| {
            let database = charging.clone();
            async move {
                if input.customer == "expired" {
                    return Err(ActionError::refused("CARD_EXPIRED", "the card has expired"));
                }
                let output = json!({"receipt": format!("receipt-{}-{}", input.invoice, input.amount)});
                write(database, context, input.customer, output).await
            }
        })
        .compensation("refund", move |context, _: CompensationInput<Value, Value>| {
            erase(refunding.clone(), context)
        })
}

fn accounting(database: &Database) -> Service {
    let [booking, unbooking] = [(); 2].map(|()| database.clone());
    Service::new("accounting")
        .action("book", move |context, input: Payment| {
            write(booking.clone(), context, input.customer, Value::Null)
        })
        .compensation("unbook", move |context, _: CompensationInput<Value, Value>| {
            erase(unbooking.clone(), context)
        })
}

async fn write(
    database: Database,
    context: Context,
    customer: String,
    output: Value,
) -> Result<Value, ActionError> {
    let (workflow, step) = (context.workflow_id().to_owned(), context.step().to_owned());
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO entries (workflow, step, customer) VALUES (?1, ?2, ?3)")
                .bind(workflow)
                .bind(step)
                .bind(customer)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(output)
        })
    });
    executed(done.await)
}

async fn erase(database: Database, context: Context) -> Result<Value, ActionError> {
    let (workflow, step) = (context.workflow_id().to_owned(), context.step().to_owned());
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM entries WHERE workflow = ?1 AND step = ?2")
                .bind(workflow)
                .bind(step)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    compensated(done.await)
}
