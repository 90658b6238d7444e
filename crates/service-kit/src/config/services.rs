//! The section `services`: the services that are called by HTTP.

use super::reader::SettingReader;
use super::secret_url::SecretUrl;
use super::value;
use goconductor_saga::NameKind;
use std::collections::BTreeMap;

/// A service that the executor calls.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The HTTP endpoint.
    pub http: HttpService,
    /// Maximum number of its commands in flight.
    pub max_in_flight: u32,
    /// Maximum number of commands in flight by action, for actions with a limit of their own.
    pub actions: BTreeMap<String, u32>,
}

/// HTTP endpoint of a service.
#[derive(Debug, Clone)]
pub struct HttpService {
    /// The base URL, to which `/{action}` is appended, or a reference to a secret. It has no trailing slash.
    pub url: SecretUrl,
    /// Headers of each request: the name, and the reference to the secret that contains the value.
    pub headers: BTreeMap<String, String>,
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> BTreeMap<String, ServiceConfig> {
    let mut services = BTreeMap::new();
    for name in reader.names("services") {
        if let Err(error) = NameKind::Service.check(&name) {
            reader.refuse_name("services", &name, error.to_string());
            continue;
        }
        let path = format!("services.{name}");
        let max_in_flight = reader.get(&format!("{path}.max_in_flight"), &value::integer(1, 100_000), 64);
        let actions = actions(reader, &format!("{path}.actions"));
        let url = reader.required(&format!("{path}.http.url"), &value::http_url(), &path);
        let headers = service_headers(reader, &format!("{path}.http.headers"));
        if let Some(url) = url {
            services
                .insert(name, ServiceConfig { http: HttpService { url, headers }, max_in_flight, actions });
        }
    }
    services
}

/// Reads the headers of requests to a service.
fn service_headers(reader: &mut SettingReader<'_>, section: &str) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for name in reader.names(section) {
        if let Err(message) = check_header_name(&name) {
            reader.refuse_name(section, &name, message);
            continue;
        }
        if let Some(value) = reader.optional(&format!("{section}.{name}"), &value::header_reference()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Names of headers that the executor sets itself, or that belong to the connection.
const OWN_HEADERS: [&str; 12] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks the name of a header that a service gets with each request.
///
/// # Errors
/// Returns the reason if it is not the name of a header, or if the executor sets the header itself.
pub fn check_header_name(name: &str) -> Result<(), String> {
    let Ok(header) = http::HeaderName::from_bytes(name.as_bytes()) else {
        return Err(format!("{name:?} is not the name of a header"));
    };
    if OWN_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("goconductor-") {
        return Err(format!("the header {header} is set by the executor"));
    }
    Ok(())
}

/// Reads the limits of actions.
fn actions(reader: &mut SettingReader<'_>, section: &str) -> BTreeMap<String, u32> {
    let mut actions = BTreeMap::new();
    for name in reader.names(section) {
        if let Err(error) = NameKind::Action.check(&name) {
            reader.refuse_name(section, &name, error.to_string());
            continue;
        }
        let path = format!("{section}.{name}.max_in_flight");
        if let Some(limit) = reader.required(&path, &value::integer(1, 100_000), section) {
            actions.insert(name, limit);
        }
    }
    actions
}
