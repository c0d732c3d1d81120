//! Takes secrets out of an item: its files were redacted when they were read, all else is here. Paths, names
//! and words of a unit may hold one too.

use std::collections::{BTreeMap, HashMap};

use safetytwin_crds::item::unit::{Mount, PathWatch, Service, Socket, Timer, UnitItem};

use crate::redact::Redactor;

/// Most texts of a kind that are remembered.
const MOST: usize = 16 * 1024;

/// What texts are without their secrets; none for those that hold none.
type Cleaned = HashMap<Box<str>, Option<Box<str>>>;

/// Cleans items, each text once: at an audit many items are made again, of the same texts.
pub struct Cleaner {
    redactor: Redactor,
    names: Cleaned,
    texts: Cleaned,
}

impl Cleaner {
    /// Takes out what `redactor` does.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            names: Cleaned::new(),
            texts: Cleaned::new(),
        }
    }

    /// The item as it may leave the host. An item that is clean stays as it is.
    pub fn item(&mut self, mut item: UnitItem) -> UnitItem {
        item.name = self.redactor.unit_name(&item.name);
        self.dependencies(&mut item.dependencies);
        let texts = item.limits.values_mut();
        let texts = texts.chain(item.service.iter_mut().flat_map(of_service));
        let texts = texts.chain(item.socket.iter_mut().flat_map(of_socket));
        let texts = texts.chain(item.path.iter_mut().flat_map(of_path));
        let texts = texts.chain(item.mount.iter_mut().flat_map(of_mount));
        let texts = texts.chain(item.timer.iter_mut().flat_map(of_timer));
        for text in texts {
            let other = other(&mut self.texts, text, |text| self.redactor.text(text).text);
            replace(text, other);
        }
        let units = item.timer.iter_mut().map(|timer| &mut timer.unit);
        for unit in units.chain(item.path.iter_mut().map(|path| &mut path.unit)) {
            self.name(unit);
        }
        item
    }

    /// Names of other units, by dependency.
    pub fn dependencies(&mut self, dependencies: &mut BTreeMap<String, Vec<String>>) {
        for other in dependencies.values_mut().flatten() {
            self.name(other);
        }
    }

    /// The name of a unit.
    pub fn name(&mut self, name: &mut String) {
        let other = self.other_name(name);
        replace(name, other);
    }

    /// What the name of a unit is without its secret; none if it holds none.
    pub fn other_name(&mut self, name: &str) -> Option<&str> {
        other(&mut self.names, name, |text| match text.parse() {
            Ok(unit) => self.redactor.unit_name(&unit).as_str().to_owned(),
            // What is no name is not in force, but it is told as it is written.
            Err(_) => self.redactor.text(text).text,
        })
    }
}

fn replace(text: &mut String, other: Option<&str>) {
    if let Some(other) = other {
        other.clone_into(text);
    }
}

/// What `clean` makes of a text, if that is another.
fn other<'a>(known: &'a mut Cleaned, text: &str, clean: impl FnOnce(&str) -> String) -> Option<&'a str> {
    if !known.contains_key(text) {
        if known.len() >= MOST {
            known.clear();
        }
        let cleaned = clean(text);
        known.insert(text.into(), (cleaned != text).then(|| cleaned.into()));
    }
    known.get(text)?.as_deref()
}

fn of_service(service: &mut Service) -> impl Iterator<Item = &mut String> {
    let accounts = service.user.iter_mut().chain(&mut service.group);
    let names = accounts.map(|account| &mut account.name);
    let lists = [
        &mut service.executables,
        &mut service.environment_names,
        &mut service.environment_files,
        &mut service.pass_environment,
    ];
    let texts = lists.into_iter().flatten().chain(&mut service.working_directory);
    names.chain(texts).chain(std::iter::once(&mut service.type_))
}

fn of_socket(socket: &mut Socket) -> impl Iterator<Item = &mut String> {
    socket.listen.iter_mut().map(|listen| &mut listen.address)
}

fn of_path(path: &mut PathWatch) -> impl Iterator<Item = &mut String> {
    path.paths.iter_mut().map(|watched| &mut watched.path)
}

fn of_timer(timer: &mut Timer) -> impl Iterator<Item = &mut String> {
    timer.on_calendar.iter_mut()
}

fn of_mount(mount: &mut Mount) -> impl Iterator<Item = &mut String> {
    [
        &mut mount.what,
        &mut mount.where_,
        &mut mount.type_,
        &mut mount.options,
    ]
    .into_iter()
}
