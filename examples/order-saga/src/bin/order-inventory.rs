//! The microservice `inventory` of the order saga.

use goconductor::{ActionError, CompensationInput, Context, Service};
use goconductor_example_participant::{Database, compensated, executed, rolled_back, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TABLES: &str =
    "CREATE TABLE IF NOT EXISTS reservations (order_id TEXT NOT NULL PRIMARY KEY, sku TEXT NOT NULL)";

#[derive(Debug, Serialize, Deserialize)]
struct Reserve {
    order_id: String,
    sku: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(TABLES, |database| {
        let compensation = database.clone();
        [Service::new("inventory")
            .action("reserve", move |context, input| reserve(database.clone(), context, input))
            .compensation("release", move |context, input| release(compensation.clone(), context, input))]
    })
    .await
}

async fn reserve(database: Database, context: Context, input: Reserve) -> Result<Value, ActionError> {
    if input.sku == "sold-out" {
        return Err(ActionError::refused("SOLD_OUT", "the item is sold out"));
    }
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO reservations (order_id, sku) VALUES (?1, ?2)")
                .bind(&input.order_id)
                .bind(&input.sku)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(json!({"reserved": input.sku}))
        })
    });
    executed(done.await)
}

async fn release(
    database: Database,
    context: Context,
    input: CompensationInput<Reserve, Value>,
) -> Result<Value, ActionError> {
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM reservations WHERE order_id = ?1")
                .bind(input.input.order_id)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    compensated(done.await)
}
