//! The plans of lists and counts: each kind of filter that `docs/reference/filters.md` names uses an index.

use super::migrations;
use super::read::{best_counts_query, counts, page};
use super::search::Searches;
use crate::{Comparison, Field, Filter, FilterValue, ListRequest};
use goconductor_saga::Timestamp;
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, StatementStatus, params_from_iter};

/// Inserts `$COUNT` workflows: all but one in a thousand have ended, and one in a hundred failed. Half of them have the label
/// `team=web`, one in a thousand `team=shop`, and each of those with a label has an `order` of its own. One in ten has no label.
const MANY: &str = r#"
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $COUNT)
    INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at, ended_at,
        idempotency_key, labels, error)
    SELECT CAST(printf('%016d', n) AS BLOB), 'default', CASE WHEN n % 10000 = 0 THEN 'refund' ELSE 'order' END, 1,
        CASE WHEN n % 1000 = 1 THEN 'IN_PROGRESS' WHEN n % 100 = 0 THEN 'ROLLED_BACK' ELSE 'COMPLETED' END,
        CASE WHEN n % 100 = 0 THEN 'STEP_FAILED' ELSE '' END, 1, '{}', n,
        CASE WHEN n % 1000 = 1 THEN NULL ELSE 1 END, '',
        CASE WHEN n % 10 = 9 THEN '{}' ELSE json_object('order', 'o-' || n, 'team',
            CASE WHEN n % 1000 = 2 THEN 'shop' WHEN n % 2 = 0 THEN 'web' ELSE 'app' END) END,
        CASE WHEN n % 5000 = 0 THEN '{"code":"CARD_DECLINED"}' WHEN n % 100 = 0 THEN '{"code":"NO_STOCK"}' END
    FROM numbers"#;

const LABELS: &str = "workflow_labels USING PRIMARY KEY (namespace=? AND name=? AND value";
const STATUS: &str = "workflows_by_status (namespace=? AND status=?";
const DEFINITION: &str = "workflows_by_definition (namespace=? AND definition=?";
const ERROR_CODE: &str = "workflows_by_error_code (namespace=? AND <expr>=?";
const NEWEST: &str = "workflows_newest (namespace=?";

/// The number of workflows where only the plan is of interest. More than half of it is above the number of entries that are
/// counted.
const PLANNED: u32 = 25_000;
/// The most instructions for a page of 100 workflows.
const PAGE_STEPS: i32 = 12_000;

fn compare(field: Field, by: Comparison, text: &str) -> Filter {
    Filter::Compare(field, by, FilterValue::Text(text.to_owned()))
}

fn is(field: Field, text: &str) -> Filter {
    compare(field, Comparison::Equal, text)
}

fn label(name: &str, by: Comparison, value: &str) -> Filter {
    compare(Field::Label(name.to_owned()), by, value)
}

fn team(value: &str) -> Filter {
    label("team", Comparison::Equal, value)
}

fn since(micros: i64) -> Filter {
    Filter::Compare(Field::CreatedAt, Comparison::Greater, FilterValue::Time(Timestamp(micros)))
}

fn all(mut parts: Vec<Filter>) -> Filter {
    // As the API does.
    parts.push(Filter::without_elements());
    Filter::All(parts)
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn many(count: u32) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations::run(&mut connection, None).unwrap();
    connection.execute_batch(&MANY.replace("$COUNT", &count.to_string())).unwrap();
    connection
}

/// The lines of the plan of a query that are about tables of the store.
fn plan(connection: &Connection, (sql, bound): (String, Vec<Bound>)) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let lines = statement.query_map(params_from_iter(bound), |row| row.get::<_, String>(3)).unwrap();
    let tables = ["workflows", "workflow_labels", "start_keys", "ended_counts"];
    lines.map(Result::unwrap).filter(|line| tables.iter().any(|table| line.contains(table))).collect()
}

fn list_plan(connection: &Connection, filter: Option<&Filter>) -> Vec<String> {
    let request =
        ListRequest { namespace: "default".to_owned(), filter: filter.cloned(), limit: 100, before: None };
    let searches = Searches::for_list(connection, "default", filter).unwrap();
    plan(connection, page("id, definition, labels", &request, 101, searches.as_ref()))
}

