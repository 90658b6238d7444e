//! The REST request with the same operation as each rpc. Calls are measured under its method and route.

/// The method and the route of a REST request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RestOperation {
    pub(super) method: &'static str,
    pub(super) route: &'static str,
}

impl RestOperation {
    /// Whether the limits of bodies apply.
    pub(super) fn has_body(self) -> bool {
        self.method != "GET"
    }
}

macro_rules! operations {
    ($($name:ident: $method:literal $route:literal;)+) => {
        $(pub(super) const $name: RestOperation =
            RestOperation { method: $method, route: concat!("/api/v1", $route) };)+

        #[cfg(test)]
        const ALL: &[RestOperation] = &[$($name),+];
    };
}

operations! {
    LIST_ACCESS_KEYS: "GET" "/access/keys";
    CREATE_ACCESS_KEY: "POST" "/access/keys";
    GET_ACCESS_KEY: "GET" "/access/keys/{id}";
    REVOKE_ACCESS_KEY: "DELETE" "/access/keys/{id}";
    ROTATE_ACCESS_KEY: "POST" "/access/keys/{id}/rotate";
    START_WORKFLOW: "POST" "/workflows";
    GET_WORKFLOW: "GET" "/workflows/{id}";
    LIST_WORKFLOWS: "GET" "/workflows";
    COUNT_WORKFLOWS: "GET" "/workflow-counts";
    LIST_EVENTS: "GET" "/workflows/{id}/events";
    READ_PAYLOAD: "GET" "/workflows/{id}/payloads/{sha256}";
    GET_RESULT: "GET" "/workflows/{id}/result";
    CANCEL_WORKFLOW: "POST" "/workflows/{id}/cancel";
    COMPENSATE_WORKFLOW: "POST" "/workflows/{id}/compensate";
    RERUN_WORKFLOW: "POST" "/workflows/{id}/rerun";
    MIGRATE_WORKFLOW: "POST" "/workflows/{id}/migrate";
    TERMINATE_WORKFLOW: "POST" "/workflows/{id}/terminate";
    PAUSE_WORKFLOW: "POST" "/workflows/{id}/pause";
    RESUME_WORKFLOW: "POST" "/workflows/{id}/resume";
    SIGNAL_WORKFLOW: "POST" "/workflows/{id}/signals/{name}";
    RETRY_STEP: "POST" "/workflows/{id}/steps/{step}/retry";
    SKIP_STEP: "POST" "/workflows/{id}/steps/{step}/skip";
    COMPLETE_STEP: "POST" "/workflows/{id}/steps/{step}/complete";
    APPLY_DEFINITION: "PUT" "/definitions/{name}";
    GET_DEFINITION: "GET" "/definitions/{name}";
    GET_DEFINITION_VERSION: "GET" "/definitions/{name}/versions/{version}";
    LIST_DEFINITIONS: "GET" "/definitions";
    DELETE_DEFINITION: "DELETE" "/definitions/{name}";
    LIST_VERSIONS: "GET" "/definitions/{name}/versions";
    PUT_SERVICE: "PUT" "/services/{name}";
    GET_SERVICE: "GET" "/services/{name}";
    DELETE_SERVICE: "DELETE" "/services/{name}";
    LIST_SERVICES: "GET" "/services";
    LIST_PROCESSES: "GET" "/processes";
    LIST_LOCKS: "GET" "/locks";
    ACQUIRE_LOCK: "POST" "/locks/{key}/acquire";
    RENEW_LOCK: "POST" "/locks/{key}/renew";
    RELEASE_LOCK: "POST" "/locks/{key}/release";
    LIST_BATCHES: "GET" "/batches";
    CREATE_BATCH: "POST" "/batches";
    GET_BATCH: "GET" "/batches/{id}";
    LIST_BATCH_ITEMS: "GET" "/batches/{id}/items";
    PAUSE_BATCH: "POST" "/batches/{id}/pause";
    RESUME_BATCH: "POST" "/batches/{id}/resume";
    CANCEL_BATCH: "POST" "/batches/{id}/cancel";
    LIST_AUDIT: "GET" "/audit";
    GET_AUDIT_HEAD: "GET" "/audit/head";
    LIST_ELECTIONS: "GET" "/elections";
    GET_LEADER: "GET" "/elections/{name}";
    STEP_DOWN: "POST" "/elections/{name}/step-down";
    GET_CONFIG: "GET" "/config";
    PUT_CONFIG: "PUT" "/config";
    PATCH_CONFIG: "PATCH" "/config";
    GET_CONFIG_SCHEMA: "GET" "/config/schema";
    LIST_CONFIG_VERSIONS: "GET" "/config/history";
    GET_CONFIG_VERSION: "GET" "/config/history/{version}";
    ROLLBACK_CONFIG: "POST" "/config/rollback";
    LIST_SCHEDULES: "GET" "/schedules";
    GET_SCHEDULE: "GET" "/schedules/{name}";
    PUT_SCHEDULE: "PUT" "/schedules/{name}";
    DELETE_SCHEDULE: "DELETE" "/schedules/{name}";
    PAUSE_SCHEDULE: "POST" "/schedules/{name}/pause";
    RESUME_SCHEDULE: "POST" "/schedules/{name}/resume";
    TRIGGER_SCHEDULE: "POST" "/schedules/{name}/trigger";
    BACKFILL_SCHEDULE: "POST" "/schedules/{name}/backfill";
    LIST_DUE_TIMES: "GET" "/schedules/{name}/next";
    LIST_SECRETS: "GET" "/secrets";
    GET_SECRET: "GET" "/secrets/{name}";
    PUT_SECRET: "PUT" "/secrets/{name}";
    DELETE_SECRET: "DELETE" "/secrets/{name}";
    ROTATE_PAYLOAD_KEY: "POST" "/secrets/rotate-payload-key";
    ROTATE_KEY: "POST" "/secrets/rotate-key";
    LIST_QUEUES: "GET" "/queues";
    GET_QUEUE_SWITCH: "GET" "/queues/switch";
    SWITCH_QUEUE: "POST" "/queues/switch";
}

/// Campaigns are streams, which REST does not have. They are measured and recorded under these names.
pub(super) const CAMPAIGN: RestOperation =
    RestOperation { method: "POST", route: "/api/v1/elections/{name}/campaign" };
pub(super) const RESIGN: RestOperation =
    RestOperation { method: "POST", route: "/api/v1/elections/{name}/resign" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_in_the_openapi_document() {
        let document = crate::rest::document();
        for RestOperation { method, route } in ALL {
            let operation = &document["paths"][route][method.to_lowercase()];
            assert!(operation.is_object(), "{method} {route}");
        }
    }
}
