//! An enrolled host's agent renews its own token: the right to is for its own account only.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use rand::Rng as _;
use tokio::time::sleep;

use super::files;
use crate::token::{self, Token, TokenError};

/// How long a token is asked for: a host that was off for some days still gets in.
const LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Longest sleep: a clock that was set, or a machine that was suspended, is noticed within it.
const LOOK: Duration = Duration::from_secs(3600);
/// Pause after a failure, up to half as long again.
const RETRY: Duration = Duration::from_secs(60);

/// Renews the token in `path` whenever it is due, for ever.
pub async fn run(client: Client, path: PathBuf) {
    loop {
        let pause = match renew(&client, &path).await {
            Ok(due) => until(due, Timestamp::now()),
            Err(error) => {
                tracing::warn!("failed to renew this host's token: {error:#}");
                RETRY.mul_f64(rand::rng().random_range(1.0..1.5))
            }
        };
        sleep(pause).await;
    }
}

/// Renews it if it is due; answers when it is due next.
async fn renew(client: &Client, path: &std::path::Path) -> anyhow::Result<Timestamp> {
    let text = tokio::fs::read_to_string(path)
        .await
        .with_context(|| format!("failed to read {}", path.display()))?;
    let held = Token::read(&text).with_context(|| format!("{} is refused", path.display()))?;
    if held.due() > Timestamp::now() {
        return Ok(held.due());
    }
    let new = request(client, &held)
        .await
        .with_context(|| format!("enrol this host again before {}", held.expires))?;
    files::write(path, new.secret())?;
    tracing::info!(expires = %new.expires, "renewed this host's token");
    Ok(new.due())
}

/// Asks for a new token of the account that `client` presents one of.
///
/// # Errors
/// The account is gone, the token has ended, or the API server is not reached.
pub async fn request(client: &Client, held: &Token) -> Result<Token, TokenError> {
    token::request(client, &held.namespace, &held.host, LIFETIME).await
}

fn until(due: Timestamp, now: Timestamp) -> Duration {
    let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    wait.clamp(Duration::from_secs(1), LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_noticed_within_the_hour() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(until(at(100), at(90)), Duration::from_secs(10));
        assert_eq!(until(at(1_000_000), at(0)), LOOK);
        assert_eq!(until(at(0), at(1_000_000)), Duration::from_secs(1));
    }
}