/// Filters, and the index that their lists use.
fn listed() -> Vec<(Filter, &'static str)> {
    vec![
        (is(Field::Status, "ROLLED_BACK"), STATUS),
        (is(Field::Definition, "refund"), DEFINITION),
        (is(Field::ErrorCode, "CARD_DECLINED"), ERROR_CODE),
        (is(Field::IdempotencyKey, "k"), "start_keys USING PRIMARY KEY (namespace=? AND key=?)"),
        (is(Field::Id, "019a0000-0000-7000-8000-000000000001"), "workflows USING PRIMARY KEY (id=?)"),
        // Labels: one that is rare, one that is frequent, one that no workflow has, and ranges.
        (team("shop"), LABELS),
        (team("web"), LABELS),
        (team("other"), LABELS),
        (label("tram", Comparison::GreaterOrEqual, ""), LABELS),
        (label("order", Comparison::Less, "o-1001"), LABELS),
        // Combinations: the index with the fewest entries.
        (all(vec![team("shop"), is(Field::Status, "COMPLETED"), since(50_000)]), LABELS),
        (all(vec![team("web"), is(Field::Status, "ROLLED_BACK"), since(50_000)]), STATUS),
        (all(vec![team("web"), is(Field::Status, "COMPLETED")]), LABELS),
        (all(vec![is(Field::Definition, "order"), is(Field::Status, "ERROR")]), STATUS),
        (all(vec![team("web"), is(Field::Definition, "refund")]), DEFINITION),
        (all(vec![team("web"), is(Field::ErrorCode, "CARD_DECLINED")]), ERROR_CODE),
        (all(vec![team("shop"), not(is(Field::Status, "COMPLETED"))]), LABELS),
        (all(vec![not(team("web")), is(Field::Status, "ROLLED_BACK")]), STATUS),
        // Alternatives, if each has few entries.
        (Filter::Any(vec![team("shop"), label("order", Comparison::Equal, "o-7")]), LABELS),
        (all(vec![Filter::Any(vec![team("shop"), is(Field::Status, "ERROR")])]), STATUS),
        (all(vec![Filter::open(), team("web")]), STATUS),
    ]
}

#[test]
fn lists_of_many_workflows_use_an_index() {
    let connection = many(PLANNED);
    for (filter, index) in listed() {
        let found = list_plan(&connection, Some(&filter));
        assert!(found.iter().any(|line| line.contains(index)), "{filter:?}: {found:?}");
        assert!(found.iter().all(|line| line.starts_with("SEARCH")), "{filter:?}: {found:?}");
        assert!(!found.iter().any(|line| line.contains("workflows_newest")), "{filter:?}: {found:?}");
    }
}

/// These are read newest first until the page is full. `docs/reference/filters.md` names them.
#[test]
fn lists_without_a_selective_condition_begin_with_the_newest_workflows() {
    let connection = many(PLANNED);
    for filter in [
        None,
        Some(all(vec![])),
        Some(since(50_000)),
        Some(not(team("shop"))),
        Some(label("team", Comparison::NotEqual, "web")),
        // Many entries, which would have to be sorted.
        Some(label("order", Comparison::GreaterOrEqual, "")),
        Some(Filter::Any(vec![team("web"), is(Field::Status, "COMPLETED")])),
        Some(Filter::Any(vec![team("shop"), since(50_000)])),
    ] {
        let found = list_plan(&connection, filter.as_ref());
        assert!(found.len() == 1 && found[0].contains(NEWEST), "{filter:?}: {found:?}");
    }
}

#[test]
fn counts_of_many_workflows_use_an_index() {
    let connection = many(PLANNED);
    let declined = || is(Field::ErrorCode, "CARD_DECLINED");
    for (by, filter, index) in [
        (Field::Status, None, STATUS),
        (Field::Definition, None, STATUS),
        // The definition and the open statuses are both good.
        (Field::Status, Some(is(Field::Definition, "refund")), "workflows_by_"),
        (Field::ErrorCode, None, "workflows_by_error_code (namespace=?"),
        (Field::Definition, Some(declined()), ERROR_CODE),
        (Field::ErrorCode, Some(declined()), ERROR_CODE),
        (Field::Status, Some(all(vec![team("shop")])), LABELS),
        (Field::Definition, Some(all(vec![team("shop"), since(50_000)])), LABELS),
        (Field::ErrorCode, Some(all(vec![team("shop")])), LABELS),
        (Field::ErrorCode, Some(all(vec![team("web")])), "workflows_by_error_code (namespace=?"),
        (Field::Status, Some(all(vec![team("web")])), "COVERING INDEX workflows_by_status (namespace=?"),
        (Field::Definition, Some(all(vec![team("web")])), LABELS),
        (Field::Status, Some(all(vec![team("web"), since(50_000)])), LABELS),
    ] {
        let query = best_counts_query(&connection, "default", &by, filter.as_ref()).unwrap();
        let found = plan(&connection, query);
        assert!(found.iter().any(|line| line.contains(index)), "{by:?} {filter:?}: {found:?}");
        assert!(found.iter().all(|line| line.starts_with("SEARCH")), "{by:?} {filter:?}: {found:?}");
    }
}

