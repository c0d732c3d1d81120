//! Where it is heard that processes start and end. The scan of the process table is the audit, and
//! all there is where the kernel tells nothing.

mod connector;
mod watch;

use async_trait::async_trait;

pub use self::connector::Connector;
pub use self::watch::Watch;

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

    fn why(&self) -> Option<String> {
        Some(self.0.clone())
    }

    async fn next(&mut self) -> Vec<Event> {
        std::future::pending().await
    }
}

/// The best source that this kernel grants.
pub async fn best() -> Box<dyn EventSource> {
    match Connector::open().await {
        Ok(connector) => Box::new(connector),
        Err(why) => Box::new(ScanOnly(format!("no process connector: {why}"))),
    }
}
