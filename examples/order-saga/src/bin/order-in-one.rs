//! The order saga in one program: two steps, each with its compensation.

use goconductor::{ActionError, Conductor, Error, Workflow, WorkflowStep};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let workflow = Workflow::new("Order Processing")
        .step(
            WorkflowStep::new("Process Payment")
                .execute(|order| async move { Ok(json!({"charged": order.input()["amount"]})) })
                .compensate(|_| async { Ok(json!("refunded")) }),
        )
        .step(
            WorkflowStep::new("Update Inventory")
                .execute(|order| async move {
                    match order.input()["sku"].as_str() {
                        Some("sold-out") => Err(ActionError::refused("SOLD_OUT", "the item is sold out")),
                        _ => Ok(json!({"reserved": order.input()["sku"]})),
                    }
                })
                .compensate(|_| async { Ok(json!("released")) }),
        );
    let conductor = Conductor::connect("http://127.0.0.1:8470")?;
    for sku in ["book", "sold-out"] {
        let order = conductor.start_workflow(&workflow, json!({"amount": 42, "sku": sku})).await?;
        #[allow(clippy::print_stdout, reason = "the example prints its results")]
        {
            println!("{sku}: {}", order.result().await?.status);
        }
    }
    Ok(())
}
