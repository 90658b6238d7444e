//! The examples, forward and back, with their participants as processes.

use crate::world::step;
use goconductor_harness::{Dev, DevOptions, goconductor};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::process::{Child, Command};

const TRAVEL: &str = include_str!("../../../../examples/travel-booking/travel-booking.yaml");
const BILLING: &str = include_str!("../../../../examples/subscription-billing/billing.yaml");
const PAYMENT: &str = include_str!("../../../../examples/subscription-billing/payment.yaml");
const TRANSFER: &str = include_str!("../../../../examples/money-transfer/money-transfer.yaml");

/// A server with the participants of an example.
struct Example {
    dev: Dev,
    participants: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Example {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
        Self { dev, participants: Vec::new(), folder }
    }

    /// Starts a program of an example, as its README does.
    fn participant(&mut self, program: &str, database: &str, arguments: &[&str]) {
        let command = goconductor().unwrap().as_std().get_program().to_owned();
        let child = Command::new(Path::new(&command).with_file_name(program))
            .args(["--gateway", self.dev.api.base(), "--data"])
            .arg(self.folder.path().join(database))
            .args(arguments)
            .kill_on_drop(true)
            .spawn();
        self.participants.push(child.unwrap());
    }

    async fn start(&self, definition: &str, input: Value) -> String {
        self.dev.api.start(definition, input, None).await.unwrap()
    }

    async fn view(&self, id: &str) -> Value {
        self.dev.api.get(&format!("/workflows/{id}")).await.unwrap()
    }

