//! The query of a page of records, for every database.

/// The columns of a record, in the order in which the adapters read them.
const COLUMNS: &str = "seq, id, at, actor, credential, source, action, namespace, target_kind, target_name, outcome, code, \
                       count, value_before, value_after, trace_id, prev_hash, hash";
/// The conditions after the first one: the column, the operator, and the type of the parameter. A parameter that is null
/// has no effect.
const CONDITIONS: [(&str, &str, &str); 11] = [
    ("seq", "<", "bigint"),
    ("actor", "=", "text"),
    ("credential", "=", "text"),
    ("source", "=", "text"),
    ("action", "=", "text"),
    ("namespace", "=", "text"),
    ("target_kind", "=", "text"),
    ("target_name", "=", "text"),
    ("outcome", "=", "text"),
    ("at", ">=", "bigint"),
    ("at", "<", "bigint"),
];

/// Returns the query of a page. Its parameters are `after`, `before`, the fields of the filter in the order of
/// [`AuditFilter`](crate::AuditFilter), and the limit. `parameter` writes a parameter by its number, from 1, and its type.
pub(crate) fn page_of_records(newest_first: bool, parameter: fn(usize, &str) -> String) -> String {
    let order = if newest_first { "DESC" } else { "ASC" };
    let mut sql = format!("SELECT {COLUMNS} FROM audit_log WHERE seq > {}", parameter(1, "bigint"));
    for (number, (column, operator, kind)) in (2..).zip(CONDITIONS) {
        let parameter = parameter(number, kind);
        sql.push_str(&format!(" AND ({parameter} IS NULL OR {column} {operator} {parameter})"));
    }
    let limit = parameter(CONDITIONS.len() + 2, "bigint");
    sql.push_str(&format!(" ORDER BY seq {order} LIMIT {limit}"));
    sql
}

#[cfg(test)]
mod tests {
    use super::page_of_records;

    #[test]
    fn parameters_are_numbered_without_gaps() {
        let sql = page_of_records(true, |number, kind| format!("${number}::{kind}"));
        assert!(sql.contains("WHERE seq > $1::bigint AND ($2::bigint IS NULL OR seq < $2::bigint)"), "{sql}");
        assert!(
            sql.ends_with(
                "AND ($12::bigint IS NULL OR at < $12::bigint) ORDER BY seq DESC LIMIT $13::bigint"
            ),
            "{sql}"
        );
    }
}
