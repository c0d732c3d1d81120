//! What starts other units: timers, sockets and paths, from D-Bus (org.freedesktop.systemd1(5)) and from
//! their files.

use safetytwin_crds::item::observed::ObservedTimer;
use safetytwin_crds::item::unit::{Listen, MonotonicTimer, PathWatch, Socket, Timer, WatchedPath};
use safetytwin_crds::names::{UnitName, UnitType};
use zbus::Variant;

use super::quantity;
use super::text::UnitText;
use super::variant::{Map, number, pairs, rows, text, truth};

/// Setting and property of the times that are no calendar's.
const MONOTONIC: [(&str, &str); 5] = [
    ("OnActiveSec", "OnActiveUSec"),
    ("OnBootSec", "OnBootUSec"),
    ("OnStartupSec", "OnStartupUSec"),
    ("OnUnitActiveSec", "OnUnitActiveUSec"),
    ("OnUnitInactiveSec", "OnUnitInactiveUSec"),
];
const PATHS: [&str; 5] = [
    "PathExists",
    "PathExistsGlob",
    "PathChanged",
    "PathModified",
    "DirectoryNotEmpty",
];
/// Setting and type of what a socket listens on.
const LISTENS: [(&str, &str); 8] = [
    ("ListenStream", "Stream"),
    ("ListenDatagram", "Datagram"),
    ("ListenSequentialPacket", "SequentialPacket"),
    ("ListenFIFO", "FIFO"),
    ("ListenSpecial", "Special"),
    ("ListenNetlink", "Netlink"),
    ("ListenMessageQueue", "MessageQueue"),
    ("ListenUSBFunction", "USBFunction"),
];
/// `AccuracySec=` when it is not set (systemd.timer(5)).
const ACCURACY: u64 = 60_000_000;
/// Short forms and what they stand for (systemd.time(7)).
const CALENDARS: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("midnight", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
];

/// A loaded timer.
pub fn timer(map: &Map) -> Option<Timer> {
    let calendars = map.get("TimersCalendar")?;
    let calendar = |fields: &[Variant<'static>]| match fields {
        [_, Variant::Str(specification), ..] => Some(specification.to_string()),
        _ => None,
    };
    let monotonic = |fields: &[Variant<'static>]| match fields {
        [Variant::Str(base), Variant::U64(usec), ..] => Some(MonotonicTimer {
            base: base.to_string(),
            usec: *usec,
        }),
        _ => None,
    };
    let spans = map.get("TimersMonotonic");
    Some(sorted(Timer {
        unit: map.get("Unit").and_then(text).unwrap_or_default(),
        on_calendar: rows(calendars).filter_map(calendar).collect(),
        monotonic: spans.into_iter().flat_map(rows).filter_map(monotonic).collect(),
        persistent: map.get("Persistent").is_some_and(truth),
        wake_system: map.get("WakeSystem").is_some_and(truth),
        accuracy_usec: number(map.get("AccuracyUSec")).unwrap_or(ACCURACY),
        randomized_delay_usec: number(map.get("RandomizedDelayUSec")).unwrap_or_default(),
    }))
}

/// When a timer runs next and ran last, as far as `map` says it; unset is 0 or the largest number.
pub fn runs(map: &Map) -> Option<ObservedTimer> {
    let usec = |key| number(map.get(key)).filter(|usec| *usec != u64::MAX);
    let keys = [
        "NextElapseUSecRealtime",
        "NextElapseUSecMonotonic",
        "LastTriggerUSec",
    ];
    keys.iter()
        .any(|key| map.contains_key(*key))
        .then(|| ObservedTimer {
            next_elapse_usec_realtime: usec("NextElapseUSecRealtime").unwrap_or_default(),
            next_elapse_usec_monotonic: usec("NextElapseUSecMonotonic").unwrap_or_default(),
            last_trigger_usec: usec("LastTriggerUSec").unwrap_or_default(),
        })
}

/// A loaded socket.
pub fn socket(map: &Map) -> Option<Socket> {
    let listen = pairs(map.get("Listen")?).into_iter();
    Some(Socket {
        listen: listen.map(|(type_, address)| Listen { type_, address }).collect(),
        accept: map.get("Accept").is_some_and(truth),
    })
}

/// A loaded path unit.
pub fn path(map: &Map) -> Option<PathWatch> {
    let mut paths: Vec<WatchedPath> = pairs(map.get("Paths")?)
        .into_iter()
        .map(|(type_, path)| WatchedPath { type_, path })
        .collect();
    paths.sort();
    Some(PathWatch {
        unit: map.get("Unit").and_then(text).unwrap_or_default(),
        paths,
        make_directory: map.get("MakeDirectory").is_some_and(truth),
    })
}

/// A timer as its files say it.
pub fn written_timer(unit: &UnitName, text: &UnitText) -> Option<Timer> {
    (unit.unit_type() == UnitType::Timer).then_some(())?;
    let property = |key: &str| {
        MONOTONIC
            .iter()
            .find(|(setting, _)| *setting == key)
            .map(|(_, p)| *p)
    };
    let of_time = |key: &str| key == "OnCalendar" || property(key).is_some();
    let (mut on_calendar, mut monotonic) = (Vec::new(), Vec::new());
    for (key, value) in text.list("Timer", of_time) {
        match (property(key), quantity::time(value, 1_000_000)) {
            (Some(base), Some(usec)) => monotonic.push(MonotonicTimer {
                base: base.to_owned(),
                usec,
            }),
            (Some(_), None) => {}
            (None, _) => {
                let known = CALENDARS
                    .iter()
                    .find(|(short, _)| short.eq_ignore_ascii_case(value));
                on_calendar.push(known.map_or(value, |(_, normal)| *normal).to_owned());
            }
        }
    }
    let usec = |key| {
        text.last("Timer", key)
            .and_then(|value| quantity::time(value, 1_000_000))
    };
    Some(sorted(Timer {
        unit: started(unit, text, "Timer"),
        on_calendar,
        monotonic,
        persistent: text.flag("Timer", "Persistent"),
        wake_system: text.flag("Timer", "WakeSystem"),
        accuracy_usec: usec("AccuracySec").unwrap_or(ACCURACY),
        randomized_delay_usec: usec("RandomizedDelaySec").unwrap_or_default(),
    }))
}

