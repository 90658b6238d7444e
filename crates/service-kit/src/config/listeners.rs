//! Which listening addresses may be reachable from other machines.

use super::listen_address::ListenAddress;
use super::reader::SettingReader;
use super::{Config, Invalid, Origin, Problem};
use std::net::SocketAddr;

/// Error code of a listening address that is not protected. Its page is `docs/errors/GC2060.md`.
const INSECURE_BIND: &str = "GC2060";

/// The callers of a listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// All callers of the API. Access control authenticates them.
    Any,
    /// Workers. Their certificates or access control authenticate them.
    Workers,
    /// Other services. Their certificates authenticate them.
    Services,
}

impl Config {
    /// Checks the IP addresses to which a listening address was resolved.
    ///
    /// # Errors
    /// Returns [`Invalid`] if one of them is not a loopback address, and the configuration neither protects the address nor
    /// has `allow_insecure_bind`.
    pub fn check_resolved(&self, listen: &ListenAddress, resolved: &[SocketAddr]) -> Result<(), Invalid> {
        let mut callers = self.listeners().into_iter().filter(|(_, own, _)| *own == listen).peekable();
        // An address that no setting has is that of an API.
        let unknown = callers.peek().is_none().then_some(Callers::Any);
        let callers: Vec<Callers> = callers.map(|(.., callers)| callers).chain(unknown).collect();
        let refused = resolved.iter().find_map(|address| {
            let refused = callers.iter().find(|callers| !self.allows(address, **callers))?;
            Some((address, *refused))
        });
        let Some((reachable, callers)) = refused else {
            return Ok(());
        };
        let subject = match listen {
            ListenAddress::Ip(address) => address.to_string(),
            ListenAddress::Name { .. } => format!("{listen} resolves to {}, which", reachable.ip()),
        };
        let message = self.insecure_bind(&subject, callers);
        Err(Invalid { problems: vec![Problem { path: String::new(), origin: Origin::Default, message }] })
    }

    /// Returns the listening addresses with the paths of their settings and their callers.
    fn listeners(&self) -> [(&'static str, &ListenAddress, Callers); 4] {
        [
            ("listen", &self.listen, Callers::Any),
            ("state_store.listen", &self.state_store.listen, Callers::Services),
            ("election.listen", &self.election.listen, Callers::Services),
            ("executor.listen", &self.executor.listen, Callers::Workers),
        ]
    }

    /// Returns whether the configuration allows to listen on an address.
    fn allows(&self, address: &SocketAddr, callers: Callers) -> bool {
        address.ip().to_canonical().is_loopback() || self.allow_insecure_bind || self.is_protected(callers)
    }

    /// Returns whether callers are authenticated, and neither their credentials nor their data cross the network in plain
    /// text. With the section `tls`, services and workers are authenticated by their certificates.
    fn is_protected(&self, callers: Callers) -> bool {
        let has_tls = self.tls.is_some();
        match callers {
            Callers::Any => self.access.enabled && (has_tls || self.access.allow_plaintext),
            Callers::Workers => has_tls || (self.access.enabled && self.access.allow_plaintext),
            Callers::Services => has_tls,
        }
    }

    /// Returns the message for an address that must not be listened on. `subject` is the address.
    fn insecure_bind(&self, subject: &str, callers: Callers) -> String {
        let tls = "set tls.ca_file, tls.certificate_file and tls.key_file";
        let behind_proxy = "if a proxy in front of it terminates TLS, set `access.allow_plaintext: true` \
                            (GOCONDUCTOR_ACCESS__ALLOW_PLAINTEXT=true)";
        let (cause, remedy) = match callers {
            Callers::Any | Callers::Workers if self.access.enabled => {
                ("the credentials of callers would be sent without TLS", format!("{tls}; {behind_proxy}"))
            }
            Callers::Workers | Callers::Services => {
                ("its callers are not authenticated without TLS", tls.to_owned())
            }
            Callers::Any if self.tls.is_some() => {
                ("callers are not authenticated", "set `access.enabled: true`".to_owned())
            }
            Callers::Any => (
                "callers are not authenticated",
                format!("set `access.enabled: true`, and {tls}; {behind_proxy}"),
            ),
        };
        format!(
            "{INSECURE_BIND}: {subject} is reachable from other machines, and {cause}: listen on 127.0.0.1 or [::1]; {remedy}; \
             or, if a proxy or firewall restricts access, set `allow_insecure_bind: true` \
             (GOCONDUCTOR_ALLOW_INSECURE_BIND=true)"
        )
    }

    /// Checks the listening addresses that are IP addresses. A name is checked when it is resolved, just before the process
    /// listens.
    pub(super) fn check_listeners(&self, reader: &mut SettingReader<'_>) {
        for (path, listen, callers) in self.listeners() {
            let ListenAddress::Ip(address) = listen else { continue };
            if !self.allows(address, callers) {
                let message = self.insecure_bind(&address.to_string(), callers);
                reader.problem(path, reader.origin(path), message);
            }
        }
    }
}
