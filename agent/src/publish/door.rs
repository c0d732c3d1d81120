//! How the agent of a node comes to speak for its host: the token that it begins with, bound to its node, may make the
//! HostState and take a token of the host's own account, which the controller makes with the rights to write by name.
//!
//! ```text
//! token of the node ──▶ HostState is made ──▶ (controller: account, rights) ──▶ token of the account, in memory
//! ```

use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use safetytwin_crds::names::HostName;
use tokio::time::Instant;

use crate::connection::Bearer;
use crate::token::{self, TokenError};

/// How long a token is asked for: an API server that was away for some hours finds the agent still in.
const LIFETIME: SignedDuration = SignedDuration::from_hours(6);

/// The way to a token of the host's account.
pub struct Door {
    /// Presents the token that the agent begins with.
    pub client: Client,
    accounts: String,
    host: HostName,
    bearer: Bearer,
    due: Option<Instant>,
}

impl Door {
    /// For the account of `host` in the namespace `accounts`, by the rights of `client`.
    pub fn new(client: Client, accounts: &str, host: HostName, bearer: Bearer) -> Self {
        Self {
            client,
            accounts: accounts.to_owned(),
            host,
            bearer,
            due: None,
        }
    }

    /// Whose account.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Whether the token that was taken was used for long enough. By the time that passed here, not by the
    /// times in the token, which are of another clock.
    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| Instant::now() >= due)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The account is not there yet, or the API server refuses or is not reached.
    pub async fn enter(&mut self) -> Result<(), TokenError> {
        let token = token::request(&self.client, &self.accounts, &self.host, LIFETIME).await?;
        // A token that was read has characters of base64url and dots only.
        let _held = self.bearer.hold(token.secret());
        let rest = Duration::try_from(token.rest()).unwrap_or_default();
        self.due = Some(Instant::now() + rest.max(Duration::from_secs(60)));
        Ok(())
    }
}
