//! Resource limits of a unit: rlimits (systemd.exec(5)), cgroup settings (systemd.resource-control(5))
//! and scheduling, as property name to value, without those that are systemd's default.
//!
//! A value from D-Bus and the same one from a file are equal texts: a unit's start changes nothing. What
//! depends on the machine (`MemoryMax=50%`) is as written until systemd has made a number of it.

mod scheduling;
mod table;

use std::collections::BTreeMap;

use safetytwin_crds::names::{UnitName, UnitType};
use zbus::{OwnedVariant, Variant};

use self::table::{Form, Row, TABLE, Unset};
use super::quantity::{self, INFINITY};
use super::text::{UnitText, is_true};
use super::variant::{Map, items, rows};

/// Longest value, in bytes.
const LONGEST: usize = 4096;

/// The limits of a loaded unit. `manager` are the manager's own properties.
pub fn loaded(map: &Map, manager: &Map, unit_type: UnitType) -> BTreeMap<String, String> {
    let mut limits = BTreeMap::new();
    for row in TABLE {
        for property in properties(row) {
            let default = default(&property, row, manager, unit_type);
            let value = map.get(&property).and_then(|value| shown(value, row.2));
            if let Some(value) = value.filter(|value| default.as_ref() != Some(value)) {
                limits.insert(property, bounded(value));
            }
        }
    }
    scheduling::without_class_none(&mut limits);
    limits
}

/// The limits that the files of a unit set.
pub fn written(text: &UnitText, manager: &Map, unit: &UnitName) -> BTreeMap<String, String> {
    let mut limits = BTreeMap::new();
    let Some(section) = section(unit.unit_type()) else {
        return limits;
    };
    let mut scheduling = scheduling::written(text, section);
    for row in TABLE {
        let values = text.all(section, row.1);
        let read: Vec<String> = match (row.2, values.last()) {
            (Form::Ordered, _) => scheduling.remove(row.0).into_iter().collect(),
            (_, None) => continue,
            (Form::PerDevice | Form::PerDeviceTime | Form::Access, _) => vec![listed(&values, row.2)],
            (Form::Words | Form::Cpus, _) => vec![value(&values.join(" "), row.2)],
            (form, Some(last)) if is_pair(form) => {
                let (soft, hard) = last.split_once(':').unwrap_or((last, last));
                vec![value(hard, form), value(soft, form)]
            }
            (form, Some(last)) => vec![value(last, form)],
        };
        for (property, value) in properties(row).into_iter().zip(read) {
            if default(&property, row, manager, unit.unit_type()).as_ref() != Some(&value) {
                limits.insert(property, bounded(value));
            }
        }
    }
    limits
}

/// The section of a unit file that has such settings.
fn section(unit_type: UnitType) -> Option<&'static str> {
    match unit_type {
        UnitType::Service => Some("Service"),
        UnitType::Socket => Some("Socket"),
        UnitType::Mount => Some("Mount"),
        UnitType::Swap => Some("Swap"),
        UnitType::Slice => Some("Slice"),
        UnitType::Scope => Some("Scope"),
        UnitType::Target | UnitType::Device | UnitType::Automount | UnitType::Timer | UnitType::Path => None,
    }
}

fn is_pair(form: Form) -> bool {
    use Form::{BytesLimit, MicrosecondsLimit, NiceLimit, NumberLimit, SecondsLimit};
    matches!(
        form,
        BytesLimit | NumberLimit | SecondsLimit | MicrosecondsLimit | NiceLimit
    )
}

fn properties((property, _, form, _): Row) -> Vec<String> {
    match is_pair(form) {
        true => vec![property.to_owned(), format!("{property}Soft")],
        false => vec![property.to_owned()],
    }
}

/// The default as a text; none when the manager does not say it.
fn default(property: &str, row: Row, manager: &Map, unit_type: UnitType) -> Option<String> {
    match row.3 {
        Unset::Is(value) => Some(value.to_owned()),
        // The manager's default is for what runs processes.
        Unset::Managers if property == "TasksMax" && unit_type == UnitType::Slice => {
            Some(INFINITY.to_owned())
        }
        Unset::Managers => {
            let value = manager.get(&format!("Default{property}"));
            let older = || matches!(property, "OOMScoreAdjust").then(|| "0".to_owned());
            value.and_then(|value| shown(value, row.2)).or_else(older)
        }
    }
}

