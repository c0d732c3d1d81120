//! `systemctl --root` as the judge of enablement and presets: it reads a tree by the code that answers
//! `GetUnitFileState` and `UnitFilePreset`. Nothing runs there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use safetytwin_crds::names::UnitName;

use crate::collect::units::enablement::{self, Enablement};
use crate::collect::units::files::Places;
use crate::collect::units::listing::Listing;
use crate::collect::units::packages::Packages;
use crate::collect::units::presets::Presets;
use crate::hostroot::HostRoot;
use crate::hostroot::entries::Kind;
use crate::redact::Redactor;

/// Something in the tree.
#[derive(Clone, Debug)]
enum Thing {
    File(String, &'static str),
    Link(String, String),
}

fn make(root: &Path, thing: &Thing) {
    let (Thing::File(path, _) | Thing::Link(path, _)) = thing;
    let path = root.join(path.trim_start_matches('/'));
    // What is in the way, or cannot be there, is left out.
    if fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
        return;
    }
    match thing {
        Thing::File(_, text) => fs::write(path, text).unwrap(),
        Thing::Link(_, target) => symlink(target, path).unwrap(),
    }
}

/// Enablement and preset of a unit.
type States = (String, String);

/// What systemctl says of all unit files but templates. `SYSTEMCTL` names another version's.
fn said(root: &Path) -> BTreeMap<String, States> {
    let systemctl = std::env::var_os("SYSTEMCTL").unwrap_or_else(|| "systemctl".into());
    let output = Command::new(systemctl)
        .arg(format!("--root={}", root.display()))
        .args([
            "list-unit-files",
            "--no-legend",
            "--plain",
            "--full",
            "--no-pager",
        ])
        .output()
        .unwrap_or_else(|e| panic!("systemctl is needed ({e}): apt-get install systemd"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap();
        (word(), (word(), word()))
    });
    rows.filter(|(name, _)| !name.contains("@.")).collect()
}

/// What the agent says of the same; those that it would ask about, and those of which systemctl is no
/// judge, are left out.
fn known(root: &Path, said: &BTreeMap<String, States>) -> BTreeMap<String, States> {
    let root = HostRoot::new(root, "/proc", "/sys");
    let listing = Listing::scan(&root).unwrap();
    let mut presets = Presets::default();
    presets.refresh(&root);
    let mut known = BTreeMap::new();
    for (name, (_, said_preset)) in said {
        let unit: UnitName = name.parse().unwrap();
        let places = Places::of(&listing, &unit);
        let files = places.read(
            &root,
            &listing,
            &Packages::default(),
            &Redactor::default(),
            &unit,
            None,
        );
        let state = enablement::of(&listing, &unit, &files);
        assert_ne!(state, Enablement::NoFile, "{name}");
        // Below a root systemctl does not find out that a link leads to an empty file or over another link
        // to /dev/null: `null_or_empty_path_with_root` gets a path that has the root already.
        let place = listing.first(name).or_else(|| listing.first(&unit.template()?));
        let link = place.is_some_and(|place| match place.kind {
            Kind::Link(target) => target != Path::new("/dev/null"),
            _ => false,
        });
        if let Enablement::Is(state) = state
            && !(link && state.starts_with("masked"))
        {
            assert_eq!(state == "alias", enablement::is_alias(&listing, &unit), "{name}");
            // Of what cannot be enabled it shows none.
            let preset = match said_preset.as_str() {
                "-" => "-",
                _ => presets.of(name),
            };
            known.insert(name.clone(), (state.to_owned(), preset.to_owned()));
        }
    }
    known
}

/// Both must agree; gives the names that the agent would ask about.
fn compare(things: &[Thing]) -> Result<Vec<String>, TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    // Of a tree without any unit file systemctl only says that there is none.
    make(dir.path(), &file(LIB, "one.service", PLAIN));
    for thing in things {
        make(dir.path(), thing);
    }
    let mut said = said(dir.path());
    let known = known(dir.path(), &said);
    let asked: Vec<String> = said.keys().filter(|n| !known.contains_key(*n)).cloned().collect();
    said.retain(|name, _| known.contains_key(name));
    prop_assert_eq!(known, said);
    Ok(asked)
}

