//! What `twin-agent --once` writes on the host, and what the agent that runs there has published, read for comparison
//! with the host's own tools and with each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::item::Observed;
use safetytwin_crds::section::{SectionName, decode_data, decode_items, object_name};
use safetytwin_crds::{HostSection, HostState};
use safetytwin_e2e::lab::node;
use safetytwin_e2e::wait::{self, Look};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::world::World;

/// Long enough for an emulated host at its busiest.
pub const LIMIT: Duration = Duration::from_secs(240);
/// The command, to which options may be added.
const ONCE: &str = "RUST_LOG=warn /usr/local/bin/twin-agent --once -o json --node-name=web-01";

#[derive(Deserialize)]
struct List {
    items: Vec<HostSection>,
}

/// A head and its sections.
pub struct Dump {
    pub head: HostState,
    sections: Vec<HostSection>,
}

impl Dump {
    /// Looks now, with these options more.
    pub fn look(world: &World, options: &str) -> Result<Self> {
        Self::read(&Self::text(world, options)?)
    }

    /// What is written now, as it is.
    pub fn text(world: &World, options: &str) -> Result<String> {
        world.lab.host().run(&format!("{ONCE} {options}"))
    }

    pub fn read(list: &str) -> Result<Self> {
        let list: serde_json::Value = serde_json::from_str(list).context("the agent's list is no JSON")?;
        let objects = list.get("items").and_then(|items| items.as_array());
        let (mut head, mut sections) = (None, Vec::new());
        for object in objects.context("the agent's list has no items")? {
            match object.get("kind").and_then(|kind| kind.as_str()) {
                Some("HostState") => head = Some(serde_json::from_value(object.clone())?),
                _ => sections.push(serde_json::from_value(object.clone())?),
            }
        }
        let head = head.context("the agent's list has no head")?;
        Ok(Self { head, sections })
    }

    /// What is published now; none where a section was written between the questions about it and its head.
    pub fn published(world: &World) -> Result<Option<Self>> {
        let text = |words: &[&str]| world.lab.kubectl(words.iter().copied().chain(["--output=json"]));
        let head: HostState = serde_json::from_str(&text(&["get", "hoststate", node::NAME])?)?;
        let list: List = serde_json::from_str(&text(&["get", "hostsections"])?)?;
        let mut sections = Vec::new();
        for section in &head.spec.sections {
            for (part, place) in section.parts.iter().enumerate() {
                let name = object_name(node::NAME, section.name, part, place.slot);
                let object = list
                    .items
                    .iter()
                    .find(|object| object.metadata.name.as_ref() == Some(&name));
                let mut object = object.with_context(|| format!("there is no {name}"))?.clone();
                let Ok(data) = decode_data(&object.spec.data, object.spec.encoding, place.digest) else {
                    return Ok(None);
                };
                object.spec.data = String::from_utf8(data)?;
                sections.push(object);
            }
        }
        Ok(Some(Self { head, sections }))
    }

    /// The parts of a section, in clear.
    pub fn parts(&self, name: SectionName) -> impl Iterator<Item = &str> {
        let parts = self.sections.iter().filter(move |s| s.spec.section == name);
        parts.map(|section| section.spec.data.as_str())
    }

    /// All items of a section.
    pub fn items<T: DeserializeOwned>(&self, name: SectionName) -> Result<Vec<T>> {
        let mut items = Vec::new();
        for part in self.parts(name) {
            let (good, refused) = decode_items(part.as_bytes())?;
            ensure!(refused.is_empty(), "{refused:?}");
            items.extend(good);
        }
        Ok(items)
    }

    /// The only item of a section.
    pub fn only<T: DeserializeOwned>(&self, name: SectionName) -> Result<T> {
        let mut items = self.items(name)?.into_iter();
        items
            .next()
            .with_context(|| format!("there is no section {name}"))
    }

    /// What moves by itself, whole.
    pub fn observed(&self) -> Result<Observed> {
        let mut all = Observed::default();
        for some in self.items(SectionName::Observed)? {
            all.add(some);
        }
        Ok(all)
    }
}

/// Looks until nothing differs: what moves while it is looked at says nothing.
pub fn agree(
    what: &str,
    limit: Duration,
    mut differences: impl FnMut() -> Result<Vec<String>>,
) -> Result<()> {
    wait::until(what, limit, || {
        let differences = differences()?;
        Ok(match differences.is_empty() {
            true => Look::Ready(()),
            false => Look::NotYet(differences.join("; ")),
        })
    })
}