/// A property as a text.
fn shown(value: &OwnedVariant, form: Form) -> Option<String> {
    let joined = |parts: Vec<String>, by: &str| Some(parts.join(by));
    match (&**value, form) {
        (Variant::U32(share), Form::Share) => {
            let hundredths = (u64::from(*share) * 10_000 + u64::from(u32::MAX / 2)) / u64::from(u32::MAX);
            Some(format!("{}.{:02}%", hundredths / 100, hundredths % 100))
        }
        (Variant::U64(n), _) => Some(count(*n)),
        (Variant::U32(n), _) => Some(n.to_string()),
        (Variant::I32(n), Form::Called(words)) => {
            let word = usize::try_from(*n).ok().and_then(|n| words.get(n));
            Some((*word.unwrap_or(&"n/a")).to_owned())
        }
        (Variant::I32(n), _) => Some(n.to_string()),
        (Variant::Bool(flag), _) => Some(yes_or_no(*flag)),
        (Variant::Str(word), _) => Some(word.to_string()),
        (Variant::Array(_), Form::Cpus) => {
            let byte = |value: &Variant<'_>| match value {
                Variant::U8(byte) => Some(*byte),
                _ => None,
            };
            let bytes: Vec<u8> = items(value).iter().filter_map(byte).collect();
            Some(quantity::cpu_mask(&bytes))
        }
        (Variant::Array(_), Form::Words) => joined(super::variant::texts(value), " "),
        (Variant::Array(_), _) => {
            let row = |fields: &[Variant<'static>]| match fields {
                [Variant::Str(path), Variant::U64(n)] => Some(format!("{path} {n}")),
                [Variant::Str(path), Variant::Str(access)] => Some(format!("{path} {access}")),
                _ => None,
            };
            joined(rows(value).filter_map(row).collect(), ", ")
        }
        _ => None,
    }
}

/// A setting as its property; as it is written when only systemd can make a number of it.
fn value(written: &str, form: Form) -> String {
    let number = match form {
        Form::Bytes | Form::BytesLimit => quantity::size(written, 1024),
        Form::Weight if written == "idle" => Some(0),
        Form::Quota => quantity::permyriad(written).map(|share| share.saturating_mul(100)),
        Form::Seconds => quantity::time(written, 1_000_000),
        Form::MicrosecondsLimit => quantity::time(written, 1),
        Form::SecondsLimit => quantity::time(written, 1_000_000).map(|usec| match usec {
            u64::MAX => usec,
            usec => usec.div_ceil(1_000_000),
        }),
        Form::NiceLimit => quantity::nice(written),
        Form::Number | Form::NumberLimit | Form::Weight => return plain(written),
        Form::Cpus => return quantity::cpus(written).unwrap_or_else(|| written.to_owned()),
        Form::Words => return written.split_whitespace().collect::<Vec<_>>().join(" "),
        Form::Flag => return yes_or_no(is_true(written)),
        Form::Share => {
            let share = quantity::permyriad(written);
            return share.map_or(written.to_owned(), |s| format!("{}.{:02}%", s / 100, s % 100));
        }
        Form::Called(words) => {
            let word = written.parse().ok().and_then(|n: usize| words.get(n));
            return (*word.unwrap_or(&written)).to_owned();
        }
        Form::Word | Form::Ordered | Form::PerDevice | Form::PerDeviceTime | Form::Access => None,
    };
    number.map_or_else(|| written.to_owned(), count)
}

/// A number without a sign that says nothing.
fn plain(written: &str) -> String {
    let number = written.parse::<i64>().map(|number| number.to_string());
    number.unwrap_or_else(|_| written.to_owned())
}

