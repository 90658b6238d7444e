//! Participants for trying things out: the shop of the order saga, over real HTTP on loopback.
//!
//! They do what a participant has to do and no more: they honour the idempotency key, they refuse with a
//! code, and a compensation of what never happened succeeds.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use goconductor_store::{NewDefinition, ServiceRecord, ServiceSettings, Store};
use goconductor_transition::clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The definition that the demo applies; the same file that the README shows.
pub(crate) const ORDER_PROCESSING: &str = include_str!("../../../examples/order-processing.yaml");
/// An item that is not in stock.
const SOLD_OUT: &str = "sold-out";
/// An amount above this is refused by the bank.
const CREDIT_LIMIT: f64 = 10_000.0;
/// Answers that are remembered; the oldest are forgotten, as this is a demo.
const REMEMBERED: usize = 10_000;

/// What the shop remembers: its answer by idempotency key.
#[derive(Debug, Default)]
struct Shop {
    answers: Mutex<BTreeMap<String, Value>>,
}

/// Starts the participants, says how they are reached, and applies the definition.
///
/// # Errors
/// When no port can be bound or the store does not answer.
pub(crate) async fn start(store: &Arc<dyn Store>, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let shop = Arc::new(Shop::default());
    let router = Router::new().route("/{service}/{action}", post(serve)).with_state(shop);
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the demo's participants have stopped");
        }
    });
    for service in ["payments", "inventory"] {
        let record = ServiceRecord {
            namespace: "default".to_owned(),
            name: service.to_owned(),
            settings: ServiceSettings::http(format!("{url}/{service}")),
            updated_at: clock::now(),
        };
        store.put_service(record).await?;
    }
    apply(store).await
}

async fn apply(store: &Arc<dyn Store>) -> anyhow::Result<()> {
    let limits = goconductor_definition::Limits::default();
    let format = goconductor_definition::Format::Yaml;
    let checked = goconductor_definition::parse(ORDER_PROCESSING.as_bytes(), format, &limits)
        .map_err(|problems| anyhow::anyhow!("the demo's definition is wrong: {problems:?}"))?;
    let new = NewDefinition {
        namespace: "default".to_owned(),
        definition: checked.definition,
        digest: checked.digest,
        source: ORDER_PROCESSING.to_owned(),
        source_format: "yaml".to_owned(),
        actor: Some("demo".to_owned()),
    };
    store.put_definition(new).await?;
    Ok(())
}

async fn serve(
    State(shop): State<Arc<Shop>>,
    Path((service, action)): Path<(String, String)>,
    headers: HeaderMap,
    Json(input): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let mut answers = shop.answers.lock().unwrap_or_else(PoisonError::into_inner);
    // A repeat gets the answer that the first one got: the effect is there once.
    if let Some(answer) = answers.get(&key) {
        return (StatusCode::OK, Json(answer.clone()));
    }
    let result = act(&service, &action, &input);
    if let (StatusCode::OK, answer) = &result {
        if answers.len() >= REMEMBERED {
            answers.pop_first();
        }
        answers.insert(key, answer.clone());
    }
    (result.0, Json(result.1))
}

fn act(service: &str, action: &str, input: &Value) -> (StatusCode, Value) {
    let refused =
        |code: &str, message: String| (StatusCode::CONFLICT, json!({"code": code, "message": message}));
    match (service, action) {
        ("payments", "charge") => {
            let amount = input.get("amount").and_then(Value::as_f64).unwrap_or_default();
            if amount > CREDIT_LIMIT {
                return refused(
                    "CARD_DECLINED",
                    format!("{amount} is over the credit limit of {CREDIT_LIMIT}"),
                );
            }
            let order = input.get("order_id").cloned().unwrap_or(Value::Null);
            (StatusCode::OK, json!({"payment_id": format!("pay-{}", text(&order)), "charged": amount}))
        }
        ("payments", "refund") => {
            let charged = input.pointer("/output/charged").cloned().unwrap_or_else(|| json!(0));
            (StatusCode::OK, json!({"refunded": charged}))
        }
        ("inventory", "reserve") => {
            let items = input.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let sold_out = |item: &Value| item.get("sku").and_then(Value::as_str) == Some(SOLD_OUT);
            if items.iter().any(sold_out) {
                return refused("OUT_OF_STOCK", format!("{SOLD_OUT} is not in stock"));
            }
            (StatusCode::OK, json!({"reserved": items.len()}))
        }
        ("inventory", "release") => (StatusCode::OK, json!({"released": true})),
        _ => (
            StatusCode::NOT_FOUND,
            json!({"code": "NO_SUCH_ACTION", "message": format!("the demo has no {service}/{action}")}),
        ),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
