//! Environment variables that have no effect.

/// An environment variable that has no effect: one with the prefix `GOCONDUCTOR_` that is not a setting, or a standard
/// variable of OpenTelemetry whose value cannot be used.
///
/// Such a variable does not make the configuration invalid. The environment is shared: Kubernetes, scripts and other
/// programs set variables in it whose names this program does not choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredVariable {
    /// The name of the variable.
    pub name: String,
    /// The reason why it has no effect.
    pub reason: IgnoreReason,
}

/// Reason why an environment variable has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IgnoreReason {
    /// Kubernetes sets it in each pod, for a Service whose name begins with `goconductor`.
    ServiceLink,
    /// No setting has this name.
    Unknown {
        /// The most similar name of a setting, if there is one.
        nearest: Option<String>,
    },
    /// It is a standard variable of OpenTelemetry, and its value cannot be used.
    Invalid {
        /// Description of a valid value.
        expected: String,
    },
}

/// Protocols in the names of service links.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Returns whether a variable has the form of a Kubernetes service link. For a Service `NAME`, Kubernetes sets
/// `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`, `NAME_SERVICE_PORT_<port name>`, `NAME_PORT`, `NAME_PORT_<n>_TCP` and
/// `NAME_PORT_<n>_TCP_PROTO`, `…_PORT` and `…_ADDR`.
///
/// `NAME_PORT` is also the name that a user would choose for a port, so its value decides: that of a link is a URL such
/// as `tcp://10.0.0.1:8470`.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = PROTOCOLS.iter().any(|protocol| {
        value.strip_prefix(&protocol.to_ascii_lowercase()).is_some_and(|rest| rest.starts_with("://"))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.split_once("_SERVICE_PORT_").is_some_and(|(_, port)| !port.is_empty())
        || (name.ends_with("_PORT") && is_url)
        || name
            .match_indices("_PORT_")
            .any(|(at, infix)| name.get(at + infix.len()..).is_some_and(is_port_of_link))
}

/// Returns whether a text is the part of a service link after `NAME_PORT_`, such as `8470_TCP` or `8470_TCP_ADDR`.
fn is_port_of_link(text: &str) -> bool {
    let mut parts = text.split('_');
    let is_port = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
    let has_protocol = parts.next().is_some_and(|protocol| PROTOCOLS.contains(&protocol));
    let has_part = parts.next().is_none_or(|part| matches!(part, "PROTO" | "PORT" | "ADDR"));
    is_port && has_protocol && has_part && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_have_their_form() {
        for service in ["GOCONDUCTOR", "GOCONDUCTOR_STATE_STORE", "GOCONDUCTOR_SAGA_EXECUTOR_2"] {
            for (suffix, value) in [
                ("_SERVICE_HOST", "10.96.0.7"),
                ("_SERVICE_PORT", "8470"),
                ("_SERVICE_PORT_HTTP", "8470"),
                ("_SERVICE_PORT_GRPC_WEB", "8470"),
                ("_PORT", "tcp://10.96.0.7:8470"),
                ("_PORT", "udp://[fd00::7]:53"),
                ("_PORT", "sctp://10.96.0.7:9"),
                ("_PORT_8470_TCP", "tcp://10.96.0.7:8470"),
                ("_PORT_8470_TCP_PROTO", "tcp"),
                ("_PORT_8470_TCP_PORT", "8470"),
                ("_PORT_8470_TCP_ADDR", "10.96.0.7"),
                ("_PORT_53_UDP_ADDR", "10.96.0.7"),
                ("_PORT_9_SCTP", "sctp://10.96.0.7:9"),
            ] {
                let name = format!("{service}{suffix}");
                assert!(is_service_link(&name, value), "{name}={value}");
            }
        }
    }

    #[test]
    fn other_variables_are_not_service_links() {
        for (name, value) in [
            ("GOCONDUCTOR_BIN", "x"),
            ("GOCONDUCTOR_PORT", "8470"),
            ("GOCONDUCTOR_PORT", "http://10.96.0.7:8470"),
            ("GOCONDUCTOR_LISTEN_PORT", "8470"),
            ("GOCONDUCTOR_SERVICE_HOSTS", "10.96.0.7"),
            ("GOCONDUCTOR_SERVICE_PORT_", "8470"),
            ("GOCONDUCTOR_PORT_HTTP", "8470"),
            ("GOCONDUCTOR_PORT_8470", "8470"),
            ("GOCONDUCTOR_PORT_8470_TLS", "8470"),
            ("GOCONDUCTOR_PORT_8470_TCP_NAME", "8470"),
            ("GOCONDUCTOR_PORT_8470_TCP_PORT_1", "8470"),
            ("GOCONDUCTOR_PORT_99999_TCP", "tcp://10.96.0.7:99999"),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }
}
