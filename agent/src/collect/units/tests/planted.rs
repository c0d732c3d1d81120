//! Items of units from the text of their files, through the same code as on a host.

use std::collections::HashMap;
use std::sync::Arc;

use safetytwin_crds::item::{RunClass, UnitItem};
use safetytwin_crds::names::UnitName;
use zbus::{OwnedVariant, Variant};

use crate::collect::accounts::Accounts;
use crate::collect::units::build::Facts;
use crate::collect::units::clean::Cleaner;
use crate::collect::units::dependencies::Names;
use crate::collect::units::files::Places;
use crate::collect::units::listing::Listing;
use crate::collect::units::packages::Packages;
use crate::collect::units::properties::Live;
use crate::collect::units::text::UnitText;
use crate::collect::units::variant::Map;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

/// A unit to be.
#[derive(Default)]
pub struct Fake {
    /// Its name; empty: a service of any name.
    pub name: String,
    /// Text of its file.
    pub main: String,
    /// Text of its drop-in; empty: none.
    pub drop_in: String,
}

/// The units, as described by their files and as they are loaded.
pub fn items(fakes: &[Fake], redactor: &Redactor) -> Vec<UnitItem> {
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("etc/systemd/system");
    std::fs::create_dir_all(&units).unwrap();
    let name = |number: usize, fake: &Fake| match fake.name.as_str() {
        "" => format!("s{number}.service"),
        name => name.to_owned(),
    };
    for (number, fake) in fakes.iter().enumerate() {
        let name = name(number, fake);
        std::fs::write(units.join(&name), &fake.main).unwrap();
        if !fake.drop_in.is_empty() {
            let folder = units.join(format!("{name}.d"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("10-x.conf"), &fake.drop_in).unwrap();
        }
    }
    let root = HostRoot::new(dir.path(), "/proc", "/sys");
    let listing = Listing::scan(&root).unwrap();
    let mut cleaner = Cleaner::new(redactor.clone());
    let mut items = Vec::new();
    for (number, fake) in fakes.iter().enumerate() {
        for loaded in [false, true] {
            let unit: UnitName = name(number, fake).parse().unwrap();
            let files = Places::of(&listing, &unit).read(
                &root,
                &listing,
                &Packages::default(),
                redactor,
                &unit,
                None,
            );
            let live = Live::new(
                unit.as_str(),
                &properties(&files.text),
                &Map::new(),
                &Accounts::default(),
                &mut Names::default(),
            );
            let facts = Facts {
                name: &unit,
                live: loaded.then_some(&live),
                files: &Arc::new(files),
                loaded_text: None,
                enablement: None,
                preset: "",
                triggered: false,
                installed: Default::default(),
            };
            items.push(facts.item(RunClass::Up, &Map::new(), &Accounts::default(), &mut cleaner));
        }
    }
    items
}

/// What systemd would answer: effective properties hold what the files say, quotes removed.
fn properties(text: &UnitText) -> Map {
    let words = |key: &str| -> Vec<String> {
        let values = text.all("Service", key).into_iter();
        values.flat_map(crate::collect::units::text::words).collect()
    };
    let own = |value: Variant<'_>| OwnedVariant::try_from(value).unwrap();
    HashMap::from([
        ("LoadState".to_owned(), own(Variant::from("loaded"))),
        ("ExecMainPID".to_owned(), own(Variant::from(1u32))),
        ("Environment".to_owned(), own(Variant::from(words("Environment")))),
        (
            "WorkingDirectory".to_owned(),
            own(Variant::from(words("WorkingDirectory").concat())),
        ),
    ])
}

/// The arguments of a command line.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let words = crate::collect::units::text::words(line).into_iter();
    words.map(String::into_bytes).collect()
}
