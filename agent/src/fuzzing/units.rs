//! Text of unit files and names, and properties of units as systemd answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetytwin_crds::item::RunClass;
use safetytwin_crds::names::{ContainerName, UnitName};
use serde_json::Value;
use zbus::wire::StructureBuilder;
use zbus::{Array, OwnedVariant, Variant};

use super::{TOKEN, redactor};
use crate::collect::accounts::Accounts;
use crate::collect::bus;
use crate::collect::units::build::Facts;
use crate::collect::units::clean::Cleaner;
use crate::collect::units::dependencies::Names;
use crate::collect::units::files::UnitFiles;
use crate::collect::units::install::Install;
use crate::collect::units::properties::Live;
use crate::collect::units::quantity;
use crate::collect::units::text::UnitText;
use crate::collect::units::variant::Map;
use crate::redact::Redactor;

/// A unit of each type that has readers of its own.
const UNITS: [&str; 9] = [
    "a@b.service",
    "a.socket",
    "a.timer",
    "a.path",
    "a.mount",
    "a.automount",
    "a.swap",
    "a.slice",
    "a.target",
];

/// The text of a unit file: redacted, cut in two around a secret; and read as the files of each type of unit, before and
/// after an edit.
pub fn unit_text(text: &str) {
    quantities(text);
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
    let (before, after) = text.split_at(middle.unwrap_or(0));
    for name in UNITS {
        declared(name, before, text);
    }
    let redactor = redactor();
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

/// Sizes, times, shares and lists of CPUs; what is shown of a list reads as the same list.
fn quantities(text: &str) {
    for base in [1, 1000, 1024] {
        quantity::size(text, base);
    }
    for unit in [1, 1_000_000] {
        quantity::time(text, unit);
    }
    quantity::permyriad(text);
    quantity::cpu_mask(text.as_bytes());
    if let Some(shown) = quantity::cpus(text) {
        assert_eq!(quantity::cpus(&shown), Some(shown));
    }
}

/// The item of a unit by its files alone, and by what is in force and an edit of its files.
fn declared(name: &str, then: &str, now: &str) {
    let Ok(name) = name.parse::<UnitName>() else {
        return;
    };
    // A drop-in whose paths hold a secret.
    let planted = format!("[Service]\nWorkingDirectory=/srv/{TOKEN}\n[Mount]\nWhat=/dev/{TOKEN}\n");
    let read = |text: &str| {
        let mut read = UnitText::default();
        read.add(text);
        read.add(&planted);
        read
    };
    let text = read(now);
    let files = Arc::new(UnitFiles {
        install: Some(Install::new(&text, name.unit_type())),
        text: Arc::new(text),
        ..UnitFiles::none()
    });
    let (then, stale) = (
        Arc::new(read(then)),
        Live {
            stale: true,
            ..Live::default()
        },
    );
    show(&name, &files, None, None);
    show(&name, &files, Some(&stale), Some(&then));
}

/// The item of a unit; no secret that was planted is in what holds no text of files.
fn show(name: &UnitName, files: &Arc<UnitFiles>, live: Option<&Live>, loaded_text: Option<&Arc<UnitText>>) {
    let facts = Facts {
        name,
        live,
        files,
        loaded_text,
        enablement: None,
        preset: "",
        triggered: false,
        installed: BTreeMap::default(),
    };
    facts.nature();
    let mut cleaner = Cleaner::new(redactor());
    let item = facts.item(RunClass::Up, &Map::new(), &Accounts::default(), &mut cleaner);
    let text = serde_json::to_string(&item).unwrap_or_default();
    assert!(!text.is_empty() && !text.contains(TOKEN), "{text}");
}

/// Properties of a unit as systemd answers, and of the manager, written as a JSON object. A list of lists is an array of
/// structures (`Exec*`, `Timers*`, `Listen`, `Paths`, `EnvironmentFiles`, `DeviceAllow`, `IO*`); an object of one member
/// names another type of D-Bus: `{"u": 5}`, `{"i": -5}`, `{"ay": [1]}`.
pub fn properties(bytes: &[u8]) {
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else {
        return;
    };
    let mut map: Map = members
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), own(variant(value)?)?)))
        .collect();
    for (property, value) in planted() {
        map.entry(property.to_owned()).or_insert(value);
    }
    if let Some(directory) = own(Variant::from(format!("/srv/{TOKEN}/x"))) {
        map.insert("WorkingDirectory".into(), directory);
    }
    for name in UNITS {
        let live = Live::new(name, &map, &map, &Accounts::default(), &mut Names::default());
        if let Ok(name) = name.parse() {
            show(&name, &Arc::new(UnitFiles::none()), Some(&live), None);
        }
    }
}

/// Arrays of structures with a secret in them.
fn planted() -> Vec<(&'static str, OwnedVariant)> {
    let path = format!("/srv/{TOKEN}/x");
    let command = serde_json::json!([[path, [path, TOKEN], false, 0, 0, 0, 0, {"u": 0}, {"i": 0}, {"i": 0}]]);
    let arrays = [
        ("ExecStart", command),
        ("EnvironmentFiles", serde_json::json!([[path, false]])),
        ("Listen", serde_json::json!([["Stream", path]])),
        ("Paths", serde_json::json!([["PathExists", path]])),
        ("DeviceAllow", serde_json::json!([[path, "rw"]])),
    ];
    let arrays = arrays.into_iter();
    arrays
        .filter_map(|(property, value)| Some((property, own(variant(&value)?)?)))
        .collect()
}

fn own(variant: Variant<'_>) -> Option<OwnedVariant> {
    OwnedVariant::try_from(variant).ok()
}

fn variant(value: &Value) -> Option<Variant<'static>> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(truth) => Variant::from(*truth),
        Value::Number(number) => Variant::from(number.as_u64()?),
        Value::String(text) if text.contains('\0') => return None,
        Value::String(text) => Variant::from(text.clone()),
        Value::Array(list) if list.iter().any(Value::is_array) => rows(list)?,
        Value::Array(list) => {
            let texts = list.iter().filter_map(Value::as_str).map(str::to_owned);
            Variant::from(texts.collect::<Vec<String>>())
        }
        Value::Object(members) => match members.iter().next()? {
            (kind, number) if kind == "u" => Variant::from(u32::try_from(number.as_u64()?).ok()?),
            (kind, number) if kind == "i" => Variant::from(i32::try_from(number.as_i64()?).ok()?),
            (kind, Value::Array(bytes)) if kind == "ay" => {
                let bytes = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
                Variant::from(bytes.collect::<Vec<u8>>())
            }
            _ => return None,
        },
    })
}

/// An array of structures of the signature of the first; others are left out.
fn rows(list: &[Value]) -> Option<Variant<'static>> {
    let row = |value: &Value| {
        let fields = value.as_array()?.iter().filter_map(variant);
        let builder = fields.fold(StructureBuilder::new(), StructureBuilder::append_field);
        builder.build().ok()
    };
    let rows: Vec<_> = list.iter().filter_map(row).collect();
    let mut array = Array::new(rows.first()?.signature());
    for row in rows {
        let _ = array.append(Variant::from(row));
    }
    Some(Variant::from(array))
}

/// A name of a unit or a container, an image reference, an object path of a unit.
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
    bus::unit_of(text);
    assert_eq!(bus::unit_of(&bus::unit_path(text)).as_deref(), Some(text));
    let once = redactor.image(text);
    assert_eq!(redactor.image(&once.text).text, once.text);
}
