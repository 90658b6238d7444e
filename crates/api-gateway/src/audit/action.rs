//! Names of actions. They follow from the method and the route, so that a new route has one.

/// Returns the name of an operation: the fixed parts of its route, and the verb of its method unless the route ends with
/// one. `POST /api/v1/workflows/{id}/cancel` is `workflows.cancel`, and `PUT /api/v1/services/{name}` is `services.put`.
pub(crate) fn name(method: &str, route: &str) -> String {
    let path = route.trim_start_matches("/api/v1");
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{')).collect();
    let verb = match method {
        // A collection has a plural name, and other routes of POST end with a verb.
        "POST" if parts.last().is_some_and(|last| last.ends_with('s')) => Some("create".to_owned()),
        "POST" => None,
        "GET" | "PUT" | "PATCH" | "DELETE" | "HEAD" => Some(method.to_ascii_lowercase()),
        // Callers choose the names of methods, and there must be few actions.
        _ => Some("other".to_owned()),
    };
    let names = parts.into_iter().map(str::to_owned).chain(verb);
    names.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn name_follows_from_the_route() {
        for (method, route, expected) in [
            ("POST", "/api/v1/workflows", "workflows.create"),
            ("POST", "/api/v1/workflows/{id}/cancel", "workflows.cancel"),
            ("POST", "/api/v1/workflows/{id}/steps/{step}/retry", "workflows.steps.retry"),
            ("PUT", "/api/v1/definitions/{name}", "definitions.put"),
            ("DELETE", "/api/v1/services/{name}", "services.delete"),
            ("POST", "/api/v1/queues/switch", "queues.switch"),
            ("POST", "/api/v1/access/keys", "access.keys.create"),
            ("POST", "/api/v1/access/keys/{id}/rotate", "access.keys.rotate"),
            ("DELETE", "/api/v1/access/keys/{id}", "access.keys.delete"),
            ("GET", "/healthz", "healthz.get"),
            ("ANYTHING", "/api/v1/secrets/{name}", "secrets.other"),
        ] {
            assert_eq!(name(method, route), expected);
        }
    }
}
