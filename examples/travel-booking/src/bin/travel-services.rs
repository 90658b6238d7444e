//! The services of the travel booking: `airline`, `hotels`, `cars` and `cards`, in one program with one database.
//!
//! A booking is known by the id of its workflow.

use goconductor::{ActionError, CompensationInput, Context, Service};
use goconductor_example_participant::{Database, compensated, executed, rolled_back, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS reservations (
    booking TEXT NOT NULL, kind TEXT NOT NULL, price INTEGER NOT NULL, PRIMARY KEY (booking, kind)
);
CREATE TABLE IF NOT EXISTS charges (booking TEXT NOT NULL PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tickets (booking TEXT NOT NULL, passenger TEXT NOT NULL)";
const SEAT: i64 = 120;
const ROOM: i64 = 300;
const CAR: i64 = 90;
const CREDIT_LIMIT: i64 = 1_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Flight {
    flight: String,
    seats: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct City {
    city: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    amount: i64,
    by: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ticket {
    passenger: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(TABLES, |database| [airline(&database), hotels(&database), cars(&database), cards(database)]).await
}

fn airline(database: &Database) -> Service {
    let [reserving, cancelling, issuing] = [(); 3].map(|()| database.clone());
    Service::new("airline")
        .action("reserve", move |context, input: Flight| {
            let database = reserving.clone();
            async move {
                if input.flight == "full" {
                    return Err(ActionError::refused("NO_SEAT", "the flight has no free seat"));
                }
                reserve(database, context, "flight", SEAT.saturating_mul(input.seats)).await
            }
        })
        .compensation("cancel", move |context, _: CompensationInput<Value, Value>| {
            cancel(cancelling.clone(), context, "flight")
        })
        .action("issue", move |context, input| issue(issuing.clone(), context, input))
}

fn hotels(database: &Database) -> Service {
    let [reserving, cancelling] = [(); 2].map(|()| database.clone());
    Service::new("hotels")
        .action("reserve", move |context, input: City| {
            let database = reserving.clone();
            async move {
                if input.city == "Atlantis" {
                    return Err(ActionError::refused("NO_ROOM", "there is no hotel in Atlantis"));
                }
                reserve(database, context, "hotel", ROOM).await
            }
        })
        .compensation("cancel", move |context, _: CompensationInput<Value, Value>| {
            cancel(cancelling.clone(), context, "hotel")
        })
}

fn cars(database: &Database) -> Service {
    let [reserving, cancelling] = [(); 2].map(|()| database.clone());
    Service::new("cars")
        .action("reserve", move |context, _: City| reserve(reserving.clone(), context, "car", CAR))
        .compensation("cancel", move |context, _: CompensationInput<Value, Value>| {
            cancel(cancelling.clone(), context, "car")
        })
}

fn cards(database: Database) -> Service {
    Service::new("cards").action("charge", move |context, input| charge(database.clone(), context, input))
}

async fn reserve(
    database: Database,
    context: Context,
    kind: &'static str,
    price: i64,
) -> Result<Value, ActionError> {
    let booking = context.workflow_id().to_owned();
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO reservations (booking, kind, price) VALUES (?1, ?2, ?3)")
                .bind(booking)
                .bind(kind)
                .bind(price)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(json!({"price": price}))
        })
    });
    executed(done.await)
}

async fn cancel(database: Database, context: Context, kind: &'static str) -> Result<Value, ActionError> {
    let booking = context.workflow_id().to_owned();
    let done = database.inbox.compensate(context.key(), |db, _| {
        Box::pin(async move {
            sqlx::query("DELETE FROM reservations WHERE booking = ?1 AND kind = ?2")
                .bind(booking)
                .bind(kind)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(Value::Null)
        })
    });
    compensated(done.await)
}

/// The pivot: there is no compensation.
async fn charge(database: Database, context: Context, input: Charge) -> Result<Value, ActionError> {
    if input.amount > CREDIT_LIMIT {
        let message = format!("{} cannot pay more than {CREDIT_LIMIT}", input.by);
        return Err(ActionError::refused("CREDIT_LIMIT", message));
    }
    let booking = context.workflow_id().to_owned();
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO charges (booking, amount) VALUES (?1, ?2)")
                .bind(booking)
                .bind(input.amount)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(json!({"amount": input.amount}))
        })
    });
    executed(done.await)
}

async fn issue(database: Database, context: Context, input: Ticket) -> Result<Value, ActionError> {
    let booking = context.workflow_id().to_owned();
    let done = database.inbox.execute(context.key(), |db| {
        Box::pin(async move {
            sqlx::query("INSERT INTO tickets (booking, passenger) VALUES (?1, ?2)")
                .bind(booking)
                .bind(&input.passenger)
                .execute(db)
                .await
                .map_err(|error| rolled_back(&error))?;
            Ok(json!(format!("ticket-{}", input.passenger)))
        })
    });
    executed(done.await)
}
