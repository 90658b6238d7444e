//! Variables and defaults of the options that name the server and its certificates.

/// The variable and the default of `--server`.
pub(crate) const SERVER_VARIABLE: &str = "GOCONDUCTOR_SERVER";
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8470";
/// The variable and the default of `--namespace`.
pub(crate) const NAMESPACE_VARIABLE: &str = "GOCONDUCTOR_NAMESPACE";
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
/// The variables of `--access-token` and `--token-file`.
pub(crate) const TOKEN_VARIABLE: &str = "GOCONDUCTOR_TOKEN";
pub(crate) const TOKEN_FILE_VARIABLE: &str = "GOCONDUCTOR_TOKEN_FILE";
/// The variables of `--ca`, `--cert` and `--key`.
pub(crate) const CA_VARIABLE: &str = "GOCONDUCTOR_CA";
pub(crate) const CERT_VARIABLE: &str = "GOCONDUCTOR_CERT";
pub(crate) const KEY_VARIABLE: &str = "GOCONDUCTOR_KEY";
