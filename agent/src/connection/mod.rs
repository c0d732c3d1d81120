//! The connection to the API server: TLS, and what each request presents.
//!
//! kube's own would bring what the agent must never do, 0.7 MiB of it: log in by programs that a kubeconfig names, and
//! the engines for JSONPath and regular expressions that their answers are read with. The agent starts no program. It
//! presents a token, a file with one, or a certificate; a kubeconfig that asks for more is refused by name.

mod bearer;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::middleware::BaseUri;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::AuthInfo;
use tower::Layer as _;

pub use self::bearer::Bearer;

/// As client-go's dialer has it.
const CONNECTED: Duration = Duration::from_secs(30);

/// Why the configuration of a cluster cannot be used. All are Terminal.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It asks for what the agent does not do.
    #[error("the agent does not use {what} of a kubeconfig: {instead}")]
    Unsupported {
        /// Which field.
        what: &'static str,
        /// What to give it.
        instead: &'static str,
    },
    /// A file that it names cannot be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A token that is empty, or that no header can hold.
    #[error("the token is empty, or has other characters than a header takes")]
    Token,
    /// Certificates or a key that are none.
    #[error("the {what} cannot be used: {why}")]
    Certificate {
        /// Which field.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// What sends requests to the API server.
type Sender = BaseUri<legacy::Client<HttpsConnector<HttpConnector>, Body>>;

/// A client without its layers, which presents a certificate if the configuration has one, and no token.
///
/// # Errors
/// The configuration cannot be used.
pub fn builder(config: &Config) -> Result<ClientBuilder<Sender>, ConnectionError> {
    refuse(config)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECTED));
    let mut connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client(config)?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name
            .clone()
            .try_into()
            .map_err(|_| ConnectionError::Certificate {
                what: "tls-server-name",
                why: format!("{name:?} is no name of a server"),
            })?;
        connector = connector.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = connector.enable_http1().wrap_connector(http);
    let sender = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let sender = config.base_uri_layer().layer(sender);
    Ok(ClientBuilder::new(sender, config.default_namespace.clone()))
}

/// Refuses what would otherwise silently not be done.
fn refuse(config: &Config) -> Result<(), ConnectionError> {
    let AuthInfo {
        username,
        password,
        impersonate,
        impersonate_uid,
        impersonate_groups,
        auth_provider,
        exec,
        ..
    } = &config.auth_info;
    let token = "give it a token, a file with one (--token-file) or a client certificate";
    let refused = [
        (
            exec.is_some(),
            "exec",
            "it starts no program; give it a token file or a client certificate",
        ),
        (auth_provider.is_some(), "auth-provider", token),
        (
            username.is_some() || password.is_some(),
            "username and password",
            token,
        ),
        (
            impersonate.is_some() || impersonate_uid.is_some() || impersonate_groups.is_some(),
            "as",
            "it writes as the host's own account",
        ),
        (
            config.accept_invalid_certs,
            "insecure-skip-tls-verify",
            "give certificate-authority",
        ),
        (
            config.proxy_url.is_some(),
            "proxy-url (or HTTPS_PROXY)",
            "the API server must be reached without",
        ),
    ];
    match refused.into_iter().find(|(is_so, ..)| *is_so) {
        Some((_, what, instead)) => Err(ConnectionError::Unsupported { what, instead }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
