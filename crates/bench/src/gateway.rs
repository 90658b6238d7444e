//! The gateway of a deployment, as its clients reach it.

use crate::http::HttpConnection;
use crate::security::Certificates;
use goconductor_client::Client;

/// The address of a gateway, and the credentials of its clients.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) port: u16,
    /// The certificates, if the gateway requires TLS.
    pub(crate) certificates: Option<Certificates>,
    /// The token of the load generator, if the gateway requires one.
    pub(crate) token: Option<String>,
}

impl Gateway {
    /// Returns the URL of a server of the same deployment.
    pub(crate) fn url_of(&self, port: u16) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// Returns the URL of the gateway.
    pub(crate) fn url(&self) -> String {
        self.url_of(self.port)
    }

    /// Returns a client of a server of the same deployment, with the rights of an administrator.
    pub(crate) fn client_of(&self, port: u16) -> anyhow::Result<Client> {
        let tls = self.certificates.as_ref().map(Certificates::operator).transpose()?;
        Ok(Client::with_tls(&self.url_of(port), "default", tls)?)
    }

    /// Returns a client of the gateway, with the rights of an administrator.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.client_of(self.port)
    }

    /// Opens a connection of the load generator.
    pub(crate) async fn connect(&self) -> anyhow::Result<HttpConnection> {
        match &self.certificates {
            None => HttpConnection::open(self.port).await,
            Some(certificates) => HttpConnection::open_with_tls(self.port, &certificates.nameless()?).await,
        }
    }

    /// Builds a POST request of the load generator, with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &str) -> Vec<u8> {
        let (length, authorization) = (body.len(), self.authorization());
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// Builds a GET request of the load generator.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}\r\n", self.authorization()).into_bytes()
    }

    fn authorization(&self) -> String {
        self.token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_contain_the_token() {
        let gateway =
            |token: Option<&str>| Gateway { port: 1, certificates: None, token: token.map(str::to_owned) };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(gateway(None).get("/a")), "GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let expected = "GET /a HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t\r\n\r\n";
        assert_eq!(text(gateway(Some("t")).get("/a")), expected);
        let post = text(gateway(Some("t")).post("/a", "{}"));
        assert!(post.contains("\r\nauthorization: Bearer t\r\n") && post.ends_with("\r\n\r\n{}"), "{post}");
    }
}
