//! The sagas of the measurements.

use goconductor_saga::Plan;
use serde_json::{Value, json};
use std::sync::Arc;

/// The services of the sagas, with their actions.
pub(crate) static SERVICES: [(&str, &[&str]); 4] = [
    ("stock", &["reserve", "release"]),
    ("payments", &["charge", "refund"]),
    ("shipping", &["ship", "cancel"]),
    ("work", &["do", "undo"]),
];

/// A service without workers.
const UNSERVED: &str = "unserved";
/// The number of steps of the chain, and of parallel steps before the join.
const WIDTH: u64 = 10;

const ORDER: &str = "\
workflow: bench-order
steps:
- { name: reserve, run: stock/reserve, compensate: stock/release }
- { name: charge, run: payments/charge, compensate: payments/refund }
- { name: ship, run: shipping/ship, compensate: shipping/cancel }
";

/// The sagas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Saga {
    /// Three steps of three services, in sequence.
    Order,
    /// The same steps. The third is rejected, and two are compensated.
    Undo,
    /// Ten steps in sequence.
    Chain,
    /// Ten parallel steps and one that joins them.
    Parallel,
}

impl Saga {
    /// All sagas.
    pub const ALL: [Self; 4] = [Self::Order, Self::Undo, Self::Chain, Self::Parallel];

    /// Returns the name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Undo => "undo",
            Self::Chain => "chain",
            Self::Parallel => "parallel",
        }
    }

    /// Returns the name of the definition.
    pub(crate) fn definition(self) -> &'static str {
        match self {
            Self::Order | Self::Undo => "bench-order",
            Self::Chain => "bench-chain",
            Self::Parallel => "bench-parallel",
        }
    }

    /// Returns the source of the definition.
    pub(crate) fn source(self) -> String {
        let step = |number: u64| format!("name: s{number}, run: work/do, compensate: work/undo");
        let mut text = match self {
            Self::Order | Self::Undo => return ORDER.to_owned(),
            Self::Chain | Self::Parallel => format!("workflow: {}\nsteps:\n", self.definition()),
        };
        if self == Self::Chain {
            text.extend((1..=WIDTH).map(|number| format!("- {{ {} }}\n", step(number))));
        } else {
            text.push_str("- name: fork\n  parallel:\n");
            text.extend((1..=WIDTH).map(|number| format!("    b{number}: [{{ {} }}]\n", step(number))));
            text.push_str("- { name: join, run: work/do, compensate: work/undo }\n");
        }
        text
    }

    /// Returns the input, which has about 200 bytes.
    pub(crate) fn input(self) -> Value {
        json!({
            "order_id": "o-1042",
            "customer": {"id": "c-4711", "name": "Ada Example", "city": "Zürich"},
            "items": [{"sku": "book-1", "quantity": 1, "price": 1299}, {"sku": "pen", "quantity": 3, "price": 199}],
            "refuse": if self == Self::Undo { "ship" } else { "nothing" },
        })
    }

    /// Returns the number of calls of participants.
    pub(crate) fn steps(self) -> u64 {
        match self {
            Self::Order => 3,
            // Two completed, one rejected, two compensated.
            Self::Undo => 5,
            Self::Chain => WIDTH,
            Self::Parallel => WIDTH + 1,
        }
    }

    /// Returns the maximum number of transitions. Pending inputs of one workflow are combined into one transition.
    pub(crate) fn transitions(self) -> u64 {
        self.steps() + 1
    }

    /// Returns the texts that a result must contain and how often: the statuses of the workflow and of its steps.
    pub(crate) fn expected_outcomes(self) -> &'static [(&'static str, usize)] {
        const COMPLETED: &str = r#""status":"COMPLETED""#;
        match self {
            Self::Order => &[(COMPLETED, 4)],
            Self::Undo => &[
                (r#""status":"ROLLED_BACK""#, 1),
                (r#""status":"COMPENSATED""#, 2),
                (r#""status":"FAILED""#, 1),
            ],
            Self::Chain => &[(COMPLETED, 11)],
            Self::Parallel => &[(COMPLETED, 12)],
        }
    }

    /// Returns the number of sagas that are about as much work as `count` orders.
    pub(crate) fn share(self, count: u64) -> u64 {
        let share = match self {
            Self::Order => count,
            Self::Undo => count / 2,
            Self::Chain | Self::Parallel => count / 4,
        };
        share.max(1)
    }
}

/// Returns the name and the source of a definition whose only step waits for a service without workers.
pub(crate) fn waiting() -> (&'static str, String) {
    let name = "bench-waiting";
    let step = format!("{{ name: s, run: {UNSERVED}/do, compensate: {UNSERVED}/undo }}");
    (name, format!("workflow: {name}\nsteps:\n- {step}\n"))
}

/// Parses a definition and returns its plan.
pub(crate) fn plan(source: &str) -> anyhow::Result<Arc<Plan>> {
    let limits = goconductor_definition::Limits::default();
    let checked =
        goconductor_definition::parse(source.as_bytes(), goconductor_definition::Format::Yaml, &limits)
            .map_err(|problems| anyhow::anyhow!("a definition of bench is invalid: {problems:?}"))?;
    Ok(Arc::new(Plan::new(checked.definition, 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_valid_and_have_the_expected_steps() {
        for saga in Saga::ALL {
            let plan = plan(&saga.source()).unwrap();
            assert_eq!(plan.definition().name, saga.definition());
            let steps = u64::try_from(plan.definition().steps.len()).unwrap();
            let expected = if saga == Saga::Undo { 3 } else { saga.steps() };
            assert_eq!(steps, expected, "{saga:?}");
        }
        assert_eq!(plan(&waiting().1).unwrap().definition().name, waiting().0);
    }

    #[test]
    fn input_has_about_200_bytes() {
        for saga in Saga::ALL {
            let bytes = saga.input().to_string().len();
            assert!((180..=220).contains(&bytes), "{saga:?}: {bytes}");
        }
    }

    #[test]
    fn share_is_at_least_one() {
        assert_eq!(Saga::ALL.map(|saga| saga.share(1)), [1; 4]);
        assert_eq!(Saga::ALL.map(|saga| saga.share(400)), [400, 200, 100, 100]);
    }
}