/// A socket as its files say it.
pub fn written_socket(unit: &UnitName, text: &UnitText) -> Option<Socket> {
    (unit.unit_type() == UnitType::Socket).then_some(())?;
    let type_of = |key: &str| {
        LISTENS
            .iter()
            .find(|(setting, _)| *setting == key)
            .map(|(_, t)| *t)
    };
    let listen = text.list("Socket", |key| type_of(key).is_some()).into_iter();
    let listen = listen.filter_map(|(key, value)| {
        let type_ = type_of(key)?.to_owned();
        // A port alone is one of all addresses.
        let port = matches!(&*type_, "Stream" | "Datagram") && value.parse::<u16>().is_ok();
        let address = if port {
            format!("[::]:{value}")
        } else {
            value.to_owned()
        };
        Some(Listen { type_, address })
    });
    Some(Socket {
        listen: listen.collect(),
        accept: text.flag("Socket", "Accept"),
    })
}

/// A path unit as its files say it.
pub fn written_path(unit: &UnitName, text: &UnitText) -> Option<PathWatch> {
    (unit.unit_type() == UnitType::Path).then_some(())?;
    let watched = text.list("Path", |key| PATHS.contains(&key)).into_iter();
    let mut paths: Vec<WatchedPath> = watched
        .map(|(key, path)| WatchedPath {
            type_: key.to_owned(),
            path: path.to_owned(),
        })
        .collect();
    paths.sort();
    Some(PathWatch {
        unit: started(unit, text, "Path"),
        paths,
        make_directory: text.flag("Path", "MakeDirectory"),
    })
}

/// `Unit=`, or the service of the same name.
fn started(unit: &UnitName, text: &UnitText, section: &str) -> String {
    let own = || format!("{}.service", unit.stem());
    text.last(section, "Unit").map_or_else(own, str::to_owned)
}

fn sorted(mut timer: Timer) -> Timer {
    timer.on_calendar.sort();
    timer.monotonic.sort();
    timer
}

#[cfg(test)]
mod tests {
    use zbus::OwnedVariant;

    use super::*;

    fn own(value: Variant<'_>) -> OwnedVariant {
        OwnedVariant::try_from(value).unwrap()
    }

    fn parse(text: &str) -> UnitText {
        let mut parsed = UnitText::default();
        parsed.add(text);
        parsed
    }

    fn map<const N: usize>(pairs: [(&str, OwnedVariant); N]) -> Map {
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }

    #[test]
    fn a_timer_is_the_same_from_its_file_and_from_systemd() {
        let text = parse(
            "[Timer]\nOnCalendar=hourly\nOnBootSec=9\nOnBootSec=\nOnCalendar=daily\nOnBootSec=15min\nPersistent=yes\n\
             RandomizedDelaySec=1h\n",
        );
        let loaded = map([
            (
                "TimersCalendar",
                own(Variant::from(vec![("OnCalendar", "*-*-* 00:00:00", 17u64)])),
            ),
            (
                "TimersMonotonic",
                own(Variant::from(vec![("OnBootUSec", 900_000_000u64, 0u64)])),
            ),
            ("Persistent", own(Variant::from(true))),
            ("AccuracyUSec", own(Variant::from(60_000_000u64))),
            ("RandomizedDelayUSec", own(Variant::from(3_600_000_000u64))),
            ("Unit", own(Variant::from("backup.service"))),
            ("NextElapseUSecRealtime", own(Variant::from(17u64))),
            ("NextElapseUSecMonotonic", own(Variant::from(u64::MAX))),
        ]);
        let unit = "backup.timer".parse().unwrap();
        assert_eq!(written_timer(&unit, &text), timer(&loaded));
        let runs = runs(&loaded).unwrap();
        assert_eq!(
            (runs.next_elapse_usec_realtime, runs.next_elapse_usec_monotonic),
            (17, 0)
        );
    }

    #[test]
    fn sockets_and_paths_are_the_same_from_their_files_and_from_systemd() {
        let text =
            parse("[Socket]\nListenFIFO=/no\nListenStream=\nListenStream=8080\nListenDatagram=/run/x\n");
        let listen = vec![("Stream", "[::]:8080"), ("Datagram", "/run/x")];
        let loaded = map([("Listen", own(Variant::from(listen)))]);
        assert_eq!(
            written_socket(&"a.socket".parse().unwrap(), &text),
            socket(&loaded)
        );
        let text = parse("[Path]\nPathExists=/b\nDirectoryNotEmpty=/a\nUnit=c.service\n");
        let paths = vec![("PathExists", "/b"), ("DirectoryNotEmpty", "/a")];
        let loaded = map([
            ("Paths", own(Variant::from(paths))),
            ("Unit", own(Variant::from("c.service"))),
        ]);
        assert_eq!(written_path(&"a.path".parse().unwrap(), &text), path(&loaded));
    }
}
