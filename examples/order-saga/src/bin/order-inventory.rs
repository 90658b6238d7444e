//! Inventory of the order saga.

use goconductor::{Context, Failure, Service, Undo};
use goconductor_example_order_saga::{Database, answer, rolled_back, run, undone};
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
        let undo = database.clone();
        Service::new("inventory")
            .action("reserve", move |context, input| reserve(database.clone(), context, input))
            .compensation("release", move |context, input| release(undo.clone(), context, input))
    })
    .await
}

async fn reserve(database: Database, context: Context, input: Reserve) -> Result<Value, Failure> {
    if input.sku == "sold-out" {
        return Err(Failure::refused("SOLD_OUT", "there is none left"));
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
    answer(done.await)
}

async fn release(database: Database, context: Context, undo: Undo<Reserve, Value>) -> Result<Value, Failure> {
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM reservations WHERE order_id = ?1")
                .bind(undo.input.order_id)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    undone(done.await)
}
