//! Processes that are gone before anybody looks: the kernel tells the agent of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::HostSection;
use safetytwin_crds::hoststate::HostStateSpec;
use safetytwin_crds::item::Observed;
use safetytwin_crds::item::observed::ProcessEvents;
use safetytwin_crds::section::{SectionName, decode_data, decode_items, object_name};
use safetytwin_e2e::lab::node;
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait::{self, Look};

use crate::Sentence;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "processes_that_live_five_milliseconds_are_counted_and_the_source_is_told",
    short_lives_are_counted,
)];

fn short_lives_are_counted(world: &World) -> Result<()> {
    let before = wait::until("the process connector", Duration::from_secs(180), || {
        Ok(match heard(world)? {
            Some(heard) if heard.source == "Connector" => Look::Ready(heard),
            other => Look::NotYet(format!("{other:?}")),
        })
    })?;
    ensure!(before.reason.is_none(), "{before:?}");
    // Enough that what is published, which may be 4 % off, shows all of them.
    let count = before.executed / 4 + 200;
    world
        .lab
        .host()
        .run(&format!("for i in $(seq {count}); do /bin/sleep 0.005; done"))?;
    let expected = (before.executed + count) * 96 / 100;
    wait::until("the processes to be counted", Duration::from_secs(180), || {
        let heard = heard(world)?.context("nothing is published any more")?;
        Ok(match heard.executed >= expected && heard.ended >= count {
            true => Look::Ready(()),
            false => Look::NotYet(format!("{count} ran after {before:?}: {heard:?}")),
        })
    })
}

/// What the agent published last of starts and ends.
fn heard(world: &World) -> Result<Option<ProcessEvents>> {
    let head = twin::object(&world.lab, "hoststate", node::NAME)?;
    let head: HostStateSpec = serde_json::from_value(head.get("spec").cloned().unwrap_or_default())?;
    let section = head
        .section(SectionName::Observed)
        .context("no observed section")?;
    let part = section
        .parts
        .first()
        .context("the observed section has no part")?;
    let name = object_name(node::NAME, SectionName::Observed, 0, part.slot);
    let content = world.lab.kubectl(["get", "hostsection", &name, "-o", "json"])?;
    let content: HostSection = serde_json::from_str(&content)?;
    // A slot may be written again between the two looks.
    let Ok(json) = decode_data(&content.spec.data, content.spec.encoding, part.digest) else {
        return Ok(None);
    };
    let (all, refused) = decode_items::<Observed>(&json)?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(all
        .into_iter()
        .next()
        .and_then(|observed| observed.process_events))
}
