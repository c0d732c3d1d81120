//! Doors to all that reads what a host says, for `fuzz/` and for the test that replays its corpus: no input
//! panics, a secret of known shape never comes out, and redacting twice is redacting once.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use safetytwin_crds::item::RunClass;
use safetytwin_crds::names::{ContainerName, UnitName};
use serde_json::Value;
use zbus::{OwnedVariant, Variant};

use crate::collect::accounts::Accounts;
use crate::collect::containers::item;
use crate::collect::optin::packages::rpm;
use crate::collect::processes::files::arguments;
use crate::collect::processes::table;
use crate::collect::units::build::Facts;
use crate::collect::units::clean::Cleaner;
use crate::collect::units::files::UnitFiles;
use crate::collect::units::properties::Live;
use crate::collect::units::text::UnitText;
use crate::collect::units::variant::Map;
use crate::redact::Redactor;

/// A secret that is known by its shape, whatever stands around it.
const TOKEN: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
const MACHINE_ID: &str = "5afe7a1e5afe7a1e5afe7a1e5afe7a1e";

fn redactor() -> Redactor {
    MACHINE_ID.parse().map(Redactor::keyed).unwrap_or_default()
}

/// `stat`, `cgroup` and `cmdline` of a process.
pub fn process(bytes: &[u8]) {
    table::Stat::parse(bytes);
    table::owner(&String::from_utf8_lossy(bytes));
    let Some((mut argv, _)) = arguments(bytes.to_vec()).filter(|(argv, _)| !argv.is_empty()) else {
        return;
    };
    argv.push(TOKEN.into());
    let redactor = redactor();
    let (once, _) = redactor.argv(&argv);
    assert_eq!(once.len(), argv.len(), "an argument is lost");
    assert!(!once.iter().any(|text| text.lossy().contains(TOKEN)), "{once:?}");
    let again: Vec<Vec<u8>> = once.iter().map(|text| text.0.clone()).collect();
    assert_eq!(redactor.argv(&again).0, once, "the second time differs");
}

/// The text of a unit file, cut in two around a secret.
pub fn unit_text(text: &str) {
    UnitText::default().add(text);
    let redactor = redactor();
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
    let (before, after) = text.split_at(middle.unwrap_or(0));
    let planted = format!("{before} {TOKEN} {after}");
    for redact in [Redactor::unit, Redactor::text] {
        let once = redact(&redactor, &planted);
        assert!(!once.text.contains(TOKEN), "{once:?}");
        assert!(once.count > 0, "{once:?}");
        assert_eq!(
            redact(&redactor, &once.text).text,
            once.text,
            "the second time differs"
        );
    }
}

/// Properties of a unit as systemd answers, written as a JSON object.
pub fn properties(bytes: &[u8]) {
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else {
        return;
    };
    let mut map: Map = members
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), variant(value)?)))
        .collect();
    if let Ok(planted) = OwnedVariant::try_from(Variant::from(format!("/srv/{TOKEN}/x"))) {
        map.insert("WorkingDirectory".into(), planted);
    }
    let live = Live::new("a@b.service", &map, &HashMap::new(), &Accounts::default());
    let (Ok(name), files) = ("a@b.service".parse(), Arc::new(UnitFiles::none())) else {
        return;
    };
    let facts = Facts {
        name: &name,
        live: Some(&live),
        files: &files,
        loaded_text: None,
        enablement: None,
        preset: "",
        installed: Default::default(),
    };
    let item = facts.item(
        RunClass::Up,
        &Map::new(),
        &Accounts::default(),
        &mut Cleaner::new(redactor()),
    );
    let text = serde_json::to_string(&item).unwrap_or_default();
    assert!(!text.is_empty() && !text.contains(TOKEN), "{text}");
}

fn variant(value: &Value) -> Option<OwnedVariant> {
    let variant = match value {
        Value::Bool(truth) => Variant::from(*truth),
        Value::Number(number) => Variant::from(number.as_u64()?),
        Value::String(text) if !text.contains('\0') => Variant::from(text.clone()),
        Value::Array(list) => {
            let texts = list.iter().filter_map(Value::as_str).map(str::to_owned);
            Variant::from(texts.collect::<Vec<String>>())
        }
        _ => return None,
    };
    OwnedVariant::try_from(variant).ok()
}

/// What an engine says of a container, as JSON.
pub fn container(bytes: &[u8]) {
    let Ok(mut details) = serde_json::from_slice::<ContainerInspectResponse>(bytes) else {
        return;
    };
    let config = details.config.get_or_insert_default();
    let labels = config.labels.get_or_insert_default();
    labels.insert("note".into(), format!("see {TOKEN}"));
    config.cmd.get_or_insert_default().push(format!("--with={TOKEN}"));
    if let Ok(item) = item::alone(&details, &redactor()) {
        item::observed(&item, &details);
        let text = serde_json::to_string(&item).unwrap_or_default();
        // The rest of the input may hold the same token where nothing looks.
        let shown = format!("{:?} {:?}", item.labels.get("note"), item.command);
        assert!(!text.is_empty() && !shown.contains(TOKEN), "{shown}");
    }
}

/// A name of a unit or a container.
pub fn name(text: &str) {
    let redactor = redactor();
    if let Ok(unit) = text.parse::<UnitName>() {
        let other = redactor.unit_name(&unit);
        assert_eq!(other.unit_type(), unit.unit_type());
        assert_eq!(redactor.unit_name(&other), other);
    }
    if let Ok(container) = text.parse::<ContainerName>() {
        let other = redactor.container_name(&container);
        assert_eq!(redactor.container_name(&other), other);
    }
    let once = redactor.image(text);
    assert_eq!(redactor.image(&once.text).text, once.text);
}

/// An rpm database, and its write-ahead log from where one begins in it; or the header of one
/// package.
pub fn rpm(bytes: &[u8]) {
    let log = bytes.windows(3).position(|start| start == [0x37, 0x7f, 0x06]);
    let (database, log) = bytes.split_at(log.unwrap_or(bytes.len()));
    let log = (!log.is_empty()).then(|| Cursor::new(log));
    if let Ok(found) = rpm::packages(Cursor::new(database), log) {
        for item in &found.items {
            assert!(item.name.is_ascii() && item.version.len() <= 256, "{item:?}");
            assert!(!item.version.contains(char::is_control), "{item:?}");
        }
    }
    assert!(rpm::header::Header::read(bytes).is_ok(), "bytes in memory");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The inputs that are kept for a target.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let files = std::fs::read_dir(&folder).unwrap();
        let inputs: Vec<_> = files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert!(!inputs.is_empty(), "{}", folder.display());
        inputs
    }

    #[test]
    fn every_input_that_the_fuzzer_kept_is_read() {
        type Door = (&'static str, fn(&[u8]));
        let doors: [Door; 6] = [
            ("process", process),
            ("unit_text", |bytes| unit_text(&String::from_utf8_lossy(bytes))),
            ("properties", properties),
            ("container", container),
            ("name", |bytes| name(&String::from_utf8_lossy(bytes))),
            ("rpm", rpm),
        ];
        for (target, door) in doors {
            for input in corpus(target) {
                door(&input);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,120}") {
            process(text.as_bytes());
            unit_text(&text);
            name(&text);
        }
    }
}
