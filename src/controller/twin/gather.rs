//! What is true of a twin's VM and host now, and whether that leaves anything to do.

use std::time::Duration;

use kube::ResourceExt as _;
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::hoststate::Section;
use safetytwin_crds::section::{SectionName, SectionState};
use safetytwin_crds::{Conditions as _, DigitalTwin, HostState};

use super::conditions::{Findings, Stop};
use super::home::{Home, uid_of};
use super::publish::Next;
use crate::controller::backoff;
use crate::controller::context::{Context, Watched};
use crate::controller::error::Error;
use crate::controller::ledger::Ledger;
use crate::controller::sections::replicated;
use crate::plan::status::is_failure;
use crate::vm::VmFacts;

/// Makes the VM run and answers what is true of it. The names are in status before anything is made on the
/// hypervisor, and after it answered: of a twin whose hypervisor never did, nothing can be there. A network
/// with a way out stops everything.
pub async fn machine(
    ctx: &Context,
    ledger: &Ledger,
    home: &Home,
    findings: &mut Findings,
) -> Result<VmFacts, Error> {
    let found = home.vm.observe().await?;
    let twin = ledger.twin().await;
    if twin.status.as_ref().is_none_or(|s| s.vm.is_none()) {
        let mut frozen = home.frozen.clone();
        frozen.host_key = Some(home.keys.host_public.clone());
        ledger.update(|s| s.vm = Some(frozen)).await?;
        ledger.guard().await?;
    }
    // A running domain that is to be adopted is checked and marked before anything is done to it.
    let is_ours = |facts: &VmFacts| !home.frozen.adopted || facts.epoch > 0;
    let facts = match found {
        Some(facts) if facts.running && is_ours(&facts) => facts,
        _ => {
            tracing::info!(twin = twin.name_any(), "making or starting the VM");
            home.vm.ensure().await?
        }
    };
    let isolated = facts.isolated;
    findings.isolated = Some(if isolated {
        Verdict::yes("Isolated", "the network leads nowhere")
    } else {
        Verdict::no(
            "NotIsolated",
            format!(
                "network {} has a way out: remove its <forward>",
                home.class.spec.libvirt.network
            ),
        )
    });
    if !isolated {
        return Err(Error::NotYet {
            reason: "NotIsolated",
            message: "the twin's network has a way out, nothing is applied".into(),
        });
    }
    ctx.memory.watch_vm(Watched {
        uid: uid_of(&twin)?,
        namespace: twin.namespace().unwrap_or_default(),
        name: twin.name_any(),
        vm: std::sync::Arc::clone(&home.vm),
        door: std::sync::Arc::clone(&home.door),
        address: home.address(&facts),
    });
    Ok(facts)
}

/// Whether the host beats, from its own condition.
pub fn freshness(host: &HostState) -> Verdict {
    let status = host.status.as_ref();
    match status.and_then(|s| s.conditions.find(types::FRESH)) {
        Some(fresh) => Verdict {
            status: fresh.status,
            reason: fresh.reason.clone(),
            message: fresh.message.clone(),
        },
        None => Verdict::unknown("NotObserved", "the host was not looked at yet"),
    }
}

/// What the host could not say of itself: a twin cannot follow what is not known. A section of which a
/// part is missing only says so.
pub fn gaps(sections: &[Section], wanted: &[SectionName]) -> Option<Stop> {
    let look = |state: SectionState| {
        let mut replicated = sections.iter().filter(|section| wanted.contains(&section.name));
        let found = replicated.find(|section| section.state == state)?;
        Some((found.name, found.message.clone().unwrap_or_default()))
    };
    if let Some((name, why)) = look(SectionState::Unavailable) {
        let message = format!("the host's agent cannot read {name}: {why}; what the twin has stays as it is");
        return Some(Stop::new("SectionUnavailable", message));
    }
    let (name, why) = look(SectionState::Partial)?;
    Some(Stop {
        harmless: true,
        ..Stop::new(
            "SectionPartial",
            format!("the host's {name} are not known in full: {why}"),
        )
    })
}

/// Whether nothing changed since the last work: host content, spec, machine, guest's boot; and no
/// retry, removal or regular look is due.
pub fn is_settled(ctx: &Context, twin: &DigitalTwin, host: &HostState, facts: &VmFacts) -> bool {
    let (Some(status), Some(uid)) = (twin.status.as_ref(), twin.uid()) else {
        return false;
    };
    let root = host.spec.root_digest(&replicated(&twin.spec));
    let same_content = status
        .applied
        .as_ref()
        .is_some_and(|a| a.root_digest == root && Some(a.generation) == twin.metadata.generation);
    let known = status.vm.as_ref().and_then(|vm| vm.incarnation.as_deref());
    let now = ctx.clock.now();
    let retry_due = match ctx.memory.retry_of(&uid) {
        Some(at) => at.is_some_and(|at| at <= now),
        None => status.not_replicated.iter().any(|n| is_failure(n.reason)),
    };
    let audit_due = match ctx.memory.audited(&uid) {
        Some(at) => now.duration_since(at).unsigned_abs() >= backoff::RESYNC,
        None => {
            // After a restart the period begins anew: nothing is known to have changed.
            ctx.memory.set_audited(&uid, now);
            false
        }
    };
    // Who took over from a process that died may not have heard of the guest yet.
    let reachable = status.conditions.is_true(types::GUEST_REACHABLE);
    reachable
        && same_content
        && same_incarnation(known, facts, ctx.memory.boot_of(&uid).as_deref())
        && status.pending_removal.is_none()
        && !retry_due
        && !audit_due
}

/// Whether the machine, and the guest's boot as far as it is known, are those last set right.
fn same_incarnation(known: Option<&str>, facts: &VmFacts, boot: Option<&str>) -> bool {
    let Some((machine, boot_then)) = known.and_then(|k| k.rsplit_once(' ')) else {
        return false;
    };
    machine == facts.incarnation && boot.is_none_or(|boot| boot == boot_then)
}

/// When a settled twin is looked at again: at its resync, or when a failed item is due.
pub fn rest(ctx: &Context, twin: &DigitalTwin) -> Next {
    let retry = twin.uid().and_then(|uid| ctx.memory.retry_of(&uid)).flatten();
    match retry {
        Some(at) => Next::After(until(ctx, at)),
        None => Next::Resync,
    }
}

/// Time left until `at`, at least a second.
pub fn until(ctx: &Context, at: jiff::Timestamp) -> Duration {
    let left = at.duration_since(ctx.clock.now());
    Duration::try_from(left).unwrap_or_default().max(backoff::FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(state: SectionState) -> [Section; 1] {
        [Section {
            name: SectionName::Units,
            parts: Vec::new(),
            items: 0,
            state,
            collected_time: Some("2026-11-25T18:33:10Z".into()),
            message: Some("systemd does not answer".into()),
        }]
    }

    #[test]
    fn a_twin_does_not_follow_what_its_host_cannot_say() {
        let wanted = [SectionName::Units];
        let unavailable = gaps(&units(SectionState::Unavailable), &wanted).unwrap();
        assert!(!unavailable.harmless && unavailable.message.contains("systemd does not answer"));
        assert!(gaps(&units(SectionState::Partial), &wanted).unwrap().harmless);
        assert_eq!(gaps(&units(SectionState::Complete), &wanted), None);
        assert_eq!(gaps(&units(SectionState::Unavailable), &[]), None);
    }
}