const ETC: &str = "/etc/systemd/system";
const RUN: &str = "/run/systemd/system";
const LIB: &str = "/usr/lib/systemd/system";
const PRESETS: &str = "/usr/lib/systemd/system-preset";
const WANTED: &str = "[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=multi-user.target\n";
const PLAIN: &str = "[Service]\nExecStart=/bin/a\n";

fn file(dir: &str, name: &str, text: &'static str) -> Thing {
    Thing::File(format!("{dir}/{name}"), text)
}

fn link(dir: &str, name: &str, target: &str) -> Thing {
    Thing::Link(format!("{dir}/{name}"), target.to_owned())
}

#[test]
fn every_state_that_systemd_knows_is_said_as_systemctl_says_it() {
    let things = [
        file(LIB, "static.service", PLAIN),
        file(LIB, "disabled.service", WANTED),
        file(LIB, "enabled.service", WANTED),
        link(
            ETC,
            "multi-user.target.wants/enabled.service",
            "/usr/lib/systemd/system/enabled.service",
        ),
        file(LIB, "runtime.service", WANTED),
        link(
            RUN,
            "multi-user.target.wants/runtime.service",
            "/usr/lib/systemd/system/runtime.service",
        ),
        file(LIB, "aliased.service", "[Install]\nAlias=other.service\n"),
        link(ETC, "other.service", "/usr/lib/systemd/system/aliased.service"),
        file(LIB, "indirect.service", "[Install]\nAlso=disabled.service\n"),
        file(LIB, "used.service", PLAIN),
        link(
            ETC,
            "by-hand.service",
            "../../../usr/lib/systemd/system/used.service",
        ),
        file(LIB, "mask.service", WANTED),
        link(ETC, "mask.service", "/dev/null"),
        file(LIB, "mask-run.service", WANTED),
        link(RUN, "mask-run.service", "/dev/null"),
        file(ETC, "empty.service", ""),
        file("/run/systemd/generator", "gen.mount", "[Mount]\n"),
        file("/run/systemd/transient", "tmp.service", PLAIN),
        file(LIB, "w@.service", WANTED),
        link(
            ETC,
            "multi-user.target.wants/w@1.service",
            "/usr/lib/systemd/system/w@.service",
        ),
        link(ETC, "w@2.service", "/usr/lib/systemd/system/w@.service"),
        file(LIB, "vendor.service", PLAIN),
        link(LIB, "multi-user.target.wants/vendor.service", "../vendor.service"),
        link(LIB, "vendor-name.service", "vendor.service"),
        link(ETC, "same.service", "/usr/lib/systemd/system/same.service"),
        file(LIB, "same.service", WANTED),
        link(ETC, "dangling.service", "nowhere.service"),
        link(ETC, "loop.service", "pool.service"),
        link(ETC, "pool.service", "loop.service"),
        file(LIB, "drop.service", PLAIN),
        file(ETC, "drop.service.d/i.conf", "[Install]\nWantedBy=a.target\n"),
        file(LIB, "pre-fix.service", PLAIN),
        file(ETC, "pre-.service.d/i.conf", "[Install]\nWantedBy=a.target\n"),
        file(LIB, "mnt.mount", "[Install]\nAlias=nope.mount\n"),
        link(ETC, "mnt2.mount", "/usr/lib/systemd/system/mnt.mount"),
        file(ETC, "in@1.mount", "[Mount]\n"),
        file(PRESETS, "10-a.preset", "enable e*.service\ndisable *.service\n"),
    ];
    assert_eq!(compare(&things).unwrap(), [""; 0], "nothing is left to ask");
}

