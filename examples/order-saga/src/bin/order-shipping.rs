//! The microservice `shipping` of the order saga.

use goconductor::{ActionError, CompensationInput, Context, Service};
use goconductor_example_participant::{Database, compensated, executed, rolled_back, run};
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
        let compensation = database.clone();
        [Service::new("shipping")
            .action("ship", move |context, input| ship(database.clone(), context, input))
            .compensation("recall", move |context, input| recall(compensation.clone(), context, input))]
    })
    .await
}

async fn ship(database: Database, context: Context, input: Ship) -> Result<Value, ActionError> {
    if input.to == "nowhere" {
        return Err(ActionError::refused("NO_SUCH_PLACE", "the address cannot be reached"));
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
    executed(done.await)
}

async fn recall(
    database: Database,
    context: Context,
    input: CompensationInput<Ship, Value>,
) -> Result<Value, ActionError> {
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM parcels WHERE order_id = ?1")
                .bind(input.input.order_id)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    compensated(done.await)
}
