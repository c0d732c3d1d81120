//! Driver of HostState: Fresh or Stale, which twins refer to it, resend requests, and its end.
//!
//! It runs at every beat but writes on transitions only. Stale means no new head for
//! max(3 × interval, 30 s) by the controller's own clock; a timer per host notices it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::Patch;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::{ConditionStatus, Verdict, types};
use safetytwin_crds::names::{HostName, printable};
use safetytwin_crds::section::{MAX_PARTS, SectionName, Slot, object_name};
use safetytwin_crds::{Conditions as _, HostSection, HostState, HostStateStatus};

use super::access;
use super::api;
use super::context::{Beat, Context, full_name};
use super::error::Error;

/// A head is never stale sooner than this.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);
/// How long the state of a silent host without twins is kept.
const RETAIN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Most twins named in a host's status.
const MAX_TWINS: usize = 100;

/// One look at a host.
pub async fn reconcile(host: Arc<HostState>, ctx: Arc<Context>) -> Result<Action, Error> {
    let now = ctx.clock.now();
    let twins = twins_of(&ctx, &host.name_any()).await?;
    let limit = patience(host.spec.interval_seconds);
    let quiet = now.duration_since(last_beat(&ctx, &host, now, limit));
    // A host may have come back while nobody looked: it has its time to beat.
    let met = ctx.memory.met(&host.uid().unwrap_or_default(), now);
    let may_go = now.duration_since(met).unsigned_abs() > limit;
    if may_go && twins.is_empty() && quiet > RETAIN {
        return forget(&ctx, &host).await;
    }
    let mut status = host.status.clone().unwrap_or_default();
    status.twins = twins;
    status
        .conditions
        .set(types::FRESH, freshness(&host, quiet, limit), None, now);
    request_resend(&ctx, &host, &mut status);
    if host.status.as_ref() != Some(&status) {
        write(&ctx, &host, status).await?;
    }
    access::grant(&ctx, &host, quiet.unsigned_abs() > limit).await?;
    let left = limit.saturating_sub(quiet.unsigned_abs());
    Ok(Action::requeue(if left.is_zero() {
        super::backoff::resync()
    } else {
        left + Duration::from_millis(100)
    }))
}

/// How long a host may be silent.
pub fn patience(interval_seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(interval_seconds).unwrap_or(0) * 3).max(LEAST_PATIENCE)
}

fn freshness(host: &HostState, quiet: SignedDuration, limit: Duration) -> Verdict {
    if quiet.unsigned_abs() <= limit {
        Verdict::yes("Beating", "")
    } else {
        Verdict::no(
            "HostStateStale",
            format!(
                "no beat for more than {} s: last was {}; check twin-agent on the host",
                limit.as_secs(),
                printable(&host.spec.observed_time, 40)
            ),
        )
    }
}

/// When the newest head was first seen. At the first look since the start that is now, unless the host had been found
/// silent: then it is as long ago as makes it so.
fn last_beat(ctx: &Context, host: &HostState, now: Timestamp, limit: Duration) -> Timestamp {
    let uid = host.uid().unwrap_or_default();
    let silent_since = match ctx.memory.knows_host(&uid) {
        true => None,
        false => found_silent(host).and_then(|found| found.checked_sub(limit).ok()),
    };
    let head = Beat {
        boot_id: host.spec.boot_id.clone(),
        sequence: host.spec.sequence,
        seen: silent_since.unwrap_or(now),
    };
    ctx.memory.beat(&uid, head).seen
}

/// When the host was found silent, if its status says that it is.
fn found_silent(host: &HostState) -> Option<Timestamp> {
    let status = host.status.as_ref()?;
    let fresh = status.conditions.find(types::FRESH)?;
    match fresh.status {
        ConditionStatus::False => fresh.last_transition_time.parse().ok(),
        ConditionStatus::True | ConditionStatus::Unknown => None,
    }
}

async fn twins_of(ctx: &Context, host: &str) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = ctx
        .all_twins()
        .await?
        .iter()
        .filter(|t| t.spec.host_ref.name == host)
        .map(|t| full_name(t))
        .collect();
    names.sort();
    names.truncate(MAX_TWINS);
    Ok(names)
}

/// Puts a new token in the status when a resend is wanted and the last one was answered.
fn request_resend(ctx: &Context, host: &HostState, status: &mut HostStateStatus) {
    let pending = status.resend_request.is_some() && status.resend_request != host.spec.resend_answered;
    if !pending && ctx.memory.take_resend(&host.name_any()) {
        status.resend_request = Some(format!("{:016x}", rand::random::<u64>()));
    }
}

/// A merge patch, whose lists replace those that are there, without a resource version: the agent rewrites the object
/// every beat. It leaves the object without managed fields, as the agent does.
async fn write(ctx: &Context, host: &HostState, status: HostStateStatus) -> Result<(), Error> {
    let hosts: Api<HostState> = Api::all(ctx.client.clone());
    let HostStateStatus {
        conditions,
        resend_request,
        twins,
    } = status;
    let body = serde_json::json!({
        "metadata": {"uid": host.uid()},
        "status": {"conditions": conditions, "resendRequest": resend_request, "twins": twins},
    });
    let patch = Patch::Merge(&body);
    api::within(
        "write the host's status",
        hosts.patch_status(&host.name_any(), &api::patch(), &patch),
    )
    .await?;
    Ok(())
}

/// Removes the state of a host that is silent for long and that no twin refers to: also sections that it has no more, and
/// parts that they had when they were larger.
async fn forget(ctx: &Context, host: &HostState) -> Result<Action, Error> {
    for section in SectionName::known() {
        for part in 0..MAX_PARTS {
            if !forget_part(ctx, &host.spec.host, section, part).await? {
                break;
            }
        }
    }
    let hosts: Api<HostState> = Api::all(ctx.client.clone());
    api::delete(
        "delete the host's state",
        &hosts,
        &host.name_any(),
        host.uid().as_deref(),
    )
    .await?;
    ctx.memory.forget_host(&host.uid().unwrap_or_default());
    tracing::info!(host = host.name_any(), "deleted the state of a silent host");
    Ok(Action::await_change())
}

/// Deletes both slots of a part; answers whether there was one. Parts are filled in order, so that none follows a missing
/// one.
async fn forget_part(
    ctx: &Context,
    host: &HostName,
    section: SectionName,
    part: usize,
) -> Result<bool, Error> {
    let sections: Api<HostSection> = Api::all(ctx.client.clone());
    let mut found = false;
    for slot in [Slot::A, Slot::B] {
        let name = object_name(host.as_str(), section, part, slot);
        found |= api::delete("delete a section", &sections, &name, None).await?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_miss_three_beats_and_at_least_half_a_minute() {
        assert_eq!(patience(1), Duration::from_secs(30));
        assert_eq!(patience(60), Duration::from_secs(180));
    }
}