fn listed(values: &[&str], form: Form) -> String {
    let entry = |line: &&str| {
        let (path, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let number = match form {
            Form::PerDevice => quantity::size(rest, 1000),
            Form::PerDeviceTime => quantity::time(rest, 1_000_000),
            _ => None,
        };
        match (number, rest) {
            (Some(number), _) => format!("{path} {number}"),
            (None, "") => format!("{path} rwm"),
            (None, rest) => format!("{path} {rest}"),
        }
    };
    values.iter().map(entry).collect::<Vec<_>>().join(", ")
}

fn count(number: u64) -> String {
    match number {
        u64::MAX => INFINITY.to_owned(),
        number => number.to_string(),
    }
}

fn yes_or_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn bounded(mut value: String) -> String {
    let end = value.floor_char_boundary(LONGEST);
    value.truncate(end);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(value: Variant<'_>) -> OwnedVariant {
        OwnedVariant::try_from(value).unwrap()
    }

    fn manager() -> Map {
        let numbers = [
            ("DefaultTasksMax", 4915u64),
            ("DefaultLimitNOFILE", 524_288),
            ("DefaultLimitNOFILESoft", 1024),
        ];
        let mut manager: Map = numbers
            .map(|(key, n)| (key.to_owned(), own(Variant::from(n))))
            .into();
        manager.insert("DefaultCPUAccounting".into(), own(Variant::from(false)));
        manager
    }

    #[test]
    fn a_limit_is_the_same_text_from_its_file_and_from_systemd() {
        let mut text = UnitText::default();
        text.add(
            "[Service]\nMemoryMax=1G\nMemoryLow=0\nTasksMax=50\nCPUQuota=150%\nCPUWeight=idle\nLimitNOFILE=1024:65536\n\
             AllowedCPUs=0,2-3 1\nCPUAccounting=on\nIOReadBandwidthMax=/dev/vda 5M\nDeviceAllow=/dev/null\n\
             Nice=+5\nCPUSchedulingPolicy=rr\nCPUSchedulingResetOnFork=true\nCPUAffinity=1 3\nNUMAPolicy=bind\n\
             NUMAMask=0\nIOSchedulingClass=idle\nIOSchedulingPriority=4\nRuntimeMaxSec=1min 30s\nManagedOOMMemoryPressureLimit=60%\nLimitCORE=infinity\n",
        );
        let device = vec![("/dev/vda", 5_000_000u64)];
        let access = vec![("/dev/null", "rwm")];
        let map: Map = [
            ("MemoryMax", own(Variant::from(1u64 << 30))),
            ("MemoryLow", own(Variant::from(0u64))),
            ("TasksMax", own(Variant::from(50u64))),
            ("CPUQuotaPerSecUSec", own(Variant::from(1_500_000u64))),
            ("CPUWeight", own(Variant::from(0u64))),
            ("LimitNOFILE", own(Variant::from(65_536u64))),
            ("LimitNOFILESoft", own(Variant::from(1024u64))),
            ("LimitCORE", own(Variant::from(u64::MAX))),
            ("LimitCORESoft", own(Variant::from(u64::MAX))),
            ("AllowedCPUs", own(Variant::from(vec![0b1111u8]))),
            ("CPUAccounting", own(Variant::from(true))),
            ("IOReadBandwidthMax", own(Variant::from(device))),
            ("DeviceAllow", own(Variant::from(access))),
            ("Nice", own(Variant::from(5i32))),
            ("CPUSchedulingPolicy", own(Variant::from(2i32))),
            ("CPUSchedulingPriority", own(Variant::from(1i32))),
            ("CPUSchedulingResetOnFork", own(Variant::from(true))),
            ("CPUAffinity", own(Variant::from(vec![0b1010u8]))),
            ("NUMAPolicy", own(Variant::from(2i32))),
            ("NUMAMask", own(Variant::from(vec![1u8]))),
            ("IOSchedulingClass", own(Variant::from(3i32))),
            ("IOSchedulingPriority", own(Variant::from(4i32))),
            ("RuntimeMaxUSec", own(Variant::from(90_000_000u64))),
            (
                "ManagedOOMMemoryPressureLimit",
                own(Variant::from(2_576_980_377u32)),
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let unit = "a.service".parse().unwrap();
        let written = written(&text, &manager(), &unit);
        assert_eq!(written, loaded(&map, &manager(), UnitType::Service));
        assert_eq!(written["CPUQuotaPerSecUSec"], "1500000");
        assert_eq!(written["AllowedCPUs"], "0-3");
        assert_eq!(written.get("LimitNOFILESoft"), None, "the manager's default");
        assert_eq!(written.get("MemoryLow"), None, "systemd's default");
    }

    #[test]
    fn a_share_of_the_machine_is_as_written() {
        let mut text = UnitText::default();
        text.add("[Slice]\nMemoryMax=50%\nTasksMax=infinity\n[Service]\nMemoryMax=1\n");
        let unit = "a.slice".parse().unwrap();
        let limits = written(&text, &manager(), &unit);
        assert_eq!(
            limits,
            BTreeMap::from([("MemoryMax".to_owned(), "50%".to_owned())])
        );
    }
}
