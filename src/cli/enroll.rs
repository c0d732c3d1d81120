//! `twin enroll`: invites a machine that is no node of the cluster.
//!
//! The invitation is a kubeconfig with a token that lives for minutes; `twin-agent enroll` on the machine takes
//! it in exchange for one of its own. The machine's account may write its own host's objects (the chart's
//! policy) and renew its own token (a Role of its own), nothing else.

use std::io::IsTerminal as _;
use std::io::Write as _;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Config, ResourceExt as _};
use safetytwin_crds::access;
use safetytwin_crds::names::HostName;
use serde_json::{Value, json};

use super::client::Cluster;

/// Field manager of what this verb makes.
const MANAGER: &str = "twin-enroll";

/// Arguments of `twin enroll`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twin enroll web-09 | ssh root@web-09 twin-agent enroll        the host appears as ext-web-09
  twin enroll web-09 --server https://203.0.113.7:6443 > invitation
  twin enroll web-09 --again | ssh root@web-09 twin-agent enroll --replace
  kubectl delete serviceaccount ext-web-09 -n safetytwin-hosts  its access ends

The chart must allow enrolled hosts (--set enrolled.enabled=true), and the machine must have the package
safetytwin-agent.")]
pub struct Args {
    /// Name of the machine: lower-case letters, digits, - and dots.
    name: String,
    /// URL of the API server as the machine reaches it [default: that of the kubeconfig].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Namespace of the hosts' accounts.
    #[arg(long, value_name = "NAME", default_value = access::ACCOUNTS)]
    accounts: String,
    /// How long the invitation is valid.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(10..=1440))]
    minutes: u16,
    /// Invite it although it has an account already.
    #[arg(long)]
    again: bool,
}

/// Makes the account and prints the invitation.
pub async fn run(args: &Args, cluster: &Cluster) -> anyhow::Result<()> {
    let name = args.name.strip_prefix("ext-").unwrap_or(&args.name);
    let host: HostName = format!("ext-{name}")
        .parse()
        .map_err(|error| anyhow::anyhow!("{name} cannot be a host's name: {error}"))?;
    let config = cluster.config().await?;
    let server = server(args, &config)?;
    let client = Client::try_from(config.clone()).context("failed to connect to the cluster")?;
    make_account(&client, args, &host).await?;
    let token = invite(&client, args, &host).await?;
    if is_this_machine_only(&server) {
        eprintln!(
            "{server} is reached from this machine only: give --server as {name} reaches the API server"
        );
    }
    let text = serde_yaml::to_string(&invitation(&server, &config, &host, &token))?;
    std::io::stdout().write_all(text.as_bytes())?;
    if std::io::stdout().is_terminal() {
        eprintln!(
            "\nthis is a secret for {} minutes: pipe it into `twin-agent enroll` on {name}",
            args.minutes
        );
    }
    Ok(())
}

/// The API server's URL for the machine.
fn server(args: &Args, config: &Config) -> anyhow::Result<String> {
    let url = args
        .server
        .clone()
        .unwrap_or_else(|| config.cluster_url.to_string());
    if !url.starts_with("https://") {
        bail!("{url} is no https URL: give --server as the machine reaches the API server");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Whether the URL names the machine that resolves it.
fn is_this_machine_only(url: &str) -> bool {
    let authority = url.trim_start_matches("https://");
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|own| authority.starts_with(own))
}

/// The account, and its right to renew its own token.
async fn make_account(client: &Client, args: &Args, host: &HostName) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get_opt(&args.accounts).await?;
    let allowed = namespace.as_ref().and_then(|n| n.labels().get(access::ENROLLED));
    if allowed.map(String::as_str) != Some("true") {
        bail!(
            "namespace {} is none of enrolled hosts: upgrade the chart with --set enrolled.enabled=true, or give --accounts",
            args.accounts
        );
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &args.accounts);
    if !args.again && accounts.get_opt(host.as_str()).await?.is_some() {
        bail!(
            "{host} is enrolled already: two machines of one name would overwrite each other; --again if it is the same one"
        );
    }
    let metadata = json!({"name": host, "namespace": args.accounts});
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": false,
    });
    apply(&accounts, host, &account).await?;
    let roles: Api<Role> = Api::namespaced(client.clone(), &args.accounts);
    let renew = json!({
        "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [host], "verbs": ["create"],
    });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [renew],
    });
    apply(&roles, host, &role).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &args.accounts);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": host},
        "subjects": [{"kind": "ServiceAccount", "name": host, "namespace": args.accounts}],
    });
    apply(&bindings, host, &binding).await
}

async fn apply<K>(api: &Api<K>, host: &HostName, object: &Value) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.patch(
        host.as_str(),
        &PatchParams::apply(MANAGER).force(),
        &Patch::Apply(object),
    )
    .await
    .with_context(|| {
        format!(
            "failed to make {} {host}",
            object.get("kind").unwrap_or(&Value::Null)
        )
    })?;
    Ok(())
}

/// A token for the minutes in which the machine may take the invitation.
async fn invite(client: &Client, args: &Args, host: &HostName) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &args.accounts);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(i64::from(args.minutes) * 60),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(host.as_str(), &PostParams::default(), &request)
        .await
        .with_context(|| format!("failed to get a token of {host}"))?;
    answer
        .status
        .map(|status| status.token)
        .with_context(|| format!("the API server gave no token of {host}"))
}

fn invitation(server: &str, config: &Config, host: &HostName, token: &str) -> Value {
    let mut cluster = json!({"server": server});
    if let (Some(certificates), Some(cluster)) = (&config.root_cert, cluster.as_object_mut()) {
        let pem: String = certificates.iter().map(|der| certificate(der)).collect();
        cluster.insert("certificate-authority-data".into(), json!(STANDARD.encode(pem)));
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": host,
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": host, "user": {"token": token}}],
        "contexts": [{"name": host, "context": {"cluster": "cluster", "user": host}}],
    })
}

/// A certificate as PEM (RFC 7468).
fn certificate(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
