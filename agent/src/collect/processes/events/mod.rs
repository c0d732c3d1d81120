//! Where it is heard that processes start and end. The scan of the process table is the audit, and
//! all there is where the kernel tells nothing.

pub(crate) mod connector;
mod watch;

use std::time::{Duration, Instant};

use async_trait::async_trait;

pub use self::connector::Connector;
pub use self::watch::{News, Watch};

/// What the kernel tells of a process (not of its threads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was forked.
    Started(i32),
    /// It runs another program.
    Executed(i32),
    /// It is gone.
    Ended(i32),
    /// More happened than could be told.
    Lost,
}

/// A source of events.
#[async_trait]
pub trait EventSource: Send {
    /// `Connector` or `Scan`, for the `observed` section.
    fn name(&self) -> &'static str;

    /// Whether it tells of each start, exec and end.
    fn tells(&self) -> bool {
        true
    }

    /// Why it is not a better one, for people.
    fn why(&self) -> Option<String> {
        None
    }

    /// The next events; may be dropped at any await. A source without events never resolves.
    async fn next(&mut self) -> Vec<Event>;
}

/// No events: the scan sees what lives long enough.
pub struct ScanOnly(pub String);

#[async_trait]
impl EventSource for ScanOnly {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn tells(&self) -> bool {
        false
    }

    fn why(&self) -> Option<String> {
        Some(self.0.clone())
    }

    async fn next(&mut self) -> Vec<Event> {
        std::future::pending().await
    }
}

/// How long news is left to gather: a host that forks all the time wakes the agent ten times a second, not for
/// each process. The socket's buffer takes what comes meanwhile; of more than it holds, [`Event::Lost`] tells.
const GATHER: Duration = Duration::from_millis(100);

/// The best source that this kernel grants.
pub async fn best() -> Box<dyn EventSource> {
    match Connector::open().await {
        Ok(connector) => Box::new(connector),
        Err(why) => Box::new(ScanOnly(format!("no process connector: {why}"))),
    }
}

/// Takes in what `source` tells, until a scan would find something new, but not before `earliest`.
pub async fn worth_a_scan(source: &mut dyn EventSource, watch: &mut Watch, earliest: Instant) {
    loop {
        let due = watch.next_due().map(|at| at.max(earliest));
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => return,
            heard = source.next() => {
                let now = Instant::now();
                heard.iter().for_each(|event| watch.note(*event, now));
                // What was lost may be anything.
                if heard.contains(&Event::Lost) && earliest <= now {
                    return;
                }
                tokio::time::sleep(GATHER).await;
            }
        }
    }
}