#[test]
fn labels_follow_the_workflows_of_every_release() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations::run(&mut connection, Some(16)).unwrap();
    let insert = |connection: &Connection, number: u8, labels: &str| {
        let sql = "INSERT INTO workflows VALUES (?1, 'default', 'order', 1, 'COMPLETED', '', 1, '{}', 0, 1, '', ?2, NULL)";
        connection.execute(sql, rusqlite::params![vec![number; 16], labels]).unwrap();
    };
    let entries = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT name || '=' || value || '@' || hex(substr(workflow_id, 1, 1)) FROM workflow_labels ORDER BY 1";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    insert(&connection, 1, r#"{"team":"shop","it's":"a \"b\""}"#);
    insert(&connection, 2, "{}");
    insert(&connection, 3, "damaged");
    migrations::run(&mut connection, None).unwrap();
    assert_eq!(
        entries(&connection),
        ["it's=a \"b\"@01", "team=shop@01"],
        "the migration adds existing workflows"
    );
    // The statement of an earlier release.
    insert(&connection, 4, r#"{"team":"shop"}"#);
    insert(&connection, 5, "damaged");
    assert_eq!(entries(&connection), ["it's=a \"b\"@01", "team=shop@01", "team=shop@04"]);
    for (number, left) in [(1_u8, vec!["team=shop@04"]), (5, vec!["team=shop@04"]), (4, Vec::new())] {
        connection.execute("DELETE FROM workflows WHERE id = ?1", [vec![number; 16]]).unwrap();
        assert_eq!(entries(&connection), left, "after the removal of {number}");
    }
}

/// Runs a query. Returns its first column, and the number of instructions of SQLite's virtual machine.
fn run(connection: &Connection, (sql, bound): (String, Vec<Bound>)) -> (Vec<Bound>, i32) {
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map(params_from_iter(bound), |row| row.get(0)).unwrap();
    let found = rows.map(Result::unwrap).collect();
    (found, statement.get_status(StatementStatus::VmStep))
}

/// The work of a page does not grow with the number of workflows. It is counted instead of timed, so that the result is the
/// same on each machine.
#[test]
fn pages_of_many_workflows_read_few_rows() {
    let connection = many(100_000);
    for (filter, expected) in [
        (all(vec![team("shop")]), 100),
        (all(vec![team("web")]), 101),
        (all(vec![team("web"), is(Field::Status, "ROLLED_BACK")]), 101),
        (all(vec![team("shop"), since(50_000)]), 50),
        (all(vec![Filter::Any(vec![team("shop"), is(Field::Status, "IN_PROGRESS")])]), 101),
        (all(vec![Filter::open(), team("app")]), 100),
    ] {
        let request = ListRequest {
            namespace: "default".to_owned(),
            filter: Some(filter.clone()),
            limit: 100,
            before: None,
        };
        let searches = Searches::for_list(&connection, "default", Some(&filter)).unwrap();
        let (found, steps) = run(&connection, page("id", &request, 101, searches.as_ref()));
        assert_eq!(found.len(), expected, "{filter:?}");
        assert!(steps < PAGE_STEPS, "a page with {filter:?} took {steps} steps");
        let (newest, scanned) = run(&connection, page("id", &request, 101, None));
        assert_eq!(found, newest, "{filter:?}");
        assert!(team_is_frequent(&filter) || scanned > 5 * PAGE_STEPS, "a scan took {scanned} steps");
    }
    assert_eq!(counted(&connection, &Field::Status, &all(vec![team("web")])), 49_900);
    assert_eq!(counted(&connection, &Field::Definition, &all(vec![team("web")])), 49_900);
    assert_eq!(counted(&connection, &Field::ErrorCode, &all(vec![team("web")])), 1_000);
    assert_eq!(counted(&connection, &Field::Status, &all(vec![team("shop"), since(50_000)])), 50);
    let refund = all(vec![team("web"), is(Field::Definition, "refund"), is(Field::Status, "ROLLED_BACK")]);
    assert_eq!(counted(&connection, &Field::Status, &refund), 10);
}

/// Returns whether the newest workflows fill a page without an index.
fn team_is_frequent(filter: &Filter) -> bool {
    *filter == all(vec![team("web")])
}

fn counted(connection: &Connection, by: &Field, filter: &Filter) -> u64 {
    counts(connection, "default", by, Some(filter)).unwrap().iter().map(|count| count.count).sum()
}
