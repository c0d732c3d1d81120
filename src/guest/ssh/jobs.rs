//! Unit jobs: queued together, each awaited by the signal of its end.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use safetytwin_crds::names::{UnitName, printable};
use tokio::time::Instant;
use zbus::{MatchRule, MessageStream, OwnedObjectPath};

use super::bus::{Bus, is_no_such_unit};
use super::session::lost;
use crate::facts::JobOutcome;
use crate::guest::{GuestError, JobKind};

const CALL: &str = "run unit jobs";
/// Longest time until every job of a batch has ended; systemd's own default is as long.
const LIMIT: Duration = Duration::from_secs(90);
/// Ends that are remembered before all jobs are known: other units' jobs end too.
const MAX_ENDS: usize = 10_000;

/// Queues all jobs without waiting in between, then waits until each has ended. Outcomes are in the
/// order of `jobs`.
pub(super) async fn run(bus: &Bus, jobs: &[(JobKind, UnitName)]) -> Result<Vec<JobOutcome>, GuestError> {
    let queued = jobs.iter().map(|(kind, unit)| queue(bus, *kind, unit));
    let ends = run_each(bus, queued.collect()).await?;
    let outcome = |((_, unit), failure): (&(JobKind, UnitName), Option<String>)| JobOutcome {
        unit: unit.clone(),
        failure,
    };
    Ok(jobs.iter().zip(ends).map(outcome).collect())
}

/// Sends calls that queue jobs, and answers each one's failure. `None` of a call: nothing to wait for.
pub(super) async fn run_each<F>(bus: &Bus, calls: Vec<F>) -> Result<Vec<Option<String>>, GuestError>
where
    F: Future<Output = Result<Option<OwnedObjectPath>, GuestError>>,
{
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    // Before the first job: an end that comes at once must not be missed.
    let mut signals = listen(bus).await?;
    let deadline = Instant::now() + LIMIT;
    let mut ends: HashMap<String, String> = HashMap::new();
    let mut sent = std::pin::pin!(join_all(calls));
    let answers = loop {
        tokio::select! {
            answers = &mut sent => break answers,
            end = next(&mut signals) => remember(&mut ends, bus.note(end)?),
        }
    };
    let mut failures = Vec::with_capacity(answers.len());
    for answer in answers {
        failures.push(match answer {
            Ok(None) => None,
            Ok(Some(job)) => {
                let end = ended(&mut signals, &mut ends, job.as_str(), deadline).await;
                bus.note(end)?
            }
            Err(GuestError::Failed { message, .. }) => Some(message),
            Err(error) => return Err(error),
        });
    }
    Ok(failures)
}

async fn listen(bus: &Bus) -> Result<MessageStream, GuestError> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved")
        .build()
        .map_err(|error| lost(CALL, error))?;
    let stream = MessageStream::for_match_rule(rule, &bus.connection, None).await;
    bus.note(stream.map_err(|error| lost(CALL, error)))
}

/// The next end of a job: its path and result. `None`: a signal of another shape.
async fn next(signals: &mut MessageStream) -> Result<Option<(String, String)>, GuestError> {
    let Some(message) = signals.next().await else {
        return Err(lost(CALL, "the bus closed"));
    };
    let message = message.map_err(|error| lost(CALL, error))?;
    let body = message.body();
    let end = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
    Ok(end.ok().map(|(_, job, _, result)| (job.to_string(), result)))
}

fn remember(ends: &mut HashMap<String, String>, end: Option<(String, String)>) {
    if let Some((job, result)) = end
        && ends.len() < MAX_ENDS
    {
        ends.insert(job, result);
    }
}

/// The failure of a job, once it has ended or its time is up. Two calls may share one job.
async fn ended(
    signals: &mut MessageStream,
    ends: &mut HashMap<String, String>,
    job: &str,
    deadline: Instant,
) -> Result<Option<String>, GuestError> {
    loop {
        if let Some(result) = ends.get(job) {
            return Ok((result != "done").then(|| format!("its job ended: {}", printable(result, 40))));
        }
        match tokio::time::timeout_at(deadline, next(signals)).await {
            Ok(end) => remember(ends, end?),
            Err(_) => return Ok(Some(format!("its job did not end within {} s", LIMIT.as_secs()))),
        }
    }
}

async fn queue(bus: &Bus, kind: JobKind, unit: &UnitName) -> Result<Option<OwnedObjectPath>, GuestError> {
    let member = match kind {
        JobKind::Start => "StartUnit",
        JobKind::Restart => "RestartUnit",
        JobKind::Stop => "StopUnit",
    };
    match bus.manage(member, &(unit.as_str(), "replace")).await {
        // What is not in memory is down.
        Err(error) if kind == JobKind::Stop && is_no_such_unit(&error) => Ok(None),
        answer => answer.map(Some),
    }
}
