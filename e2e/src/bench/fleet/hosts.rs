//! Accounts of simulated hosts: each an enrolled machine with a service account and a token of its own, so that the
//! admission policy judges every write as it does in a real fleet.

use std::path::PathBuf;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::with_client;
use crate::api_server::ApiServer;
use crate::lab::pki::write_private;

/// Where the chart keeps accounts of enrolled hosts.
const ACCOUNTS: &str = safetytwin_crds::access::ACCOUNTS;
/// Tokens outlive the longest run.
const VALID: i64 = 26 * 3600;
/// Requests under way at a time.
const AT_ONCE: usize = 16;

/// Makes the accounts, and writes the list that the fleet reads: names and shapes with their tokens.
///
/// # Errors
/// The API server refuses an account.
pub(super) fn enrol(server: &ApiServer, list: &str, hosts: &[(String, &str)]) -> Result<PathBuf> {
    let entries = with_client(server, |client| async move {
        let made = hosts
            .iter()
            .map(|(name, shape)| entry(client.clone(), name, shape));
        stream::iter(made)
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<Value>>()
            .await
    })?;
    let file = server.path(&format!("{list}.json"));
    write_private(&file, &serde_json::to_string(&entries)?)?;
    Ok(file)
}

async fn entry(client: Client, name: &str, shape: &str) -> Result<Value> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client, ACCOUNTS);
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    let params = PostParams::default();
    accounts
        .create(&params, &account)
        .await
        .with_context(|| format!("failed to make the account {name}"))?;
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(VALID),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(name, &params, &request)
        .await
        .with_context(|| format!("failed to get a token of {name}"))?;
    let token = answer.status.map(|status| status.token);
    Ok(json!({"name": name, "shape": shape, "token": token.context("the answer has no token")?}))
}
