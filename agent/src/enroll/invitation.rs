//! What `twin enroll` prints: a kubeconfig of one cluster, with its authority and a token that lives for minutes.

use anyhow::{Context, bail};
use kube::config::Kubeconfig;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::token::Token;

/// A checked invitation.
pub struct Invitation {
    /// As it was given, without anything that could run a program or skip the check of the server.
    pub config: Kubeconfig,
    /// URL of the API server.
    pub server: String,
    /// PEM of its authority, base64.
    authority: Option<String>,
    /// The token in it.
    pub token: Token,
}

impl Invitation {
    /// Reads and checks one.
    ///
    /// # Errors
    /// It is no kubeconfig, of several clusters, over plain HTTP, without a check of the server, or its user is
    /// anything but a token.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        if text.trim().is_empty() {
            bail!("there is no invitation on standard input: twin enroll NAME prints one");
        }
        let config = Kubeconfig::from_yaml(text).context("the invitation is no kubeconfig")?;
        let ([cluster], [user]) = (config.clusters.as_slice(), config.auth_infos.as_slice()) else {
            bail!("the invitation must have exactly one cluster and one user");
        };
        let (Some(cluster), Some(user)) = (&cluster.cluster, &user.auth_info) else {
            bail!("the invitation's cluster or user is empty");
        };
        let server = cluster.server.clone().unwrap_or_default();
        if !server.starts_with("https://") || cluster.insecure_skip_tls_verify == Some(true) {
            bail!(
                "the invitation's server must be an https URL whose certificate is checked, not {server:?}"
            );
        }
        let Some(token) = &user.token else {
            bail!("the invitation holds no token");
        };
        let token = Token::read(token.expose_secret())
            .and_then(Token::enrolled)
            .context("the invitation's token is refused")?;
        let authority = cluster.certificate_authority_data.clone();
        let config = Self::kubeconfig_of(
            &server,
            authority.as_deref(),
            token.host.as_str(),
            json!({"token": token.secret()}),
        )?;
        Ok(Self {
            config: Kubeconfig::from_yaml(&config).context("the invitation cannot be used")?,
            server,
            authority,
            token,
        })
    }

    /// A kubeconfig of this cluster that presents the token in a file.
    ///
    /// # Errors
    /// It cannot be written as YAML.
    pub fn kubeconfig(&self, token_file: &std::path::Path) -> anyhow::Result<String> {
        let user = json!({"tokenFile": token_file});
        Self::kubeconfig_of(
            &self.server,
            self.authority.as_deref(),
            self.token.host.as_str(),
            user,
        )
    }

    /// Written anew, so that nothing comes along that was not checked.
    fn kubeconfig_of(
        server: &str,
        authority: Option<&str>,
        host: &str,
        user: Value,
    ) -> anyhow::Result<String> {
        let mut cluster = json!({"server": server});
        if let (Some(authority), Some(cluster)) = (authority, cluster.as_object_mut()) {
            cluster.insert("certificate-authority-data".into(), json!(authority));
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": host,
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": host, "user": user}],
            "contexts": [{"name": host, "context": {"cluster": "cluster", "user": host}}],
        });
        serde_yaml::to_string(&config).context("failed to write a kubeconfig")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn token() -> String {
        let claims =
            json!({"sub": "system:serviceaccount:safetytwin-hosts:ext-web-09", "iat": 1, "exp": 901});
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part("{}"), part(&claims.to_string()), part("s"))
    }

    fn invitation(cluster: &Value, user: &Value) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }

    #[test]
    fn an_invitation_becomes_a_kubeconfig_that_reads_its_token_from_a_file() {
        let cluster = json!({"server": "https://api.example.org:6443", "certificate-authority-data": "Q0E="});
        let read = Invitation::read(&invitation(&cluster, &json!({"token": token()}))).unwrap();
        let kept = read.kubeconfig("/var/lib/safetytwin/token".as_ref()).unwrap();
        let kept: Value = serde_yaml::from_str(&kept).unwrap();
        assert_eq!(
            kept["users"][0]["user"],
            json!({"tokenFile": "/var/lib/safetytwin/token"})
        );
        assert_eq!(kept["clusters"][0]["cluster"], cluster);
    }

    #[test]
    fn an_invitation_that_runs_a_program_or_trusts_anybody_is_refused_or_cleaned() {
        let good = json!({"server": "https://api.example.org"});
        for (cluster, user) in [
            (
                json!({"server": "http://api.example.org"}),
                json!({"token": token()}),
            ),
            (
                json!({"server": "https://a", "insecure-skip-tls-verify": true}),
                json!({"token": token()}),
            ),
            (
                good.clone(),
                json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh"}}),
            ),
            (good.clone(), json!({"token": "not.a.token"})),
        ] {
            assert!(
                Invitation::read(&invitation(&cluster, &user)).is_err(),
                "{cluster} {user}"
            );
        }
        let both = json!({"token": token(), "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh"}});
        let read = Invitation::read(&invitation(&good, &both)).unwrap();
        assert!(
            read.config.auth_infos[0]
                .auth_info
                .as_ref()
                .unwrap()
                .exec
                .is_none()
        );
        for text in ["", "[]", "a: &a [*a]", "kind: Config\nclusters: []"] {
            assert!(Invitation::read(text).is_err(), "{text}");
        }
    }
}