    async fn until(&self, id: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        for _ in 0..2000 {
            if holds(&self.view(id).await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} was not reached: {:#}", self.view(id).await)
    }

    async fn ended(&self, id: &str) -> Value {
        self.dev.api.ended(id, Duration::from_secs(40)).await.unwrap();
        self.view(id).await
    }

    async fn run(&self, definition: &str, input: Value) -> Value {
        let id = self.start(definition, input).await;
        self.ended(&id).await
    }

    /// The integers of the only column of a query over a participant's database.
    async fn integers(&self, database: &str, query: &'static str) -> Vec<i64> {
        let url = format!("sqlite://{}", self.folder.path().join(database).display());
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        sqlx::query_scalar(query).fetch_all(&pool).await.unwrap()
    }
}

/// Status and error code of a view.
fn end(view: &Value) -> (&str, &str) {
    (view["status"].as_str().unwrap(), view["error"]["code"].as_str().unwrap_or_default())
}

async fn travel() -> Example {
    let mut example = Example::new().await;
    example.dev.api.apply("travel-booking", TRAVEL).await.unwrap();
    example.participant("travel-services", "travel.db", &[]);
    example
}

fn trip(city: &str, passengers: &[&str], car: bool) -> Value {
    json!({"flight": "GC7", "city": city, "passengers": passengers, "car": car})
}

/// Starts a booking, and consents to it when it waits.
async fn book(example: &Example, input: Value) -> String {
    let id = example.start("travel-booking", input).await;
    example.until(&id, "the consent", |view| view["waiting_on"][0]["kind"] == "SIGNAL").await;
    let path = format!("/workflows/{id}/signals/consent");
    let (status, body) = example.dev.api.send("POST", &path, Some(json!({"by": "ada"}))).await.unwrap();
    assert_eq!(status, 200, "{body}");
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn travel_is_booked_after_the_consent() {
    let example = travel().await;
    let with_car = book(&example, trip("Lisbon", &["ada", "bob"], true)).await;
    let view = example.ended(&with_car).await;
    let output = json!({"amount": 630, "tickets": ["ticket-ada", "ticket-bob"]});
    assert_eq!((end(&view), &view["output"]), (("COMPLETED", ""), &output), "{view:#}");
    let without_car = book(&example, trip("Lisbon", &["ada"], false)).await;
    let view = example.ended(&without_car).await;
    assert_eq!((&view["output"]["amount"], &step(&view, "car")["status"]), (&json!(420), &json!("SKIPPED")));
    let amounts = example.integers("travel.db", "SELECT amount FROM charges ORDER BY amount").await;
    assert_eq!(amounts, [420, 630]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn travel_is_rolled_back_until_the_charge() {
    let example = travel().await;
    let view = example.run("travel-booking", trip("Atlantis", &["ada"], true)).await;
    assert_eq!(end(&view), ("ROLLED_BACK", "NO_ROOM"), "{view:#}");
    let expensive = book(&example, trip("Lisbon", &["ada", "bob", "cleo", "dan", "eve", "fay"], false)).await;
    let view = example.ended(&expensive).await;
    assert_eq!(end(&view), ("ROLLED_BACK", "CREDIT_LIMIT"), "{view:#}");
    assert_eq!(step(&view, "hotel")["status"], "COMPENSATED");
    let left = example.integers("travel.db", "SELECT price FROM reservations").await;
    assert_eq!(left, [0_i64; 0], "every reservation is cancelled");
}

async fn billing() -> Example {
    let mut example = Example::new().await;
    example.dev.api.apply("subscription-payment", PAYMENT).await.unwrap();
    example.dev.api.apply("subscription-billing", BILLING).await.unwrap();
    example.participant("subscription-services", "billing.db", &[]);
    example
}

fn period(customer: &str) -> Value {
    json!({"customer": customer, "period": "2030-01", "amount": 12, "notice": "200ms"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_is_billed_by_hand_and_by_its_schedule() {
    let example = billing().await;
    let view = example.run("subscription-billing", period("c-7")).await;
    let output = json!({"invoice": "invoice-c-7-2030-01", "receipt": "receipt-invoice-c-7-2030-01-12"});
    assert_eq!((end(&view), &view["output"]), (("COMPLETED", ""), &output), "{view:#}");
    let path = "/schedules/subscription-billing/trigger";
    let (status, body) = example.dev.api.send("POST", path, Some(json!({}))).await.unwrap();
    assert_eq!(status, 201, "{body}");
    let scheduled = body["workflow"].as_str().unwrap();
    assert_eq!(end(&example.ended(scheduled).await), ("COMPLETED", ""));
    let entries = example.integers("billing.db", "SELECT count(*) FROM entries").await;
    assert_eq!(entries, [8], "four entries for each period");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_extension_rolls_the_payment_back() {
    let example = billing().await;
    let view = example.run("subscription-billing", period("closed")).await;
    assert_eq!(end(&view), ("ROLLED_BACK", "ACCOUNT_CLOSED"), "{view:#}");
    assert_eq!(step(&view, "payment")["status"], "COMPENSATED");
    let view = example.run("subscription-billing", period("expired")).await;
    assert_eq!(end(&view), ("ROLLED_BACK", "CHILD_ROLLED_BACK"), "{view:#}");
    assert_eq!(example.integers("billing.db", "SELECT count(*) FROM entries").await, [0]);
}

async fn banks() -> Example {
    let mut example = Example::new().await;
    example.dev.api.apply("money-transfer", TRANSFER).await.unwrap();
    for (bank, database) in [("north", "north.db"), ("south", "south.db")] {
        example.participant("bank", database, &["--bank", bank]);
    }
    example
}

const BALANCES: &str = "SELECT balance FROM accounts ORDER BY id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_credit_is_found_and_a_lost_one_is_rolled_back() {
    let example = banks().await;
    let transfer = |to: &str| example.run("money-transfer", json!({"from": "ada", "to": to, "amount": 30}));
    let view = transfer("bob").await;
    assert_eq!(
        (end(&view), &view["output"]),
        (("COMPLETED", ""), &json!({"from": 70, "to": 130})),
        "{view:#}"
    );
    let view = transfer("late").await;
    assert_eq!(
        (end(&view), &view["output"]),
        (("COMPLETED", ""), &json!({"from": 40, "to": 30})),
        "{view:#}"
    );
    let view = transfer("lost").await;
    assert_eq!(end(&view), ("ROLLED_BACK", "NOT_DONE"), "{view:#}");
    assert_eq!(step(&view, "debit")["status"], "COMPENSATED");
    let view = transfer("nemo").await;
    assert_eq!(end(&view), ("ROLLED_BACK", "NO_SUCH_ACCOUNT"), "{view:#}");
    // The order of the accounts is ada, bob, late, lost.
    assert_eq!(example.integers("north.db", BALANCES).await, [40, 100, 0, 0]);
    assert_eq!(example.integers("south.db", BALANCES).await, [100, 130, 30, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transfers_of_an_account_run_one_after_another() {
    let example = banks().await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        let input = json!({"from": "ada", "to": "bob", "amount": 10});
        ids.push(example.start("money-transfer", input).await);
    }
    let mut completed = 0;
    for id in ids {
        let view = example.ended(&id).await;
        match end(&view) {
            ("COMPLETED", _) => completed += 1,
            other => assert_eq!(other, ("ROLLED_BACK", "INSUFFICIENT_FUNDS"), "{view:#}"),
        }
    }
    assert_eq!(completed, 10);
    assert_eq!(example.integers("north.db", BALANCES).await, [0, 100, 0, 0]);
    assert_eq!(example.integers("south.db", BALANCES).await, [100, 200, 0, 0]);
}
