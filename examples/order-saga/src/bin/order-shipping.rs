//! Shipping of the order saga.

use goconductor::{Context, Failure, Service, Undo};
use goconductor_example_order_saga::{Database, answer, rolled_back, run, undone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TABLES: &str = "CREATE TABLE IF NOT EXISTS parcels (order_id TEXT NOT NULL PRIMARY KEY)";

#[derive(Debug, Serialize, Deserialize)]
struct Ship {
    order_id: String,
    #[serde(default)]
    to: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(TABLES, |database| {
        let undo = database.clone();
        Service::new("shipping")
            .action("ship", move |context, input| ship(database.clone(), context, input))
            .compensation("recall", move |context, input| recall(undo.clone(), context, input))
    })
    .await
}

async fn ship(database: Database, context: Context, input: Ship) -> Result<Value, Failure> {
    if input.to == "nowhere" {
        return Err(Failure::refused("NO_SUCH_PLACE", "nobody delivers there"));
    }
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO parcels (order_id) VALUES (?1)")
                .bind(&input.order_id)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(json!({"parcel": format!("parcel-{}", input.order_id)}))
        })
    });
    answer(done.await)
}

async fn recall(database: Database, context: Context, undo: Undo<Ship, Value>) -> Result<Value, Failure> {
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM parcels WHERE order_id = ?1")
                .bind(undo.input.order_id)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    undone(done.await)
}