#[test]
fn what_the_files_do_not_tell_is_asked() {
    let things = [
        file("/opt", "o.service", WANTED),
        link(ETC, "o.service", "/opt/o.service"),
        file(LIB, "up.service", "[Install]\nUpheldBy=a.service\n"),
        file(LIB, "up2.service", PLAIN),
        link(
            ETC,
            "a.service.upholds/up2.service",
            "/usr/lib/systemd/system/up2.service",
        ),
        file(LIB, "d.service", PLAIN),
        link(ETC, "d.service.d/x.conf", "/opt/x.conf"),
        file("/opt", "x.conf", "[Install]\nWantedBy=a.target\n"),
    ];
    let asked = compare(&things).unwrap();
    assert_eq!(asked, ["d.service", "o.service", "up.service", "up2.service"]);
}

const DIRS: [&str; 6] = [
    "/run/systemd/system.control",
    "/run/systemd/transient",
    ETC,
    RUN,
    "/run/systemd/generator",
    LIB,
];
const NAMES: [&str; 8] = [
    "a.service",
    "b.service",
    "c@.service",
    "c@1.service",
    "c@2.service",
    "x-y.service",
    "s.socket",
    "m.mount",
];
const TEXTS: [&str; 11] = [
    "",
    PLAIN,
    WANTED,
    "[Install]\nAlias=b.service a.service\n",
    "[Install]\nAlias=c@2.service\nWantedBy=x\nWantedBy=\n",
    "[Install]\nAlso=s.socket\nAlso=\n",
    "[Install]\nRequiredBy=\"x.target\"\n",
    "[Install]\nDefaultInstance=1\nWantedBy=t.target\n",
    "[Install]\nWantedBy=\n",
    "[Unit]\nWantedBy=x.target\n",
    "# [Install]\n[Install]\n;WantedBy=x.target\n WantedBy \\\n = x.target\n",
];

const PRESET_DIRS: [&str; 3] = [
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    PRESETS,
];
const RULES: [&str; 8] = [
    "",
    "# disable *\n;disable *\n",
    "disable [ab].service\nenable *\n",
    "disable c@.service x\nenable c@.service 1 2\n",
    "enable a.service b\ndisable x-*\n",
    "disable x-?.service",
    " disable  [!a-c]* \nbogus a.service\n",
    "disable s.[a-z]ocket\ndisable \\*\n",
];

fn thing() -> impl Strategy<Value = Thing> {
    let dir = || prop::sample::select(&DIRS[..]);
    let name = || prop::sample::select(&NAMES[..]);
    let text = || prop::sample::select(&TEXTS[..]);
    let links = prop::sample::select(&["t.target.wants", "t.target.requires", "t.target.bogus"][..]);
    let (presets, rules) = (
        prop::sample::select(&PRESET_DIRS[..]),
        prop::sample::select(&RULES[..]),
    );
    let target = prop_oneof![
        1 => Just("/dev/null".to_owned()),
        1 => name().prop_map(str::to_owned),
        4 => (dir(), name()).prop_map(|(dir, name)| format!("{dir}/{name}")),
        1 => name().prop_map(|name| format!("../system/./{name}")),
        1 => name().prop_map(|name| format!("/opt/{name}")),
    ];
    prop_oneof![
        4 => (dir(), name(), text()).prop_map(|(dir, name, text)| file(dir, name, text)),
        3 => (dir(), name(), target).prop_map(|(dir, name, target)| link(dir, name, &target)),
        2 => (dir(), links, name()).prop_map(|(dir, below, name)| {
            link(dir, &format!("{below}/{name}"), "../a.service")
        }),
        1 => (dir(), name(), text()).prop_map(|(dir, name, text)| file(dir, &format!("{name}.d/i.conf"), text)),
        1 => (name(), text()).prop_map(|(name, text)| file("/opt", name, text)),
        2 => (presets, prop::sample::select(&["1.preset", "2.preset", "3.conf"][..]), rules)
            .prop_map(|(dir, name, text)| file(dir, name, text)),
    ]
}

/// A process per case; more when asked for.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn any_tree_of_files_and_links_is_read_as_systemctl_reads_it(
        things in prop::collection::vec(thing(), 1..16),
    ) {
        compare(&things)?;
    }
}
