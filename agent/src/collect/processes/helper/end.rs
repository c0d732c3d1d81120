//! The end of a helper, which nothing in this process can make good: the agent has given its capability up, so that a new
//! helper would have none either. The processes are Unavailable from then on, and keep their identities. Then the agent
//! ends, and systemd or the kubelet starts it anew, with a helper.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A helper that ends sooner after its start may do so each time: until then the other sections go on.
const PATIENCE: Duration = Duration::from_secs(600);

/// The helper ended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the helper of --level full ended {} s after its start; only a new process of the agent can start another: see the log of the system for what ended it, or use --level basic",
    after.as_secs()
)]
pub struct HelperEnded {
    /// How long it ran.
    pub after: Duration,
}

/// Tells of the end. Cloning shares it.
#[derive(Clone, Debug)]
pub struct End {
    started: Instant,
    noted: Arc<Notify>,
}

impl End {
    /// Of a helper that starts now.
    pub fn begin() -> Self {
        Self {
            started: Instant::now(),
            noted: Arc::default(),
        }
    }

    /// Notes that it came.
    pub fn note(&self) {
        self.noted.notify_one();
    }

    /// Resolves when the agent is to end for it.
    pub async fn wait(&self) -> HelperEnded {
        self.noted.notified().await;
        let after = self.started.elapsed();
        tracing::warn!(
            after_s = after.as_secs(),
            "the helper ended: processes are not read until the agent is started anew"
        );
        sleep_until(self.started + PATIENCE).await;
        HelperEnded { after }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_agent_ends_for_its_helper_at_once_but_not_more_often_than_every_ten_minutes() {
        for (lived, waits) in [(5, 595), (599, 1), (600, 0), (86_400, 0)] {
            let end = End::begin();
            sleep(Duration::from_secs(lived)).await;
            assert!(end.wait().now_or_never().is_none(), "it lives");
            end.note();
            let noted = Instant::now();
            let ended = end.wait().await;
            assert_eq!((ended.after.as_secs(), noted.elapsed().as_secs()), (lived, waits));
        }
    }
}
