//! What the agent has published by following events, against what a new one reads: after all that happened on the host
//! until here, both are the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use safetytwin_crds::section::SectionName;
use serde_json::Value;

use crate::Sentence;
use crate::dump::{Dump, LIMIT, agree};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "what_the_agent_has_followed_is_what_a_new_one_reads",
    what_was_followed_is_what_a_new_one_reads,
)];

fn what_was_followed_is_what_a_new_one_reads(world: &World) -> Result<()> {
    let mut compared = 0;
    agree("what was followed and what is read anew", LIMIT, || {
        let Some(followed) = Dump::published(world)? else {
            return Ok(vec!["a section was written meanwhile".to_owned()]);
        };
        let anew = Dump::look(world, "--level full")?;
        let mut differences = Vec::new();
        compared = 0;
        for section in SectionName::COUNTED {
            let (followed, anew) = (by_name(&followed, section)?, by_name(&anew, section)?);
            compared += anew.len();
            let names: BTreeSet<&String> = followed.keys().chain(anew.keys()).collect();
            let differs = names
                .into_iter()
                .filter(|name| followed.get(*name) != anew.get(*name));
            differences
                .extend(differs.map(|name| difference(section, name, followed.get(name), anew.get(name))));
        }
        Ok(differences)
    })?;
    println!("{compared} items: no difference");
    Ok(())
}

fn by_name(dump: &Dump, section: SectionName) -> Result<BTreeMap<String, Value>> {
    let items = dump.items::<Value>(section)?;
    let name = |item: &Value| {
        let keys = ["key", "name", "engine"]
            .iter()
            .filter_map(|key| item.get(key)?.as_str());
        keys.collect::<Vec<_>>().join(" ")
    };
    Ok(items.into_iter().map(|item| (name(&item), item)).collect())
}

/// The members that differ, as both say them.
fn difference(section: SectionName, name: &str, followed: Option<&Value>, anew: Option<&Value>) -> String {
    let members = |item: Option<&Value>| item.and_then(Value::as_object).cloned();
    let what = match (members(followed), members(anew)) {
        (Some(followed), Some(anew)) => {
            let keys: BTreeSet<&String> = followed.keys().chain(anew.keys()).collect();
            let differs = keys
                .into_iter()
                .filter(|key| followed.get(*key) != anew.get(*key));
            let said = |item: &serde_json::Map<String, Value>, key: &String| match item.get(key) {
                Some(value) => value.to_string().chars().take(300).collect(),
                None => "nothing".to_owned(),
            };
            let each = differs.map(|key| format!("{key}: {} / {}", said(&followed, key), said(&anew, key)));
            each.collect::<Vec<_>>().join(", ")
        }
        (Some(_), None) => "only followed".to_owned(),
        _ => "only read anew".to_owned(),
    };
    format!("{section} {name}: {what}")
}
