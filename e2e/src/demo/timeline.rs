//! When a change of the host was published, preceded by a snapshot, and active in the twin: one clock for all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::lab::{Lab, node};
use crate::product::twin;
use crate::wait::{self, Look};

/// Longest time for a change to arrive; software emulation is slow, and nobody should wait for ever.
const LIMIT: Duration = Duration::from_secs(180);

/// The moments of one change, from the start of the command that made it.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// What was done.
    pub change: String,
    /// The command on the host returned.
    pub returned: Duration,
    /// The head with the changed section was written.
    pub published: Duration,
    /// The restore point was Ready.
    pub snapshot: Duration,
    /// The twin was in the new state.
    pub active: Duration,
}

impl Timeline {
    /// One line of the summary.
    pub fn row(&self) -> String {
        let seconds = |moment: Duration| format!("{:>8.1}s", moment.as_secs_f64());
        format!(
            "{:<34} {} {} {}",
            self.change,
            seconds(self.published),
            seconds(self.snapshot),
            seconds(self.active)
        )
    }

    /// The story of the change.
    pub fn tell(&self) {
        for (moment, text) in [
            (self.returned, "done on the host"),
            (self.published, "published"),
            (self.snapshot, "snapshot of the twin taken"),
            (self.active, "in the twin"),
        ] {
            println!("    +{:>5.1} s  {text}", moment.as_secs_f64());
        }
    }
}

/// What is looked at before and after.
#[derive(PartialEq, Eq, Clone)]
struct Mark {
    sections: String,
    points: usize,
}

fn mark(lab: &Lab) -> Result<Mark> {
    let head = lab.kubectl([
        "get",
        "hoststate",
        node::NAME,
        "-o",
        "jsonpath={.spec.sections[*].parts[*].digest}",
    ])?;
    Ok(Mark {
        sections: head,
        points: ready_points(lab)?,
    })
}

fn ready_points(lab: &Lab) -> Result<usize> {
    let points = twin::objects(lab, "twinsnapshots")?;
    Ok(points
        .iter()
        .filter(|point| twin::condition(point, "Ready").0 == "True")
        .count())
}

/// Makes a change on the host and follows it until `arrived` holds in the twin.
///
/// # Errors
/// The change fails, or a moment does not come within three minutes.
pub fn follow(
    lab: &Lab,
    change: &str,
    line: &str,
    arrived: impl Fn() -> Result<bool> + Send + Sync,
) -> Result<Timeline> {
    twin::wait_settled(lab)?;
    let before = mark(lab)?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let command = scope.spawn(|| lab.host().run(line).map(|_| began.elapsed()));
        let published = scope.spawn(|| {
            moment(began, "the published state", || {
                Ok(sections(lab)? != before.sections)
            })
        });
        let snapshot =
            scope.spawn(|| moment(began, "the snapshot", || Ok(ready_points(lab)? != before.points)));
        let active = scope.spawn(|| moment(began, change, &arrived));
        Ok(Timeline {
            change: change.to_owned(),
            returned: joined(command)?,
            published: joined(published)?,
            snapshot: joined(snapshot)?,
            active: joined(active)?,
        })
    })
}

fn sections(lab: &Lab) -> Result<String> {
    mark(lab).map(|mark| mark.sections)
}

fn moment(began: Instant, what: &str, look: impl Fn() -> Result<bool>) -> Result<Duration> {
    wait::until(what, LIMIT, || {
        Ok(if look()? {
            Look::Ready(began.elapsed())
        } else {
            Look::NotYet("not yet".into())
        })
    })
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Result<Duration>>) -> Result<Duration> {
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("a thread of the timeline panicked"))?
}

/// The newest change that the twin's status tells.
///
/// # Errors
/// The twin has none.
pub fn last_change(lab: &Lab) -> Result<Value> {
    let twin = twin::object(lab, "digitaltwin", twin::NAME)?;
    twin.pointer("/status/changes/0")
        .cloned()
        .context("the twin tells of no change")
}
