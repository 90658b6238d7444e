//! Demo participants: the services of the definition order-processing, over HTTP on the loopback interface.
//!
//! They implement the minimum contract of a participant: they honour the idempotency key, reject with a code, and let
//! the compensation of a step that never ran succeed.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use goconductor_store::{NewDefinition, ServiceRecord, ServiceSettings, Store};
use goconductor_transition::clock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The definition that the demo applies. The README shows the same file.
pub(crate) const ORDER_PROCESSING: &str = include_str!("../../../examples/order-processing.yaml");
/// The SKU of an item that is out of stock.
const SOLD_OUT: &str = "sold-out";
/// The bank declines amounts above this limit.
const CREDIT_LIMIT: f64 = 10_000.0;
/// The number of responses kept for repeated requests. The demo drops further ones.
const MAX_RESPONSES: usize = 10_000;

/// The responses by idempotency key.
#[derive(Debug, Default)]
struct Responses {
    by_key: Mutex<BTreeMap<String, Value>>,
}

/// Starts the participants, registers their addresses and applies the definition.
///
/// # Errors
/// Returns an error if no port can be bound or the store is unavailable.
pub(crate) async fn start(store: &Arc<dyn Store>, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let responses = Arc::new(Responses::default());
    let router = Router::new().route("/{service}/{action}", post(serve)).with_state(responses);
    goconductor_supervisor::spawn("demo-participants", async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "demo participants failed");
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
        .map_err(|problems| anyhow::anyhow!("the definition of the demo is invalid: {problems:?}"))?;
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
    State(responses): State<Arc<Responses>>,
    Path((service, action)): Path<(String, String)>,
    headers: HeaderMap,
    Json(input): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let mut by_key = responses.by_key.lock();
    // A repeated request gets the response of the first one, so its effect happens once.
    if let Some(response) = by_key.get(&key) {
        return (StatusCode::OK, Json(response.clone()));
    }
    let result = act(&service, &action, &input);
    if let (StatusCode::OK, response) = &result {
        if by_key.len() >= MAX_RESPONSES {
            by_key.pop_first();
        }
        by_key.insert(key, response.clone());
    }
    (result.0, Json(result.1))
}

fn act(service: &str, action: &str, input: &Value) -> (StatusCode, Value) {
    let rejected =
        |code: &str, message: String| (StatusCode::CONFLICT, json!({"code": code, "message": message}));
    match (service, action) {
        ("payments", "charge") => {
            let amount = input.get("amount").and_then(Value::as_f64).unwrap_or_default();
            if amount > CREDIT_LIMIT {
                return rejected(
                    "CARD_DECLINED",
                    format!("{amount} exceeds the credit limit of {CREDIT_LIMIT}"),
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
                return rejected("OUT_OF_STOCK", format!("{SOLD_OUT} is not in stock"));
            }
            (StatusCode::OK, json!({"reserved": items.len()}))
        }
        ("inventory", "release") => (StatusCode::OK, json!({"released": true})),
        _ => (
            StatusCode::NOT_FOUND,
            json!({"code": "NO_SUCH_ACTION", "message": format!("the demo does not implement {service}/{action}")}),
        ),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
