//! The microservice `payments` of the order saga.

use goconductor::{ActionError, CompensationInput, Context, Service};
use goconductor_example_participant::{Database, compensated, executed, rolled_back, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TABLES: &str =
    "CREATE TABLE IF NOT EXISTS payments (order_id TEXT NOT NULL PRIMARY KEY, amount REAL NOT NULL)";

#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    order_id: String,
    amount: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(TABLES, |database| {
        let compensation = database.clone();
        [Service::new("payments")
            .action("charge", move |context, input| charge(database.clone(), context, input))
            .compensation("refund", move |context, input| refund(compensation.clone(), context, input))]
    })
    .await
}

async fn charge(database: Database, context: Context, input: Charge) -> Result<Value, ActionError> {
    if input.amount > 10_000.0 {
        return Err(ActionError::refused("CREDIT_LIMIT", "the amount exceeds the credit limit of 10000"));
    }
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO payments (order_id, amount) VALUES (?1, ?2)")
                .bind(&input.order_id)
                .bind(input.amount)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(json!({"payment_id": format!("p-{}", input.order_id)}))
        })
    });
    executed(done.await)
}

async fn refund(
    database: Database,
    context: Context,
    input: CompensationInput<Charge, Value>,
) -> Result<Value, ActionError> {
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM payments WHERE order_id = ?1")
                .bind(input.input.order_id)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    compensated(done.await)
}
